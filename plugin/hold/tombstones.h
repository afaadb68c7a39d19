/* SPDX-License-Identifier: MIT */
/**
 * Tombstones: what has left a hold, in an append-only file beside the hold's
 * control files. A message with a tombstone that is still in the mailbox (a
 * crash, a restored backup, an expunge that was not durable) has left already
 * and is not given out again.
 *
 * One line each: id TAB K in hex TAB wall-clock second LF. A last line without
 * LF was torn by a crash and is dropped. Only the holder of the hold's lock
 * may write to it. Others may read it; what they do not find was not removed
 * from the mailbox before they opened it.
 */
#ifndef RST_HOLD_TOMBSTONES_H
#define RST_HOLD_TOMBSTONES_H

#include "restante/envelope.h"

struct rst_tombstones;

/**
 * Read dir's file; it need not be there yet.
 *
 * @return 0, or -1: error_r
 */
int rst_tombstones_open(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r);
/** The same for somebody without the lock, who only asks. */
int rst_tombstones_read(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r);
/** What was added and not committed is dropped. */
void rst_tombstones_close(struct rst_tombstones **tombstones);
bool rst_tombstones_has(const struct rst_tombstones *tombstones,
			const char *id);
/** Has a message of this key left? A key of zeros never has. */
bool rst_tombstones_has_key(const struct rst_tombstones *tombstones,
			    const unsigned char key[RST_KEY_SIZE]);
/**
 * When many are older, write the file anew without them. Not while a message
 * that has a tombstone may still be in the mailbox: the clock may be wrong.
 * @return 0, or -1: error_r
 */
int rst_tombstones_trim(struct rst_tombstones *tombstones, time_t oldest,
			const char **error_r);

typedef void rst_tombstones_key_func(const unsigned char key[RST_KEY_SIZE],
				     void *context);
/** Each key but that of zeros. */
void rst_tombstones_each_key(const struct rst_tombstones *tombstones,
			     rst_tombstones_key_func *func, void *context);
/** To be written by the next commit; counts at once. */
void rst_tombstones_add(struct rst_tombstones *tombstones, const char *id,
			const unsigned char key[RST_KEY_SIZE], time_t now);
/** Write what was added, durably. @return 0, or -1: error_r, and nothing of it
    counts any more */
int rst_tombstones_commit(struct rst_tombstones *tombstones,
			  const char **error_r);

#endif
