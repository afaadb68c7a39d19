/* SPDX-License-Identifier: MIT */
/**
 * The log of the keys K of the messages that were saved into a hold, so that an
 * arrival need not look at every held message. The log proves nothing by
 * itself: the hold and the tombstones are the truth. So it is not made durable.
 * A missing record is noticed by the uid of the last one, and a damaged log is
 * begun anew.
 *
 * Records have one width: the first octets of K, uid validity, uid, wall-clock
 * second, and a check of these. Only the holder of the arrival lock may open
 * it.
 */
#ifndef RST_HOLD_KEYS_H
#define RST_HOLD_KEYS_H

#include "restante/envelope.h"

struct rst_keys;

/** @param key looked for while the log is read
    @return 0, or -1: error_r */
int rst_keys_open(const char *dir, uint32_t uid_validity,
		  const unsigned char key[RST_KEY_SIZE],
		  struct rst_keys **keys_r, const char **error_r);
void rst_keys_close(struct rst_keys **keys);

/**
 * Read the last record, without the lock.
 * @return whether there is one
 */
bool rst_keys_tail(const char *dir, uint32_t *uid_validity_r, uint32_t *uid_r);
/** Append, without the lock, that uids begin anew: the next arrival looks at
    the whole hold. */
void rst_keys_restart(const char *dir, uint32_t uid_validity);

/** Messages up to this uid are in the log; 0: none is. */
uint32_t rst_keys_last_uid(const struct rst_keys *keys);
/**
 * Was a message of the key that _open() was given ever saved?
 * @param uid_r of the last such message
 */
bool rst_keys_find(const struct rst_keys *keys, uint32_t *uid_r);
/** Append a record; a key of zeros is never found. Write errors are left to
    the next open. */
void rst_keys_add(struct rst_keys *keys, const unsigned char key[RST_KEY_SIZE],
		  uint32_t uid, time_t now);
/** Append a record without a uid, unless the log has the key. */
void rst_keys_add_missing(struct rst_keys *keys,
			  const unsigned char key[RST_KEY_SIZE], time_t now);
/** Drop older records, where they are much of the log. @return 0, or -1:
    error_r */
int rst_keys_trim(struct rst_keys *keys, time_t oldest, const char **error_r);

#endif
