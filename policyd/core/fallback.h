/* SPDX-License-Identifier: MIT */
/**
 * Fallback delivery: has restante-hold deliver to the mailbox the messages that
 * were not called for in time, when they fall due, for a few users at once. The
 * timetable, which says when each user's mail falls due, is rebuilt from the
 * holds at the start and every reconcile_ms, by a walk over all users.
 */
#ifndef POLICYD_CORE_FALLBACK_H
#define POLICYD_CORE_FALLBACK_H

#include <event2/event.h>

#include "restante/str.h"

struct fallback;

struct fallback_config {
	const char *hold_socket;  /**< borrowed */
	unsigned int concurrency; /**< users at once */
	int64_t reconcile_ms;
	/** The walk found held mail of user. */
	void (*held)(struct rst_str user, void *ctx);
	void *ctx;
};

/** The first walk begins when the event loop runs. */
struct fallback *fallback_new(struct event_base *base,
			      const struct fallback_config *config);
void fallback_free(struct fallback **fallback);
/** A message is held for user. @param due wall-clock seconds; 0: not known */
void fallback_note(struct fallback *fallback, struct rst_str user, int64_t due);
/** A session begins to look at everything that user holds. */
void fallback_watch(struct fallback *fallback, struct rst_str user);
/** The session has looked. @param due when the first message that it left
    falls due, wall-clock seconds; 0: nothing is left */
void fallback_seen(struct fallback *fallback, struct rst_str user, int64_t due);
/**
 * Read the due index: the users that hold anything, and when the first message
 * of each falls due, or its delivery is tried again. A user whose messages are
 * all incomplete is not in it.
 *
 * @param unread_r users whose holds the last walk could not read
 * @return NULL: the index does not have all users, as the first walk has not
 *         ended, or as notes had to be ignored
 */
struct rst_timetable_reader *fallback_read(struct fallback *fallback,
					   uint64_t *unread_r);

#endif
