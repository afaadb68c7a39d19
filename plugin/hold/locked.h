/* SPDX-License-Identifier: MIT */
/**
 * One user's hold while somebody empties it: locked, read in order of arrival
 * or small ones first, and messages removed from it for good.
 */
#ifndef RST_HOLD_LOCKED_H
#define RST_HOLD_LOCKED_H

#include "message.h"

struct mail_user;
struct rst_hold_status;
struct rst_settings;
struct rst_locked;

/**
 * Lock and open the hold of user.
 *
 * @param set     lives as long as the store
 * @param store_r NULL where the user has no hold mailbox and is not enrolled
 * @return 1; 0: somebody else has the lock; -1: error_r
 */
int rst_locked_open(struct mail_user *user, const struct rst_settings *set,
		    struct rst_locked **store_r, const char **error_r);
/** What is buried and not yet expunged will be by the next who opens it. */
void rst_locked_close(struct rst_locked **store);

/**
 * The next message, in order of arrival, from the first, unless said
 * otherwise (_drain, _rewind). One with a tombstone is
 * passed over, by its id or its key; one of a key that was given out already;
 * one that cannot be read, which is logged and stays; and one that is
 * incomplete, where a whole one of its key is in the hold or has left it. Any
 * other incomplete one is given out as such, and logged at the end.
 *
 * @param held_r cleared by the next call of any function here
 * @return 1; 0: no more; -1: error_r
 */
int rst_locked_next(struct rst_locked *store, struct rst_held **held_r,
		    const char **error_r);
/** Read one message again. @return 1; 0: it is not there any more; -1 */
int rst_locked_get(struct rst_locked *store, uint32_t uid,
		   struct rst_held **held_r, const char **error_r);
/**
 * From here on _next gives all that is held, small ones first (hold-order.h),
 * with what comes in meanwhile. Their dates are not brought into order.
 */
void rst_locked_drain(struct rst_locked *store);
/** Go on with the drain where it was, also when it was at its end: with what
    has come in since. */
void rst_locked_go_on(struct rst_locked *store);
/** From here on _next gives all that is held, in order of arrival. The drain
    can be gone on with. */
void rst_locked_rewind(struct rst_locked *store);

/**
 * Say, before a message is handed to LMTP, that it will be; from here on it
 * is given out as attempted, until the outcome is known.
 * @return 0, or -1: error_r
 */
int rst_locked_begin_attempt(struct rst_locked *store,
			     const struct rst_held *held, const char **error_r);
/**
 * Find out how hand-overs ended: what was delivered is buried, what has not
 * begun is held as before. @return 0, or -1: error_r
 */
int rst_locked_settle(struct rst_locked *store, const char **error_r);
bool rst_locked_is_attempted(const struct rst_locked *store, const char *id);
/** Is anything handed over of which the outcome is not known? */
bool rst_locked_is_unsettled(const struct rst_locked *store);

/** A tombstone, written by the next commit. The expunge comes after that. */
void rst_locked_bury(struct rst_locked *store, const char *id,
		     const unsigned char key[RST_KEY_SIZE], uint32_t uid);
/** Make the tombstones durable: from here on the messages are never given out
    again. @return 0, or -1: error_r, and none of them is buried */
int rst_locked_commit(struct rst_locked *store, const char **error_r);
/** Remove durably what is buried. @return 0, or -1: error_r */
int rst_locked_expunge(struct rst_locked *store, const char **error_r);
/** Has a message of this id left already? */
bool rst_locked_is_buried(const struct rst_locked *store, const char *id);

/** As rst_hold_next_due(). */
int rst_locked_due(struct rst_locked *store, time_t *due_r,
		   const char **error_r);
int rst_locked_status(struct rst_locked *store,
		      struct rst_hold_status *status_r, const char **error_r);

#endif
