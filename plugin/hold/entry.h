/* SPDX-License-Identifier: MIT */
/**
 * A user's entry in the holders directory (doc/protocol-hold.md, section 2): by
 * it policyd and operators know of whom something may be held. The entry is
 * durable before the first message is, and stays until nothing at all is held.
 *
 * The directory is open to all who deliver. So an entry counts only where it is
 * a regular file of this process's user, or of root.
 */
#ifndef RST_HOLD_ENTRY_H
#define RST_HOLD_ENTRY_H

struct rst_hold;

/* In all of these the hold need not be open, unless that is said. */

/** Can this user have an entry? Else the user's name is too long. */
bool rst_entry_has_name(const struct rst_hold *hold);
/** Is there an entry, of whatever kind? */
bool rst_entry_exists(const struct rst_hold *hold);
/**
 * See to it that the entry exists, durably. Costs one system call where it does
 * already.
 *
 * @param due when the oldest message falls due, for a new entry; 0: not known
 * @return 0, or -1: error_r
 */
int rst_entry_ensure(const struct rst_hold *hold, time_t due,
		     const char **error_r);
/**
 * Touch the entry, which tells policyd that mail has come.
 *
 * @param due as above: an entry that somebody has removed is made again
 * @return 0, or -1: error_r
 */
int rst_entry_touch(const struct rst_hold *hold, time_t due,
		    const char **error_r);
/**
 * Let the entry say that neither the hold nor the mailbox has room, and policyd
 * refuses mail for this user at RCPT; or that there is room again. Where that
 * fails, or nothing is held, nothing is done: it is a hint for policyd.
 */
void rst_entry_set_full(const struct rst_hold *hold, bool full);
/** Does the entry say that there is no room, and not for long? Whoever else has
    made an entry is not believed. */
bool rst_entry_is_full(const struct rst_hold *hold);
/**
 * If nothing at all is held, let the entry say so, or remove it where no mail
 * has come for RST_HOLDER_KEEP_SECS. An entry that stays where it is not needed
 * costs one look; so it stays as it is in doubt, and where a message is coming
 * at this moment.
 *
 * @param hold open, and under RST_LOCK_DRAIN; no transaction may be open on its
 *        mailbox
 */
void rst_entry_retire_if_empty(struct rst_hold *hold);

#endif
