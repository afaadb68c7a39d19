/* SPDX-License-Identifier: MIT */
/**
 * Fallback delivery: has restante-hold deliver to the mailbox the messages that
 * were not called for in time, when they fall due, for a few users at once. The
 * timetable, which says when each user's mail falls due, is made from the
 * holders directory (holders.h); every audit_ms a walk over all users finds
 * what the directory lacks.
 */
#ifndef POLICYD_CORE_FALLBACK_H
#define POLICYD_CORE_FALLBACK_H

#include <event2/event.h>

#include "restante/str.h"

struct fallback;

struct fallback_config {
	const char *hold_socket;  /**< borrowed */
	unsigned int concurrency; /**< users at once */
	int64_t audit_ms;
	int64_t first_audit_ms; /**< from the start on; 0: at once */
	/** The walk found held mail of user. */
	void (*held)(struct rst_str user, void *ctx);
	/** The walk has ended, and could read all holds. */
	void (*audited)(void *ctx);
	/** To note again when mail falls due: the wall clock was set, or users
	    were left out. */
	void (*read_again)(void *ctx);
	void *ctx;
};

struct fallback *fallback_new(struct event_base *base,
			      const struct fallback_config *config);
void fallback_free(struct fallback **fallback);
/** A message is held for user. @param due wall-clock seconds; 0: ignored */
void fallback_note(struct fallback *fallback, struct rst_str user, int64_t due);
/** Is it known when mail of user falls due? */
bool fallback_has(const struct fallback *fallback, struct rst_str user);
/** Look soon into the holds of all users that are known, which makes entries
    that are missing. */
void fallback_look_again(struct fallback *fallback);
/** Walk over all users now; if a walk runs, once more after it. */
void fallback_audit(struct fallback *fallback);
/** A session begins to look at everything that user holds. */
void fallback_watch(struct fallback *fallback, struct rst_str user);
/** The session has looked. @param due when the first message that it left
    falls due, wall-clock seconds; 0: nothing is left */
void fallback_seen(struct fallback *fallback, struct rst_str user, int64_t due);

#endif
