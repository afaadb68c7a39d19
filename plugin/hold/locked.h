/* SPDX-License-Identifier: MIT */
/**
 * One user's hold while a process empties it: locked, read in order of arrival
 * or small messages first, and messages removed from it for good.
 */
#ifndef RST_HOLD_LOCKED_H
#define RST_HOLD_LOCKED_H

#include "message.h"

struct rst_hold;
struct rst_hold_status;
struct rst_locked;

/**
 * Open the hold and take RST_LOCK_DRAIN.
 *
 * @param hold     not open; lives as long as the locked one, which opens and
 *        closes it
 * @param locked_r NULL where the user has no hold mailbox and is not enrolled
 * @return 1; 0: another process has the lock; -1: error_r
 */
int rst_locked_open(struct rst_hold *hold, struct rst_locked **locked_r,
		    const char **error_r);
/** Messages that are buried and not yet expunged will be expunged by the next
    process that opens the hold. When nothing is held any more the user's entry
    is retired (entry.h). */
void rst_locked_close(struct rst_locked **locked);
const struct rst_hold *rst_locked_hold(const struct rst_locked *locked);

/**
 * The next message that is still held (held.h), in order of arrival, from the
 * first, unless _drain or _rewind say otherwise. A message that cannot be read
 * is passed over; it is logged and stays. An incomplete message is passed over
 * where a whole one of its K is held or has left; any other incomplete one is
 * given out as such, and logged at the end.
 *
 * @param message_r cleared by the next call of any function here
 * @return 1; 0: no more; -1: error_r
 */
int rst_locked_next(struct rst_locked *locked, struct rst_message **message_r,
		    const char **error_r);
/** Read one message again. @return 1; 0: it is not there any more; -1: error_r
 */
int rst_locked_get(struct rst_locked *locked, uint32_t uid,
		   struct rst_message **message_r, const char **error_r);
/**
 * From here on _next gives all that is held, small messages first (order.h),
 * with those that come in meanwhile. Their dates are not brought into order.
 */
void rst_locked_drain(struct rst_locked *locked);
/** Go on with the drain where it was, also after its end: with the messages
    that have come in since. */
void rst_locked_go_on(struct rst_locked *locked);
/** From here on _next gives all that is held, in order of arrival. The drain
    can be gone on with. */
void rst_locked_rewind(struct rst_locked *locked);

/**
 * Open an attempt at fallback delivery, before the message is given to LMTP:
 * from here on it is given out as attempted, until the outcome is known.
 * @return 0, or -1: error_r
 */
int rst_locked_begin_attempt(struct rst_locked *locked,
			     const struct rst_message *message,
			     const char **error_r);
/**
 * Find out how the attempts ended: a message that was delivered is buried, and
 * one whose attempt has not begun is held as before.
 * @return 0, or -1: error_r
 */
int rst_locked_resolve(struct rst_locked *locked, const char **error_r);
bool rst_locked_is_attempted(const struct rst_locked *locked, const char *id);
/** Is there any attempt of which the outcome is not known? */
bool rst_locked_is_unresolved(const struct rst_locked *locked);

/** Add a tombstone, which the next commit writes. The expunge comes after that.
 */
void rst_locked_bury(struct rst_locked *locked, const char *id,
		     const unsigned char key[RST_KEY_SIZE], uint32_t uid);
/** Make the tombstones durable: from here on the messages are never given out
    again. @return 0, or -1: error_r, and none of them is buried */
int rst_locked_commit(struct rst_locked *locked, const char **error_r);
/** Remove durably what is buried. @return 0, or -1: error_r */
int rst_locked_expunge(struct rst_locked *locked, const char **error_r);
/** Has a message of this id left already? */
bool rst_locked_is_buried(const struct rst_locked *locked, const char *id);

/** As rst_look_next_due(). */
int rst_locked_next_due(struct rst_locked *locked, time_t *due_r,
			const char **error_r);
/** As rst_look_count(). */
int rst_locked_count(struct rst_locked *locked,
		     struct rst_hold_status *status_r, const char **error_r);

#endif
