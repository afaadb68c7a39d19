/* SPDX-License-Identifier: MIT */
/**
 * Looks again at the accounts of those who are signed in: a session may not
 * outlive the account, the enrolment or the password that it was opened with.
 *
 * Each session is looked at once in an interval, by two questions to Dovecot's
 * auth (PASS and USER); restante-hold is asked only when something says that
 * the enrolment may have changed. What matters is a change since the sign-in:
 * where Dovecot never had an answer, there is nothing to compare. What is not
 * answered changes nothing, and a "no" counts when it was said twice,
 * confirm_ms apart: a file may be in the middle of being written.
 */
#ifndef POLICYD_CORE_RECHECK_H
#define POLICYD_CORE_RECHECK_H

#include <event2/event.h>

#include "restante/str.h"

enum recheck_reason {
	RECHECK_NONE,
	RECHECK_GONE,       /**< neither passdb nor userdb know the account */
	RECHECK_DISABLED,   /**< the passdb does not let it sign in */
	RECHECK_UNENROLLED, /**< restante-hold says so */
	RECHECK_PASSWORD,   /**< the field restante_pass_changed changed */
	RECHECK_LIFETIME,   /**< signed in for lifetime_ms */
};

struct recheck_config {
	const char *userdb_socket, *hold_socket; /**< borrowed */
	int64_t interval_ms;                     /**< 0: nobody is asked */
	int64_t confirm_ms;
	int64_t lifetime_ms; /**< 0: without end */
	/** sessions looked at in a second, at most */
	unsigned int per_second;
	/**
	 * The session has to end. The callee removes the watch and returns
	 * true; or false: not now, the session is looked at again later.
	 */
	bool (*out)(void *session, enum recheck_reason reason, void *ctx);
	void *ctx;
};

struct recheck;
struct recheck_watch;

struct recheck *recheck_new(struct event_base *base,
			    const struct recheck_config *config);
/** After the last watch was removed. */
void recheck_free(struct recheck **recheck);
/**
 * A session has been registered: remember what is said of its account now.
 *
 * @param recheck NULL: nothing is done
 * @param user, remote borrowed until recheck_remove()
 */
struct recheck_watch *recheck_add(struct recheck *recheck, const char *user,
				  const char *remote, void *session);
void recheck_remove(struct recheck_watch **watch);
/** What the client and the log are told. */
const char *recheck_text(enum recheck_reason reason);

#endif
