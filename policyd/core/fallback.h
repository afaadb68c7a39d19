/* SPDX-License-Identifier: MIT */
/**
 * Delivering to the mailbox what was not called for in time: at the time when
 * it is due, for the users for whom something is due, a few at once. The
 * timetable is rebuilt from the holds at the start and every now and then.
 */
#ifndef POLICYD_CORE_FALLBACK_H
#define POLICYD_CORE_FALLBACK_H

#include <event2/event.h>

#include "restante/str.h"

struct fallback;

struct fallback_config {
	const char *hold_socket; /**< borrowed */
	unsigned int concurrency;
	int64_t reconcile_ms;
	/** The walk found held mail of user. */
	void (*held)(struct rst_str user, void *ctx);
	void *ctx;
};

/** The first walk begins with the loop. */
struct fallback *fallback_new(struct event_base *base,
			      const struct fallback_config *config);
void fallback_free(struct fallback **fallback);
/** @param due wall-clock seconds; 0: not known */
void fallback_note(struct fallback *fallback, struct rst_str user, int64_t due);
/** Somebody begins to look at all that user holds ... */
void fallback_watch(struct fallback *fallback, struct rst_str user);
/** ... and has left what falls due at `due`; 0: nothing. */
void fallback_seen(struct fallback *fallback, struct rst_str user, int64_t due);
/**
 * Read who holds anything, and when the first of it falls due, or its delivery
 * is tried again: the due index. Of a user whose mail is all incomplete it does
 * not know.
 *
 * @param unread_r users whose holds the last walk could not read
 * @return NULL: it is not known of everybody, as the first walk goes on still,
 *         or notes had to be left out
 */
struct rst_timetable_reader *fallback_read(struct fallback *fallback,
					   uint64_t *unread_r);

#endif
