/* SPDX-License-Identifier: MIT */
/**
 * The push phase of one session: joins rst_push, towards the client, and
 * rst_hold, towards the user's hold. It has no connection to the client (its
 * caller carries octets) and owns that to the hold, which it asks for when
 * there is something to do and closes when everything is decided.
 */
#ifndef POLICYD_WORKER_DRAIN_H
#define POLICYD_WORKER_DRAIN_H

#include <event2/event.h>
#include <sys/types.h>

#include "restante/ipc.h"

struct drain_settings {
	const char *hostname; /**< for EHLO; borrowed */
	int64_t keepalive_ms;
	int64_t reply_timeout_ms;      /**< of the client */
	int64_t hold_reply_timeout_ms; /**< of restante-hold */
	int64_t retry_min_ms;          /**< after 4xx; doubles up to ... */
	int64_t retry_max_ms;
	int64_t reopen_min_ms; /**< hold not to be had; doubles up to ... */
	int64_t reopen_max_ms;
	int64_t commit_delay_ms; /**< how long an acknowledgement may wait */
	/** A client that is to be dismissed and owes answers may give them
	    while it is not silent for longer than this ... */
	int64_t quiet_ms;
	int64_t settle_ms; /**< ... and for so long in all */
	int64_t close_ms;  /**< how long the last ones may take at the end */
};

/** Everything but what the configuration says. */
void drain_settings_init(struct drain_settings *settings);

struct drain_callbacks {
	/** HOLD_OPEN, HOLD_CLOSED or SETTLING goes to the core; its session is
	    for the caller to fill in */
	void (*to_core)(struct rst_ipc *msg, void *ctx);
	/** the hold has something: call drain_work() */
	void (*wake)(void *ctx);
};

struct drain_counts {
	uint64_t pushed, octets, refused, deferred;
	/** began to leave, and the hold has not confirmed a removal: those
	    that the client may have stored without its word having counted */
	uint64_t unsettled;
};

struct drain;

/** @param settings, user borrowed; outlive the drain */
struct drain *drain_new(struct event_base *base,
			const struct drain_settings *settings, const char *user,
			const struct drain_callbacks *callbacks, void *ctx,
			int64_t now_ms);
void drain_free(struct drain **drain);

/* ---- towards the client: as rst_push */

ssize_t drain_recv(struct drain *drain, const char *buf, size_t len,
		   int64_t now_ms);
const char *drain_output(const struct drain *drain, size_t *len_r);
void drain_sent(struct drain *drain, size_t n, int64_t now_ms);
/** Does the client know XRESTANTE? Not before it has answered EHLO. */
bool drain_extended(const struct drain *drain);
/** The conversation has ended, and why (valid until _free); else NULL. */
const char *drain_over(const struct drain *drain);
/**
 * Tell the client to go away; then it is over. No other message is begun. What
 * is on its way may still be acknowledged: it is on the client's disk, most
 * likely, and would come to the next one a second time. The core is told that
 * this is SETTLING. With nothing on its way it is over at once; so it is when
 * the client has been silent for settings->settle_ms already.
 *
 * @param max_ms settings->settle_ms, or less
 */
void drain_dismiss(struct drain *drain, const char *text, int64_t max_ms,
		   int64_t now_ms);
/** It is over, and the client did not answer: reset the connection, so that
    what the kernel still has of it is dropped too. */
bool drain_aborted(const struct drain *drain);

/* ---- from the core */

void drain_held(struct drain *drain);
/** @param fd owned from here on */
void drain_hold(struct drain *drain, int fd, int64_t now_ms);
void drain_hold_failed(struct drain *drain, int64_t now_ms);

/** Do everything that can be done now, also by time. */
void drain_work(struct drain *drain, int64_t now_ms);
int64_t drain_deadline(const struct drain *drain);
/**
 * The client has gone, or was told to. What it has acknowledged is brought to
 * the hold, within settings->close_ms; go on calling drain_work() until
 * drain_ended().
 */
void drain_end(struct drain *drain, int64_t now_ms);
/** Nothing is left to be done, and nothing is open at restante-hold. */
bool drain_ended(const struct drain *drain);
struct drain_counts drain_counts(const struct drain *drain);

#endif
