/* SPDX-License-Identifier: MIT */
/**
 * Tombstones: what has left a hold, in an append-only file beside the hold's
 * control files. A message with a tombstone that is still in the mailbox (a
 * crash, a restored backup, an expunge that was not durable) has left already
 * and is not given out again.
 *
 * One line each: id TAB K in hex TAB wall-clock second LF. A last line without
 * LF was torn by a crash and is dropped. Only the holder of the hold's lock
 * may open it.
 */
#ifndef HOLD_TOMBSTONE_H
#define HOLD_TOMBSTONE_H

#include "restante/envelope.h"

struct rst_tombstones;

/**
 * Read dir's file; it need not be there yet. When much of it is older than
 * keep_secs, it is written anew without that.
 *
 * @return 0, or -1: error_r
 */
int rst_tombstones_open(const char *dir, time_t now, unsigned int keep_secs,
			struct rst_tombstones **tombstones_r,
			const char **error_r);
/** What was added and not committed is dropped. */
void rst_tombstones_close(struct rst_tombstones **tombstones);
bool rst_tombstones_has(const struct rst_tombstones *tombstones,
			const char *id);
/** To be written by the next commit; counts at once. */
void rst_tombstones_add(struct rst_tombstones *tombstones, const char *id,
			const unsigned char key[RST_KEY_SIZE], time_t now);
/** Write what was added, durably. @return 0, or -1: error_r, and nothing of it
    counts any more */
int rst_tombstones_commit(struct rst_tombstones *tombstones,
			  const char **error_r);

#endif
