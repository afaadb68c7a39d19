/* SPDX-License-Identifier: MIT */
/**
 * Looks at what is held, without taking the lock: a drain that runs meanwhile
 * is not disturbed.
 */
#ifndef RST_HOLD_LOOK_H
#define RST_HOLD_LOOK_H

#include "hold.h"

struct mail;
struct rst_message;

/** @param message as a drain would give it out; cleared when the function
    returns @return whether to go on */
typedef bool rst_look_func(const struct rst_message *message, struct mail *mail,
			   void *context);

/**
 * Bring the hold up to date, and call func for each message that a DRAIN would
 * list, oldest first (held.h). Incomplete messages are shown as such. Messages
 * that cannot be read are logged.
 *
 * @param hold  open; no transaction may be open on its mailbox
 * @param whole set message->size and input as well
 * @return how many cannot be read, or -1: error_r
 */
int rst_look_each(struct rst_hold *hold, bool whole, rst_look_func *func,
		  void *context, const char **error_r);

/**
 * Count what rst_look_each() shows: what will be given out, not what the
 * mailbox has.
 * @return 0, or -1: error_r
 */
int rst_look_count(struct rst_hold *hold, struct rst_hold_status *status_r,
		   const char **error_r);
/**
 * When does the oldest held message go to the normal mailbox? Costs next to
 * nothing where nothing is held, and otherwise the reading of one message.
 *
 * @param hold  open
 * @param due_r 0: nothing is held, apart from incomplete messages
 * @return 0, or -1: it cannot be told, error_r
 */
int rst_look_next_due(struct rst_hold *hold, time_t *due_r,
		      const char **error_r);

/* These open the hold and close it again; a missing hold is an empty one. */

/** As rst_look_count(). */
int rst_look_peek(struct rst_hold *hold, struct rst_hold_status *status_r,
		  const char **error_r);
/**
 * The same at the cost of one message, not of all: when the oldest is due and
 * whether anything is held are exact; messages and octets are the mailbox's,
 * which may still have some that have left.
 * @return 0, or -1: error_r
 */
int rst_look_estimate(struct rst_hold *hold, struct rst_hold_status *status_r,
		      const char **error_r);

#endif
