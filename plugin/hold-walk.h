/* SPDX-License-Identifier: MIT */
/**
 * Look at what is held: what a drain would give out, for who only asks.
 */
#ifndef HOLD_WALK_H
#define HOLD_WALK_H

struct mail;
struct mail_user;
struct mailbox;
struct rst_held;
struct rst_settings;

/** @param held as it is given out; cleared when the function returns
    @return whether to go on */
typedef bool rst_hold_walk_func(const struct rst_held *held, struct mail *mail,
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
int rst_hold_walk(struct mail_user *user, const struct rst_settings *set,
		  struct mailbox *box, bool whole, rst_hold_walk_func *func,
		  void *context, const char **error_r);

#endif
