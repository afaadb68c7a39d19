/* SPDX-License-Identifier: MIT */
/**
 * What the core knows of the workers' sessions: who each of them is, and who
 * may have which hold. A worker is not believed: it names a session and asks;
 * who that session belongs to was decided here.
 */
#ifndef POLICYD_CORE_SESSIONS_H
#define POLICYD_CORE_SESSIONS_H

#include <event2/event.h>

#include "auth-conn.h"
#include "workers.h"

struct sessions;

struct sessions_config {
	const char *hold_socket; /**< borrowed */
	unsigned int max_per_worker;
	/** So many users' enrolment is asked for at once, where the hold is
	    quick: more would only keep others waiting for a processor. */
	unsigned int checks_at_once;
	/** how long a replaced session may take to close its hold, before
	    it is cut off ... */
	int64_t takeover_ms;
	/** ... in all, where it has said that its client still answers */
	int64_t settle_ms;
	/** Somebody is going to look at all that user holds ... */
	void (*hold_watched)(struct rst_str user, void *ctx);
	/** ... and has left what falls due then; 0: nothing. Not everybody who
	    looks says it. */
	void (*hold_seen)(struct rst_str user, int64_t due, void *ctx);
	void *ctx;
};

struct sessions *sessions_new(struct event_base *base,
			      const struct sessions_config *config);
void sessions_free(struct sessions **sessions);
/** Before anything else; borrowed. */
void sessions_set_auth(struct sessions *sessions, struct auth_conn *auth);

void sessions_message(struct sessions *sessions, struct worker *worker,
		      const struct rst_ipc *msg);
void sessions_worker_gone(struct sessions *sessions, struct worker *worker);
void sessions_auth_event(struct sessions *sessions,
			 const struct rst_auth_event *ev);
/** Dovecot went away: open exchanges are answered TEMPFAIL. */
void sessions_auth_lost(struct sessions *sessions);
/** Something is held for user. */
void sessions_held(struct sessions *sessions, struct rst_str user);

#endif
