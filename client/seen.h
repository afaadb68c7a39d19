/* SPDX-License-Identifier: MIT */
/**
 * The seen-log: the ids of stored messages. A message whose 250 got lost on the
 * way is answered again, and not stored again.
 *
 * It is a text file of lines. "id TAB unix-time": the message is stored.
 * "id TAB -": the id is forgotten, as the server has promised never to send it
 * again. Lines are only appended; when more than half of them are dead, the
 * file is written anew and renamed. The caller holds the lock of the Maildir.
 *
 * A forgotten id stays known for SEEN_KEEP_SECS more, counted in the times of
 * later lines. So a server that breaks its promise (its mail was restored from
 * a backup) brings no second copy, and a file in the Maildir that was stored
 * and forgotten is told from one whose line a crash kept out of the log.
 */
#ifndef CLIENT_SEEN_H
#define CLIENT_SEEN_H

#include "restante/envelope.h"

#define SEEN_FILE "restante.seen"
#define SEEN_KEEP_SECS (7 * 86400)
/** The last second of the year 9999; a later time is damage. */
#define SEEN_TIME_MAX INT64_C(253402300799)

enum seen_state {
	SEEN_UNKNOWN,
	/** stored, but its line is not durable yet: do not answer 250 */
	SEEN_NOTED,
	SEEN_LOGGED,
	/** stored, and forgotten since */
	SEEN_FORGOTTEN,
};

struct seen;

/**
 * Read the log of a directory, or begin one. A last line without its LF, which
 * a crash left, is cut off. Other damaged lines are logged and skipped.
 * @return NULL: failed, which was logged
 */
struct seen *seen_open(const char *dir);
void seen_free(struct seen **seen);
/** Remove the log of a directory, durably. @return 0, or -1 with errno */
int seen_remove(const char *dir);
/** Does the path still lead to this log? @return 0; -1 with errno, which is
    ESTALE when another one is there */
int seen_in_place(const struct seen *seen);
/** @return descriptor of the directory; borrowed */
int seen_dir_fd(const struct seen *seen);
enum seen_state seen_find(const struct seen *seen, struct rst_str id);
/** Note that `id` is stored, since `time`. Durable after seen_flush(). A known
   or forgotten id stays as it is. */
void seen_note(struct seen *seen, struct rst_str id, int64_t time);
/** Undo seen_note(), before seen_flush() was tried. */
void seen_unnote(struct seen *seen, struct rst_str id);
/**
 * Reserve room for more lines, as far as the file system can. A message that
 * was stored but could not be logged would be refused, and be in the Maildir
 * all the same.
 * @return 0, or -1 with errno
 */
int seen_reserve(struct seen *seen, size_t lines);
/** Make the noted ids durable. @return 0; -1 with errno: the next call tries
    again */
int seen_flush(struct seen *seen);
/** Forget an id: the server promises that it will not come again. An id that is
    not logged stays as it is. */
void seen_forget(struct seen *seen, struct rst_str id);
/** @return Unix time of the newest line; 0: there was never a line */
int64_t seen_newest(const struct seen *seen);
/** Were there damaged lines? Then any id may be missing. */
bool seen_damaged(const struct seen *seen);
/** Take back an id whose line may be in the file. seen_mend() makes that
    durable. */
void seen_retract(struct seen *seen, struct rst_str id);
/** Write a damaged log anew. A failure is logged, and does no harm. */
void seen_mend(struct seen *seen);

#endif
