/* SPDX-License-Identifier: MIT */
/** What sessions.c (who somebody is) and sessions-hold.c (who may have which
    hold) share. */
#ifndef POLICYD_CORE_SESSIONS_PRIVATE_H
#define POLICYD_CORE_SESSIONS_PRIVATE_H

#include <sys/queue.h>

#include "hold-dial.h"
#include "hold-job.h"
#include "restante/logline.h"
#include "restante/registry.h"
#include "restante/throttle.h"
#include "sessions.h"

/*
 * A session: (AUTH ... OK) signed in -> (ATRN, enrolled) registered ->
 * (a newer one of the same user) dismissed. It ends with CLOSED, or with its
 * worker.
 *
 * Its hold: NONE -> (HOLD_OPEN) [WAITING ->] DIALLING -> OPEN -> (HOLD_CLOSED)
 * NONE. WAITING: the session that was replaced has not closed the hold yet.
 * At most one session of a user is OPEN, so that the `blocker` of the newest
 * is all there is to remember.
 *
 * Of every OPEN one the core keeps a copy of the descriptor: with that it cuts
 * the connection under a worker that hangs, or that says that it has closed
 * it. So what the client of a replaced session said too late cannot reach the
 * hold once the newer session has it.
 */
enum hold_state {
	HOLD_NONE,
	HOLD_WAITING,
	HOLD_DIALLING,
	HOLD_OPEN,
};

/** A worker and its sessions. */
struct peer {
	LIST_ENTRY(peer) entry;
	struct worker *worker;
	LIST_HEAD(, session) list;
	unsigned int count;
};

struct session {
	LIST_ENTRY(session) entry;
	struct sessions *all;
	struct peer *peer;
	uint64_t number; /* the worker's */
	uint64_t key;    /* ours: unlike the number, the only one in here */

	/* sign-in */
	uint32_t auth_id; /* Dovecot's exchange; 0: none is open */
	uint32_t answer_id;
	char remote[64];
	char *user; /* NULL: not signed in */

	/* registration */
	TAILQ_ENTRY(session) check_entry; /* check_queue, then checks */
	bool check_waits;                 /* in check_queue */
	struct hold_job *check;           /* in checks ... */
	int64_t check_since;              /* ... from this time on */
	uint32_t atrn_id;
	uint64_t epoch; /* 0: not registered */
	bool dismissed;

	/* hold */
	enum hold_state hold;
	struct hold_dial *dial;
	int hold_fd;       /* OPEN: our copy; else -1 */
	struct event *cut; /* dismissed and OPEN: its time to close it */
	bool settling;     /* which was made longer */
	uint64_t blocker;  /* key of the session to be waited for; 0: none */
	bool held_told;    /* the worker knows, and has not asked yet */
};

struct sessions {
	struct event_base *base;
	struct sessions_config config;
	struct auth_conn *auth;
	struct rst_registry *registry;
	struct rst_throttle *throttle;
	LIST_HEAD(, peer) peers;
	TAILQ_HEAD(session_queue, session) check_queue;
	struct session_queue checks; /* begun in this order */
	unsigned int checking;
	struct event *check_turn; /* the next one's */
	void *by_number;          /* tree of sessions: worker, number */
	void *by_exchange;        /* tree of sessions with auth_id != 0 */
	uint64_t last_key;
};

/* sessions.c */

/** Who it is about, in every line of the log. */
void session_begin_line(struct rst_logline *line, const char *message,
			const struct session *session);
void session_log(int level, const char *message, const struct session *session);
/** @param fd -1, or a descriptor that goes along and is closed here */
void session_tell(struct session *session, enum rst_ipc_type type, int fd);
void session_tell_verdict(struct session *session, enum rst_ipc_type type,
			  uint32_t id, enum rst_verdict verdict,
			  struct rst_str user);
/** What a worker cannot have said while it follows the protocol gets it
    killed. What it can say because our own message crossed its is ignored. */
void session_forged(struct session *session, const char *what);

/* sessions-hold.c */

void session_atrn(struct session *session, const struct rst_ipc *msg);
void session_hold_open(struct session *session, const struct rst_ipc *msg);
void session_settling(struct session *session, const struct rst_ipc *msg);
void session_hold_closed(struct session *session, const struct rst_ipc *msg);
/** Of the timer check_turn. */
void sessions_check_turn(evutil_socket_t fd, short what, void *sessions);
/** It ends: it is not registered any more, and has no hold. */
void session_leave(struct session *session);

#endif
