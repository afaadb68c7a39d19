/* SPDX-License-Identifier: MIT */
/** What drain.c (when what is done), drain-client.c (what the client decides)
    and drain-hold.c (what the hold says) share. */
#ifndef POLICYD_WORKER_DRAIN_PRIVATE_H
#define POLICYD_WORKER_DRAIN_PRIVATE_H

#include "common/hold-conn.h"
#include "drain.h"
#include "lease.h"
#include "restante/push.h"

/*
 * The hold connection:
 *
 *   NONE     nothing open, maybe `wanted`
 *   ASKED    HOLD_OPEN was said to the core
 *   OPENING  the descriptor is here, OPENED is not
 *   OPEN     DRAIN was said: messages come, ACKs and COMMITs go
 *   ENDING   BYE was said
 *
 * Every one that gets as far as OPENING has a number of its own
 * (`generation`): what was said to an earlier one may not have been heard, and
 * is said again when the message is listed again. So a message leaves the hold
 * only by an ACK that follows the client's 2xx, and is pushed again only when
 * there was none.
 */
enum hold_state {
	HOLD_NONE,
	HOLD_ASKED,
	HOLD_OPENING,
	HOLD_OPEN,
	HOLD_ENDING,
};

struct drain {
	struct event_base *base;
	const struct drain_settings *settings;
	const char *user;
	struct drain_callbacks callbacks;
	void *ctx;

	struct rst_push *push;
	bool ready;    /* EHLO was answered */
	bool extended; /* and this is how it goes */
	bool quitting;
	bool leaving;                     /* dismissed: no more messages */
	bool aborted;                     /* and without its answers */
	int64_t heard_ms;                 /* when the client said anything */
	int64_t moved_ms;                 /* when anything left for it */
	int64_t quiet_since_ms, leave_ms; /* how long it may go on */
	bool over;
	char over_text[256];

	enum hold_state state;
	struct hold_conn *hold;
	uint64_t generation;
	bool listing; /* the answer to DRAIN still comes, not to MORE */
	bool more;    /* something may have come since DRAIN or MORE */
	bool skipped; /* a message was passed over: there was no lease */
	bool removed; /* something was GONE on this connection */
	bool waiting; /* a MESSAGE waits until the client can take it */
	bool feeding; /* its octets go to the client; else nowhere */
	bool committing;
	uint64_t announced; /* messages that OK has counted, */
	uint64_t given;     /* and that came to the client's turn */
	unsigned int told;  /* ACKs and FALLBACKs since the last COMMIT */
	int64_t told_ms;    /* when the first of these was said */
	struct rst_hold_event message; /* that waits */

	bool wanted; /* a hold is to be opened, but not before open_ms */
	int64_t open_ms;
	int64_t reopen_delay_ms;
	int64_t retry_ms; /* earliest of the leases'; -1: none */

	bool ended;
	bool given_up; /* end_ms has passed */
	int64_t end_ms;
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

/* drain-client.c */

/** Ask the hold for the removal of what was decided; what becomes of it comes
    as GONE or KEPT. */
void drain_tell(struct drain *drain, struct lease *lease, int64_t now_ms);
/** Not now: try it again after a delay that grows. */
void drain_wait_longer(struct drain *drain, struct lease *lease,
		       int64_t now_ms);
/** @return whether there was one */
bool drain_take_push_event(struct drain *drain, int64_t now_ms);

/* drain-hold.c */

void drain_open_hold(struct drain *drain);
void drain_open_later(struct drain *drain, int64_t now_ms);
/** @param due what BYE said; -1: nothing */
void drain_close_hold(struct drain *drain, int64_t due);
void drain_hold_lost(struct drain *drain, const char *reason, int64_t now_ms);
/** @return whether anything was done */
bool drain_take_hold_event(struct drain *drain, int64_t now_ms);

#endif
