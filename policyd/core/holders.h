/* SPDX-License-Identifier: MIT */
/**
 * Watches the holders directory (doc/protocol-hold.md, section 2): one file for
 * each user of whom something may be held, touched when mail comes. inotify
 * tells of it at once. It may tell too little: more changes than its queue has
 * room for, a directory that was replaced. So all entries are looked through at
 * the start and after each such event, and every HOLDERS_LOOK_MS those of users
 * who are signed in.
 */
#ifndef POLICYD_CORE_HOLDERS_H
#define POLICYD_CORE_HOLDERS_H

#include <event2/event.h>
#include <sys/types.h>

#include "restante/str.h"

#define HOLDERS_LOOK_MS (15 * 1000)

struct holders;

/** What is wanted of a user's entry. */
enum {
	HOLDERS_SESSION = 1, /**< the user is signed in: _held */
	HOLDERS_DUE = 2,     /**< it is not known when mail falls due: _due */
};

struct holders_config {
	const char *path; /**< borrowed */
	/** @return HOLDERS_* flags */
	unsigned int (*wanted)(struct rst_str user, void *ctx);
	/** Mail has come. */
	void (*held)(struct rst_str user, void *ctx);
	/** Mail had come by touched_ns, which is 0 where more may come at that
	    same instant. */
	void (*touched)(struct rst_str user, int64_t touched_ns, void *ctx);
	/** @param due wall-clock second; now, where the entry does not say it;
	    later, where the entry says that nothing is held, and may go by
	    then */
	void (*due)(struct rst_str user, int64_t due, void *ctx);
	/** The entry says that neither the hold nor the mailbox has room; or
	    that there is room. Anybody may have made it. */
	void (*full)(struct rst_str user, bool full, void *ctx);
	/** The directory is another one, or many entries were removed: what is
	    held may have no entry any more. */
	void (*lost)(void *ctx);
	void *ctx;
};

/** The first look begins when the event loop runs. */
struct holders *holders_new(struct event_base *base,
			    const struct holders_config *config);
void holders_free(struct holders **holders);
/** Look at all entries, and tell when each falls due, whatever is known. */
void holders_look_through(struct holders *holders);

/**
 * Make the directory, durably, and the one above it, where they are missing.
 * @param uid its owner. @return false: errno
 */
bool holders_make_directory(const char *path, uid_t uid, gid_t gid);

/* Restante-hold's walk over all users makes entries that are missing. When it
   last came to its end is noted in the directory for which that is true. */

/** @return seconds since then; -1: not known */
int64_t holders_audit_age(const char *path);
void holders_audited(const char *path);

#endif
