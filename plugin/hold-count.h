/* SPDX-License-Identifier: MIT */
/**
 * How much is held: what will be given out, not what the mailbox has.
 */
#ifndef HOLD_COUNT_H
#define HOLD_COUNT_H

#include "hold-mailbox.h"

struct mail_user;

/**
 * Count what hold-walk.h shows.
 * @return 0, or -1: error_r
 */
int rst_hold_count(struct mail_user *user, const struct rst_settings *set,
		   struct mailbox *box, struct rst_hold_status *status_r,
		   const char **error_r);
/**
 * The same at the cost of one message, not of all: when the oldest is due and
 * whether anything is held are exact; messages and octets are the mailbox's,
 * which may still have some that have left.
 */
int rst_hold_estimate(struct mail_user *user, const struct rst_settings *set,
		      struct rst_hold_status *status_r, const char **error_r);
/**
 * When does the oldest that is held go to the normal mailbox? Costs next to
 * nothing where nothing is held, and else one message.
 * @param due_r 0: nothing is held, but what is incomplete
 * @return 0, or -1: it cannot be told, error_r
 */
int rst_hold_next_due(struct mail_user *user, const struct rst_settings *set,
		      struct mailbox *box, time_t *due_r, const char **error_r);
/** Open, count, close; a missing hold is an empty one. @return 0 or -1 */
int rst_hold_peek(struct mail_user *user, const struct rst_settings *set,
		  struct rst_hold_status *status_r, const char **error_r);

#endif
