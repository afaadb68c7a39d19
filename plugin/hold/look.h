/* SPDX-License-Identifier: MIT */
/**
 * Look at what is held: what a drain would give out, for who only asks.
 */
#ifndef RST_HOLD_LOOK_H
#define RST_HOLD_LOOK_H

#include "hold.h"

struct mail;
struct mail_user;
struct rst_held;
struct rst_settings;

/** @param held as it is given out; cleared when the function returns
    @return whether to go on */
typedef bool rst_look_func(const struct rst_held *held, struct mail *mail,
			   void *context);

/**
 * Bring box up to date, and call func for each message that is held, oldest
 * first: for none that has left and came back, and once for those of one key.
 * No lock is needed, so a drain that runs meanwhile is not disturbed, and no
 * transaction may be open on box. What is incomplete is shown as such. What
 * cannot be read is logged.
 *
 * @param whole set held->size and input as well
 * @return how many cannot be read, or -1: error_r
 */
int rst_look(struct mail_user *user, const struct rst_settings *set,
	     struct mailbox *box, bool whole, rst_look_func *func,
	     void *context, const char **error_r);

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
