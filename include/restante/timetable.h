/* SPDX-License-Identifier: MIT */
/**
 * Fallback timetable: for each user with held mail, when the next message falls
 * due.
 *
 * A user has one entry: the earliest wall-clock second at which one of their
 * held messages is to be delivered to the mailbox. A change costs O(log n), the
 * question what is due O(1); a sweep touches only users whose time has come.
 * The hold is the truth: the reconciling walk finds a lost entry again.
 *
 * Three kinds of report change an entry:
 *   note         a message arrived
 *   take..set    a sweep: taken, delivered, and what it left (_retry: it
 * failed) watch..seen  a drain or walk looked at all that is held Of two that
 * overlap, neither may hide what only the other can know.
 */
#ifndef RESTANTE_TIMETABLE_H
#define RESTANTE_TIMETABLE_H

#include "restante/str.h"

struct rst_timetable;

struct rst_timetable *rst_timetable_new(void);
void rst_timetable_free(struct rst_timetable **t);
/** A message of user's falls due at `due`; an earlier entry stays. While user
   is taken, `due` is kept for the end of the sweep. due < 0: ignored. */
void rst_timetable_note(struct rst_timetable *t, struct rst_str user,
			int64_t due);
/** The earliest message of user's falls due at `due`, whatever was known
   before; -1: none is held. This ends a sweep that _take began. Times noted
   since _take still count: the sweep may not have seen these messages. */
void rst_timetable_set(struct rst_timetable *t, struct rst_str user,
		       int64_t due);
/** A sweep failed: try again after a delay that doubles each time, from 60 s to
    one hour; a _set resets it. This ends a sweep that _take began. Times noted
    meanwhile wait as well. */
void rst_timetable_retry(struct rst_timetable *t, struct rst_str user,
			 int64_t now);
/**
 * Begin to look at all that user holds; _seen ends it. The drain that looks may
 * miss messages noted from here on.
 */
void rst_timetable_watch(struct rst_timetable *t, struct rst_str user);
/**
 * End what _watch began: the earliest message seen and left falls due at `due`;
 * -1: none is left. Times noted since _watch still count, and so does what a
 * sweep has found since. This does not end a sweep, nor the delay after a
 * failed one, unless none is left.
 */
void rst_timetable_seen(struct rst_timetable *t, struct rst_str user,
			int64_t due);
/** When the next _take will have a user; -1: never. */
int64_t rst_timetable_next(const struct rst_timetable *t);
/**
 * Take a user whose time has come. The user is not taken again before _set or
 * _retry was called.
 * @param user_r valid until then
 * @return false: no user is due
 */
bool rst_timetable_take(struct rst_timetable *t, int64_t now,
			struct rst_str *user_r);
bool rst_timetable_has(const struct rst_timetable *t, struct rst_str user);
/** Users with an entry, the taken ones too. */
size_t rst_timetable_count(const struct rst_timetable *t);

struct rst_timetable_reader;

/**
 * Read all entries, some now and some later. An entry that exists all the while
 * is given once; one that comes or goes meanwhile may be given or not.
 */
struct rst_timetable_reader *rst_timetable_reader_new(struct rst_timetable *t);
/** Before the timetable is freed. */
void rst_timetable_reader_free(struct rst_timetable_reader **reader);
/**
 * @param user_r valid until the timetable is changed
 * @param due_r  when the user's time comes, after a failed sweep with its
 * delay; when it came, if the user is taken
 * @return false: no more
 */
bool rst_timetable_reader_next(struct rst_timetable_reader *reader,
			       struct rst_str *user_r, int64_t *due_r);

#endif
