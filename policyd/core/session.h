/* SPDX-License-Identifier: MIT */
/**
 * One session as the core keeps it, the registry that it belongs to, and how
 * the core tells about it: to the log and to the session's worker. sessions.c
 * decides whose a session is, takeover.c which session may have a hold.
 */
#ifndef POLICYD_CORE_SESSION_H
#define POLICYD_CORE_SESSION_H

#include <sys/queue.h>

#include "hold-dial.h"
#include "hold-job.h"
#include "restante/logline.h"
#include "restante/registry.h"
#include "restante/throttle.h"
#include "sessions.h"

/*
 *   NEW         until Dovecot's auth confirms a user (AUTH)
 *   SIGNED_IN   until ATRN, and again after an ATRN that was not granted
 *   QUEUED      its CHECK, whether the user is enrolled, has not begun
 *   CHECKING    restante-hold has been asked
 *   REGISTERED  the user's newest session, the one that may open the hold
 *   DISMISSED   replaced by a newer session of the same user, or signed out
 *
 * From each of them a session ends with CLOSED, or with its worker.
 */
enum session_state {
	SESSION_NEW,
	SESSION_SIGNED_IN,
	SESSION_QUEUED,
	SESSION_CHECKING,
	SESSION_REGISTERED,
	SESSION_DISMISSED,
};

/*
 * A session's hold: NONE -> (HOLD_OPEN) [WAITING ->] DIALLING -> OPEN ->
 * (HOLD_CLOSED) NONE. WAITING: the session that was replaced has not closed
 * the hold yet. At most one session of a user is OPEN, so the core need not
 * remember more than the `blocker` of the newest one.
 *
 * The core keeps a copy of the descriptor of every OPEN hold. With it the core
 * shuts the connection down, also when the worker hangs or only claims to have
 * closed it. So whatever the client of a replaced session says too late cannot
 * reach the hold once the newer session has it.
 */
enum session_hold {
	SESSION_HOLD_NONE,
	SESSION_HOLD_WAITING,
	SESSION_HOLD_DIALLING,
	SESSION_HOLD_OPEN,
};

/** The sessions of one worker. */
struct worker_sessions {
	LIST_ENTRY(worker_sessions) entry;
	struct worker *worker;
	LIST_HEAD(, session) list;
	unsigned int count;
};

struct session {
	LIST_ENTRY(session) entry;
	struct sessions *all;
	struct worker_sessions *group;
	uint64_t number; /* the worker's, unique among the worker's sessions */
	uint64_t key;    /* the core's, unique among all */
	enum session_state state;

	/* sign-in */
	uint32_t auth_id; /* Dovecot's exchange; 0: none is open */
	uint32_t answer_id;
	char remote[64];
	char *login; /* as Dovecot's auth has it; NULL: NEW */
	char *user;  /* as the userdb has it: known when CHECKED; else login */

	/* registration */
	TAILQ_ENTRY(session) check_entry; /* QUEUED: queue; CHECKING: checks */
	struct hold_job *check;           /* CHECKING */
	int64_t check_since_ms;           /* CHECKING: when it began */
	uint32_t atrn_id;
	uint64_t epoch;                        /* REGISTERED and DISMISSED */
	TAILQ_ENTRY(session) registered_entry; /* REGISTERED */
	int64_t since;                         /* wall-clock seconds */
	struct recheck_watch *watch;           /* REGISTERED, or NULL */
	bool kicked; /* before ATRN was granted: it will not be */

	/* hold */
	enum session_hold hold;
	struct hold_dial *dial;
	int hold_fd;        /* OPEN: the core's copy; else -1 */
	struct event *cut;  /* DISMISSED and OPEN: when the hold is cut off */
	bool settling;      /* the time until `cut` has been extended */
	uint64_t blocker;   /* key of the session to be waited for; 0: none */
	bool held_told;     /* HELD was sent, and HOLD_OPEN has not come yet */
	int64_t touched_ns; /* of sessions_touched(), the last one; 0: none */
};

TAILQ_HEAD(session_queue, session);

/** One who reads the list `registered` bit by bit. */
struct sessions_reader {
	LIST_ENTRY(sessions_reader) entry;
	struct session *next; /* NULL: no more */
};

struct sessions {
	struct event_base *base;
	struct sessions_config config;
	struct auth_conn *auth;
	struct rst_registry *registry;
	struct rst_throttle *throttle;
	struct recheck *recheck; /* NULL: nobody is looked at again */
	LIST_HEAD(, worker_sessions) groups;
	struct session_queue registered; /* oldest first */
	LIST_HEAD(, sessions_reader) readers;
	struct session_queue queue;  /* to be checked */
	struct session_queue checks; /* oldest first */
	struct event *check_timer;   /* the next one may begin */
	void *by_number;             /* tree of sessions: group, number */
	void *by_exchange;           /* tree of sessions with auth_id != 0 */
	uint64_t last_key;
};

/** Begin a line of the log with the fields that name the session. */
void session_begin_line(struct rst_logline *line, const char *message,
			const struct session *session);
void session_log(int level, const char *message, const struct session *session);
/** @param fd -1, or a descriptor that is sent along and closed here */
void session_tell(struct session *session, enum rst_ipc_type type, int fd);
void session_tell_verdict(struct session *session, enum rst_ipc_type type,
			  uint32_t id, enum rst_verdict verdict,
			  struct rst_str user);
/**
 * Kill the worker, for a message that no worker sends that follows the
 * protocol. (A message that merely crossed one of the core's is ignored.)
 */
void session_forged(struct session *session, const char *what);

#endif
