/* SPDX-License-Identifier: MIT */
/**
 * The sessions of all workers: the user of each session, and which session
 * may have a user's hold. The core does not believe a worker: a worker names a
 * session and asks, and the core has decided whose session that is.
 */
#ifndef POLICYD_CORE_SESSIONS_H
#define POLICYD_CORE_SESSIONS_H

#include <event2/event.h>

#include "auth-conn.h"
#include "recheck.h"
#include "workers.h"

struct sessions;

struct sessions_config {
	const char *hold_socket; /**< borrowed */
	unsigned int max_per_worker;
	/** users whose enrolment is asked for at once, while restante-hold
	    answers quickly: more would make others wait for a processor */
	unsigned int checks_at_once;
	/** how long a replaced session may take to close its hold before the
	    core cuts it off ... */
	int64_t takeover_ms;
	/** ... and how long if it has said that its client still answers */
	int64_t settle_ms;
	/** A session is about to look at everything that user holds. */
	void (*hold_watched)(struct rst_str user, void *ctx);
	/** A session has looked, and what it left falls due then (wall-clock
	    seconds; 0: nothing is left). Not every session that has looked
	    says so. */
	void (*hold_seen)(struct rst_str user, int64_t due, void *ctx);
	void *ctx;
};

struct sessions *sessions_new(struct event_base *base,
			      const struct sessions_config *config);
void sessions_free(struct sessions **sessions);
/** To be called before everything else. @param auth borrowed */
void sessions_set_auth(struct sessions *sessions, struct auth_conn *auth);
/** To be called before a session is registered; sessions_free() first.
    @param recheck borrowed */
void sessions_set_recheck(struct sessions *sessions, struct recheck *recheck);

void sessions_message(struct sessions *sessions, struct worker *worker,
		      const struct rst_ipc *msg);
void sessions_worker_gone(struct sessions *sessions, struct worker *worker);
void sessions_auth_event(struct sessions *sessions,
			 const struct rst_auth_event *ev);
/** Dovecot's auth went away: answers open exchanges with TEMPFAIL. */
void sessions_auth_lost(struct sessions *sessions);
/** `out` of struct recheck_config; ctx is not used. */
bool sessions_recheck_out(void *session, enum recheck_reason reason, void *ctx);
/**
 * Sign a user out, now: sessions that are signed in, and those that are about
 * to be.
 *
 * @return how many
 */
unsigned int sessions_kick(struct sessions *sessions, struct rst_str user);

/** A session that is signed in. Views until the next turn of the loop. */
struct sessions_row {
	struct rst_str user, remote;
	int64_t since; /**< wall-clock seconds */
	uint64_t epoch;
	bool draining; /**< its worker has the hold open, or asks for it */
};

struct sessions_reader;

/** Reads who is signed in, oldest first, over as many turns of the loop as it
    takes: those who stay all the time are read once. */
struct sessions_reader *sessions_reader_new(struct sessions *sessions);
void sessions_reader_free(struct sessions_reader **reader);
/** @return false: no more */
bool sessions_reader_next(struct sessions_reader *reader,
			  struct sessions_row *row_r);
/** Something is held for user: tells the worker of the user's session. */
void sessions_held(struct sessions *sessions, struct rst_str user);
/** The same, unless the user's session was told so of this touched_ns before.
    @param touched_ns when something came last, by any clock; 0: not known */
void sessions_touched(struct sessions *sessions, struct rst_str user,
		      int64_t touched_ns);
bool sessions_has(struct sessions *sessions, struct rst_str user);

#endif
