/* SPDX-License-Identifier: MIT */
/**
 * One connection from Postfix's smtpd. It uses plain events, not a bufferevent,
 * which costs 1.8 times the CPU.
 */
#ifndef POLICYD_CORE_POLICY_CONN_H
#define POLICYD_CORE_POLICY_CONN_H

#include <event2/event.h>

#include "restante/policy.h"

/**
 * Postfix itself closes a connection after 300 s idle and 1000 s of life. If
 * policyd closes one, the next recipient takes a second longer; so policyd
 * waits longer than Postfix does.
 */
#define POLICY_CONN_IDLE_MS (1200 * 1000)

struct policy_conn_times {
	int64_t answer_timeout_ms; /**< then a question is answered DUNNO */
	int64_t idle_ms; /**< closed when nothing came or went for so long */
};

struct policy_conn;

struct policy_conn_callbacks {
	/** A request came: answer it with policy_conn_answer(), now or
	    later. */
	void (*decide)(struct policy_conn *conn,
		       const struct rst_policy_ask *ask, void *ctx);
	/** The connection has ended, and frees itself after this. */
	void (*closed)(struct policy_conn *conn, void *ctx);
};

/** @param fd non-blocking, owned from here on */
struct policy_conn *policy_conn_new(struct event_base *base, int fd,
				    const struct policy_conn_times *times,
				    const struct policy_conn_callbacks *calls,
				    void *ctx);
/** Close the connection without calling `closed`. May be called inside
    `decide`. */
void policy_conn_free(struct policy_conn **conn);
/**
 * Free the connection but keep its descriptor open, without calling `closed`.
 * Not to be called inside `decide`.
 *
 * @return descriptor, the caller's; -1: closed, as a request or an answer was
 *         under way
 */
int policy_conn_detach(struct policy_conn **conn);
void policy_conn_answer(struct policy_conn *conn, uint32_t id,
			enum rst_policy_action action);

#endif
