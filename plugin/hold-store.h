/* SPDX-License-Identifier: MIT */
/**
 * One user's hold while somebody empties it: locked, read in order of arrival
 * or small ones first, and messages removed from it for good.
 */
#ifndef HOLD_STORE_H
#define HOLD_STORE_H

#include "hold-message.h"

struct mail_user;
struct rst_hold_status;
struct rst_settings;
struct rst_hold_store;

/**
 * Lock and open the hold of user.
 *
 * @param set     lives as long as the store
 * @param store_r NULL where the user has no hold mailbox and is not enrolled
 * @return 1; 0: somebody else has the lock; -1: error_r
 */
int rst_hold_store_open(struct mail_user *user, const struct rst_settings *set,
			struct rst_hold_store **store_r, const char **error_r);
/** What is buried and not yet expunged will be by the next who opens it. */
void rst_hold_store_close(struct rst_hold_store **store);

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
int rst_hold_store_next(struct rst_hold_store *store, struct rst_held **held_r,
			const char **error_r);
/** Read one message again. @return 1; 0: it is not there any more; -1 */
int rst_hold_store_get(struct rst_hold_store *store, uint32_t uid,
		       struct rst_held **held_r, const char **error_r);
/**
 * From here on _next gives all that is held, small ones first (hold-order.h),
 * with what comes in meanwhile. Their dates are not brought into order.
 */
void rst_hold_store_drain(struct rst_hold_store *store);
/** Go on with the drain where it was, also when it was at its end: with what
    has come in since. */
void rst_hold_store_go_on(struct rst_hold_store *store);
/** From here on _next gives all that is held, in order of arrival. The drain
    can be gone on with. */
void rst_hold_store_rewind(struct rst_hold_store *store);

/**
 * Say, before a message is handed to LMTP, that it will be; from here on it
 * is given out as handed_over, until the outcome is known.
 * @return 0, or -1: error_r
 */
int rst_hold_store_hand_over(struct rst_hold_store *store,
			     const struct rst_held *held, const char **error_r);
/**
 * Find out how hand-overs ended: what was delivered is buried, what has not
 * begun is held as before. @return 0, or -1: error_r
 */
int rst_hold_store_settle(struct rst_hold_store *store, const char **error_r);
bool rst_hold_store_is_handed_over(const struct rst_hold_store *store,
				   const char *id);
/** Is anything handed over of which the outcome is not known? */
bool rst_hold_store_is_unsettled(const struct rst_hold_store *store);

/** A tombstone, written by the next commit. The expunge comes after that. */
void rst_hold_store_bury(struct rst_hold_store *store, const char *id,
			 const unsigned char key[RST_KEY_SIZE], uint32_t uid);
/** Make the tombstones durable: from here on the messages are never given out
    again. @return 0, or -1: error_r, and none of them is buried */
int rst_hold_store_commit(struct rst_hold_store *store, const char **error_r);
/** Remove durably what is buried. @return 0, or -1: error_r */
int rst_hold_store_expunge(struct rst_hold_store *store, const char **error_r);
/** Has a message of this id left already? */
bool rst_hold_store_is_buried(const struct rst_hold_store *store,
			      const char *id);

/** As rst_hold_next_due(). */
int rst_hold_store_due(struct rst_hold_store *store, time_t *due_r,
		       const char **error_r);
int rst_hold_store_status(struct rst_hold_store *store,
			  struct rst_hold_status *status_r,
			  const char **error_r);

#endif
