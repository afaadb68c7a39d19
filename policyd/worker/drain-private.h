/* SPDX-License-Identifier: MIT */
/**
 * Shared by drain.c (the order of the steps), drain-client.c (the client's
 * decisions) and drain-hold.c (the hold's answers).
 *
 * A drain is two conversations, each with a state. With the client:
 *
 *   GREETING --EHLO answered--> PUSHING --plain, nothing left--> QUITTING
 *       |                          |                                 |
 *       '----------drain_dismiss()-+---------------------------------'
 *                                  v
 *                               LEAVING --silent for too long--> ABORTED
 *
 *   any of these --rst_push has ended--> OVER      (ABORTED stays)
 *   any of all   --drain_end()--> GONE --settings->close_ms--> GIVEN_UP
 *
 * With the hold, as often as there is something to do:
 *
 *   NONE --HOLD_OPEN to the core--> ASKED --descriptor comes--> OPENING
 *    ^                                                             |
 *    |                                                     OPENED: say DRAIN
 *    |                                                             v
 *    '--BYE-- ENDING <--nothing left: say BYE-- OPEN <--DRAINED-- LISTING
 *
 *   ASKED --HOLD_FAILED--> NONE
 *   OPENING and later --lost or refused--> NONE
 *
 * Messages come in LISTING, and in OPEN after MORE; marks (ACK, FALLBACK) and
 * COMMITs go in both. When the client is GONE, BYE is said in LISTING too, as
 * soon as every decision is marked, and OPENING is left without a word if there
 * is none to be marked.
 */
#ifndef POLICYD_WORKER_DRAIN_PRIVATE_H
#define POLICYD_WORKER_DRAIN_PRIVATE_H

#include "common/hold-conn.h"
#include "drain.h"
#include "lease.h"
#include "restante/push.h"

/** The conversation with the client, in the order in which it may go on. */
enum drain_client {
	CLIENT_GREETING, /**< EHLO is not answered yet */
	CLIENT_PUSHING,  /**< messages go to it */
	CLIENT_QUITTING, /**< QUIT was said, to a plain client */
	CLIENT_LEAVING,  /**< dismissed: may answer what is on its way */
	CLIENT_ABORTED,  /**< over: dismissed, and it did not answer */
	CLIENT_OVER,     /**< over: `over_text` says why */
	CLIENT_GONE,     /**< its answers are brought to the hold */
	CLIENT_GIVEN_UP, /**< no time is left for that */
};

/** The connection to the hold. */
enum drain_hold {
	HOLD_NONE,    /**< nothing is open */
	HOLD_ASKED,   /**< HOLD_OPEN was said to the core */
	HOLD_OPENING, /**< the descriptor is here, OPENED is not */
	HOLD_LISTING, /**< DRAIN was said, its DRAINED has not come */
	HOLD_OPEN,    /**< every message was listed */
	HOLD_ENDING,  /**< BYE was said */
};

/** The message that the hold is sending. */
enum drain_message {
	MESSAGE_SKIPPED, /**< none, or its octets go nowhere */
	MESSAGE_WAITING, /**< the client cannot take it yet: nothing is read */
	MESSAGE_FEEDING, /**< its octets go to the client */
};

struct drain {
	/* from drain_new() */
	struct event_base *base;
	const struct drain_settings *settings;
	const char *user;
	struct drain_callbacks callbacks;
	void *ctx;

	struct {
		enum drain_client state;
		bool extended; /* valid from PUSHING on */
		struct rst_push *push;
		int64_t heard_ms;       /* when octets last came from it */
		int64_t moved_ms;       /* when octets last left for it */
		int64_t quiet_since_ms; /* LEAVING: when it last answered */
		int64_t leave_ms;    /* LEAVING: when ABORTED at the latest */
		int64_t end_ms;      /* GONE: when GIVEN_UP */
		char over_text[256]; /* why rst_push has ended */
	} client;

	struct {
		enum drain_hold state;
		struct hold_conn *conn; /* from OPENING on */
		/* Number of the connection, and a new one after it was lost:
		   marks on an earlier one may not have been heard, so they are
		   said again when the message is listed again. So a message
		   leaves the hold only by an ACK that follows the client's 2xx,
		   and is pushed again only when there was none. */
		uint64_t generation;
		enum drain_message message_state;
		struct rst_hold_event message; /* WAITING */
		bool more;    /* mail came since DRAIN or MORE was said */
		bool skipped; /* a message was passed over: no lease was left */
		bool removed; /* a message was GONE */
		uint64_t announced; /* messages that OPENED has counted, ... */
		uint64_t given;     /* ... and that were pushed */
		unsigned int marks; /* since the last COMMIT */
		int64_t marked_ms;  /* when the first of them was said */
		bool committing;    /* a COMMIT is not answered yet */
	} hold;

	/* the next connection to the hold */
	struct {
		bool wanted;
		int64_t open_ms;  /* not before */
		int64_t delay_ms; /* after the next failure */
		/* when the first deferred message is to be tried again; -1:
		   none is deferred */
		int64_t retry_ms;
	} next;

	struct leases leases;
	struct drain_counts counts;
};

static inline int64_t drain_next_delay(int64_t delay_ms, int64_t max_ms)
{
	return delay_ms > max_ms / 2 ? max_ms : delay_ms * 2;
}

/** Says something to the core that has no more than a type. */
static inline void drain_to_core(struct drain *drain, enum rst_ipc_type type)
{
	drain->callbacks.to_core(&(struct rst_ipc){.type = type}, drain->ctx);
}

/** May messages be pushed to the client? */
static inline bool drain_may_push(const struct drain *drain)
{
	return drain->client.state == CLIENT_PUSHING ||
	       drain->client.state == CLIENT_QUITTING;
}

/** Does the hold take marks? */
static inline bool drain_may_mark(const struct drain *drain)
{
	return drain->hold.state == HOLD_LISTING ||
	       drain->hold.state == HOLD_OPEN;
}

/* drain-client.c */

/** Says ACK or FALLBACK to the hold, as the client has decided. The outcome
    comes as GONE or KEPT after a COMMIT. */
void drain_mark(struct drain *drain, struct lease *lease, int64_t now_ms);
/** Puts the message off, by a delay that grows. */
void drain_defer(struct drain *drain, struct lease *lease, int64_t now_ms);
/** @return whether there was an event */
bool drain_take_push_event(struct drain *drain, int64_t now_ms);

/* drain-hold.c */

void drain_open_hold(struct drain *drain);
/** Opens the hold again, after a delay that grows. */
void drain_open_later(struct drain *drain, int64_t now_ms);
/** @param due as BYE said it; -1: not known */
void drain_close_hold(struct drain *drain, int64_t due);
void drain_hold_lost(struct drain *drain, const char *reason, int64_t now_ms);
/** @return whether anything was done */
bool drain_take_hold_event(struct drain *drain, int64_t now_ms);

#endif
