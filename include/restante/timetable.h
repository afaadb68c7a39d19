/* SPDX-License-Identifier: MIT */
/**
 * Fallback timetable: for which user is something due, and when.
 *
 * One entry a user: the earliest wall-clock second at which a held message of
 * theirs is to be delivered to the mailbox. Costs O(log n) a change and O(1)
 * to ask; a sweep touches what is due and nothing else. The hold is the truth:
 * a lost entry is found again by the reconciling walk.
 */
#ifndef RESTANTE_TIMETABLE_H
#define RESTANTE_TIMETABLE_H

#include "restante/str.h"

struct rst_timetable;

struct rst_timetable *rst_timetable_new(void);
void rst_timetable_free(struct rst_timetable **t);
/** Something of user's is due at `due`; an earlier entry stays as it is. While
    user is taken, it is kept for the end of the sweep. due < 0: ignored. */
void rst_timetable_note(struct rst_timetable *t, struct rst_str user,
			int64_t due);
/** The earliest thing of user's is due at `due`, whatever was known before;
    -1: nothing is held. Ends a sweep that _take began; what was noted since
    _take may be a message that the sweep did not see, and still counts. */
void rst_timetable_set(struct rst_timetable *t, struct rst_str user,
		       int64_t due);
/** A sweep failed: try again after a delay that doubles each time, from 60 s
    to one hour; a _set resets it. Ends a sweep that _take began. What was
    noted meanwhile waits with the rest. */
void rst_timetable_retry(struct rst_timetable *t, struct rst_str user,
			 int64_t now);
/**
 * Somebody begins to look at all that user holds, and will say with _seen what
 * is left of it. It may have missed what is noted from here on.
 */
void rst_timetable_watch(struct rst_timetable *t, struct rst_str user);
/**
 * What _watch began has come to its end: the earliest thing that it saw and
 * left is due at `due`; -1: it left nothing. What was noted since _watch still
 * counts, and what a sweep has found since then. It ends neither a sweep nor,
 * unless nothing is left, a delay after one that failed.
 */
void rst_timetable_seen(struct rst_timetable *t, struct rst_str user,
			int64_t due);
/** When the next _take will have something; -1: never. */
int64_t rst_timetable_next(const struct rst_timetable *t);
/**
 * Take a user whose time has come: not taken again until _set or _retry for
 * it was called. user_r is valid until then.
 */
bool rst_timetable_take(struct rst_timetable *t, int64_t now,
			struct rst_str *user_r);
bool rst_timetable_has(const struct rst_timetable *t, struct rst_str user);
/** Users with an entry, the taken ones too. */
size_t rst_timetable_count(const struct rst_timetable *t);

struct rst_timetable_reader;

/**
 * Read all entries, some now and some later: each that is there all the while
 * is given once; one that comes or goes meanwhile may be or may not.
 */
struct rst_timetable_reader *rst_timetable_reader_new(struct rst_timetable *t);
/** Before the timetable is freed. */
void rst_timetable_reader_free(struct rst_timetable_reader **reader);
/**
 * @param user_r valid until the timetable is changed
 * @param due_r  when its time comes: that of a delay after a sweep that failed;
 *               of one that is taken, when it came
 * @return false: that was all
 */
bool rst_timetable_reader_next(struct rst_timetable_reader *reader,
			       struct rst_str *user_r, int64_t *due_r);

#endif
