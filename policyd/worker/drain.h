/* SPDX-License-Identifier: MIT */
/**
 * The push phase of one session: joins rst_push, towards the client, and
 * rst_hold_dialler, towards the user's hold. The caller carries octets between
 * the drain and the client. The drain owns the connection to the hold: it asks
 * the core for one when there is something to do, and closes it when every
 * message is decided.
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
	/** delay of a message after 4xx; doubles up to retry_max_ms */
	int64_t retry_min_ms;
	int64_t retry_max_ms;
	/** delay after the hold could not be opened; doubles up to
	    reopen_max_ms */
	int64_t reopen_min_ms;
	int64_t reopen_max_ms;
	int64_t commit_delay_ms; /**< how long an ACK may wait for COMMIT */
	/** SETTLING: a dismissed client that owes answers may give them until
	    it is silent for this long ... */
	int64_t quiet_ms;
	int64_t settle_ms; /**< ... and for this long in all */
	/** how long the hold may take for the last ACKs, after drain_end() */
	int64_t close_ms;
};

/** Sets everything that the configuration does not. */
void drain_settings_init(struct drain_settings *settings);

struct drain_callbacks {
	/** HOLD_OPEN, HOLD_CLOSED or SETTLING is to go to the core; the callee
	    fills in the session */
	void (*to_core)(struct rst_ipc *msg, void *ctx);
	/** the hold has sent something: call drain_work() */
	void (*wake)(void *ctx);
};

struct drain_counts {
	uint64_t pushed, octets, refused, deferred;
	/** messages that began to leave and that the hold has not confirmed to
	    have removed: the client may have stored them although its
	    acknowledgement did not count */
	uint64_t unsettled;
};

struct drain;

/** @param settings, user borrowed, outlive the drain */
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
/** Has the conversation ended? @return why (valid until _free), or NULL */
const char *drain_over(const struct drain *drain);
/**
 * Tells the client to go away. No other message is begun. Messages on their way
 * may still be acknowledged: most likely the client has stored them, and the
 * session that replaces this one would get them a second time. The core is told
 * that this session is SETTLING. The conversation is over when all is answered,
 * when the client was silent for settings->quiet_ms, or after max_ms; at once
 * where nothing is on its way, or where the client has been silent for
 * settings->settle_ms already.
 *
 * @param text   the reason, for the client
 * @param max_ms settings->settle_ms, or less
 */
void drain_dismiss(struct drain *drain, const char *text, int64_t max_ms,
		   int64_t now_ms);
/** Is the conversation over because a dismissed client did not answer? Then
    reset the connection, so that octets still in the kernel are dropped too. */
bool drain_aborted(const struct drain *drain);

/* ---- from the core */

/** New mail is held. */
void drain_held(struct drain *drain);
/** HOLD_OPEN is answered. @param fd owned from here on */
void drain_hold(struct drain *drain, int fd, int64_t now_ms);
void drain_hold_failed(struct drain *drain, int64_t now_ms);

/** Does everything that can be done now, also by time. */
void drain_work(struct drain *drain, int64_t now_ms);
/** @return when drain_work() is to be called at the latest; -1: no timer */
int64_t drain_deadline(const struct drain *drain);
/**
 * The client has gone, or its conversation is over. Its acknowledgements are
 * brought to the hold, within settings->close_ms; go on calling drain_work()
 * until drain_ended().
 */
void drain_end(struct drain *drain, int64_t now_ms);
/** Is nothing left to be done, and no connection to the hold open? */
bool drain_ended(const struct drain *drain);
struct drain_counts drain_counts(const struct drain *drain);

#endif
