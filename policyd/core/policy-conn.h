/* SPDX-License-Identifier: MIT */
/**
 * One connection from Postfix's smtpd. Plain events, not a bufferevent: one
 * read, requests parsed where they lie, one write.
 */
#ifndef POLICYD_CORE_POLICY_CONN_H
#define POLICYD_CORE_POLICY_CONN_H

#include <event2/event.h>

#include "restante/policy.h"

/**
 * Postfix closes a connection itself after 300 s idle and 1000 s of life. One
 * closed by us costs the next recipient a second, so we wait longer.
 */
#define POLICY_CONN_IDLE_MS (1200 * 1000)

struct policy_conn_times {
	int64_t answer_timeout_ms; /**< an open question is then DUNNO */
	int64_t idle_ms; /**< closed when nothing came or went for so long */
};

struct policy_conn;

struct policy_conn_callbacks {
	/** Answer with policy_conn_answer(), now or later. */
	void (*decide)(struct policy_conn *conn,
		       const struct rst_policy_ask *ask, void *ctx);
	/** It has ended, and frees itself after this. */
	void (*closed)(struct policy_conn *conn, void *ctx);
};

/** @param fd non-blocking, owned from here on */
struct policy_conn *policy_conn_new(struct event_base *base, int fd,
				    const struct policy_conn_times *times,
				    const struct policy_conn_callbacks *calls,
				    void *ctx);
/** Close it, without calling `closed`. May be called inside `decide`. */
void policy_conn_free(struct policy_conn **conn);
/**
 * Give its descriptor to somebody else, and free the rest, without calling
 * `closed`. Not from inside `decide`.
 *
 * @return descriptor; -1: closed, as it was in the middle of a request
 */
int policy_conn_detach(struct policy_conn **conn);
void policy_conn_answer(struct policy_conn *conn, uint32_t id,
			enum rst_policy_action action);

#endif
