/* SPDX-License-Identifier: MIT */
/**
 * The seen-log: ids of messages that are stored, so that a message whose 250
 * got lost on the way is answered again and not stored again.
 *
 * A text file of lines, "id TAB unix-time"; "id TAB -" takes an id back, once
 * the server has promised never to send it again. Lines are only ever added;
 * when more than half of them are dead the file is written anew and renamed.
 * Whoever opens it holds the lock of the Maildir.
 *
 * An id that was taken back stays known for SEEN_KEEP_SECS more, counted in
 * the times of later lines: a server that breaks its promise, as one whose
 * mail was restored from a backup may, brings no second copy; and it tells a
 * file that was stored and forgotten from one whose line a crash has kept out
 * of the log.
 */
#ifndef CLIENT_SEEN_H
#define CLIENT_SEEN_H

#include "restante/envelope.h"

#define SEEN_FILE "restante.seen"
#define SEEN_KEEP_SECS (7 * 86400)
/* The last second of the year 9999: no clock says more. */
#define SEEN_TIME_MAX INT64_C(253402300799)

enum seen_state {
	SEEN_UNKNOWN,
	/** stored, but its line is not durable yet: not to be answered 250 */
	SEEN_NOTED,
	SEEN_LOGGED,
	/** was stored, and taken back since */
	SEEN_FORGOTTEN,
};

struct seen;

/**
 * Read the log of a directory, or begin one. A last line without its end was
 * being written in a crash: it is cut off. Other lines that are none are
 * reported and skipped.
 * @return NULL when that failed, which was logged
 */
struct seen *seen_open(const char *dir);
void seen_free(struct seen **seen);
enum seen_state seen_find(const struct seen *seen, struct rst_str id);
/** `id` is stored since `time`. Durable only after seen_flush(). One that is
    known, or was forgotten, stays what it is. */
void seen_note(struct seen *seen, struct rst_str id, int64_t time);
/** It is not stored after all. Only while seen_flush() has not been tried. */
void seen_unnote(struct seen *seen, struct rst_str id);
/**
 * See to it that so many lines more have room, as far as the file system can
 * tell. What could be stored but not logged would be refused, and be there
 * all the same.
 * @return 0, or -1 with errno
 */
int seen_reserve(struct seen *seen, size_t lines);
/** Make what was noted durable. @return 0, or -1 with errno; then it is tried
    again with the next one */
int seen_flush(struct seen *seen);
/** The server promises that `id` will not come again. Nothing is done about
    one that is not logged. */
void seen_forget(struct seen *seen, struct rst_str id);
/** Unix time of the newest line; 0: the log has never had one. */
int64_t seen_newest(const struct seen *seen);
/** Were there lines that are none? Then any id may be missing. */
bool seen_damaged(const struct seen *seen);
/** Write a damaged log anew. A failure is logged, and harmless. */
void seen_mend(struct seen *seen);

#endif
