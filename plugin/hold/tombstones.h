/* SPDX-License-Identifier: MIT */
/**
 * The tombstones of the messages that have left a hold: an append-only file
 * beside the hold's control files. A message that has a tombstone and is still
 * in the mailbox (after a crash, from a restored backup, by an expunge that was
 * not durable) has left, and is not given out again.
 *
 * One line each: id TAB K in hex TAB wall-clock second LF. A last line without
 * LF was torn by a crash and does not count. Only the holder of RST_LOCK_DRAIN
 * may write to the file. Other processes may read it: a message whose tombstone
 * a reader does not find was in the mailbox until the reader opened the file,
 * at least.
 */
#ifndef RST_HOLD_TOMBSTONES_H
#define RST_HOLD_TOMBSTONES_H

#include "restante/envelope.h"

struct rst_tombstones;

/**
 * Read the file of dir, which need not be there yet, to write to it. A torn
 * line is cut off.
 *
 * @return 0, or -1: error_r
 */
int rst_tombstones_open(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r);
/** Read the file without the lock, and change nothing. */
int rst_tombstones_read(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r);
/** Tombstones that were added and not committed are dropped. */
void rst_tombstones_close(struct rst_tombstones **tombstones);
bool rst_tombstones_has(const struct rst_tombstones *tombstones,
			const char *id);
/** Has a message of this key left? A key of zeros never has. */
bool rst_tombstones_has_key(const struct rst_tombstones *tombstones,
			    const unsigned char key[RST_KEY_SIZE]);
/**
 * Where many tombstones are older, write the file anew without them. Not while
 * a message that has a tombstone may still be in the mailbox: the clock may be
 * wrong.
 * @return 0, or -1: error_r
 */
int rst_tombstones_trim(struct rst_tombstones *tombstones, time_t oldest,
			const char **error_r);

typedef void rst_tombstones_key_func(const unsigned char key[RST_KEY_SIZE],
				     void *context);
/** Call func for each key, but for a key of zeros. */
void rst_tombstones_each_key(const struct rst_tombstones *tombstones,
			     rst_tombstones_key_func *func, void *context);
/** Add a tombstone. It counts at once, and is written by the next commit. */
void rst_tombstones_add(struct rst_tombstones *tombstones, const char *id,
			const unsigned char key[RST_KEY_SIZE], time_t now);
/** Write the added tombstones, durably. @return 0, or -1: error_r, and none of
    them counts any more */
int rst_tombstones_commit(struct rst_tombstones *tombstones,
			  const char **error_r);

#endif
