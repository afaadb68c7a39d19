/* SPDX-License-Identifier: MIT */
/**
 * An index of the hold that was lost with a crash. What is torn at the end of
 * its log makes Dovecot throw all of it away (a power cut in the middle of a
 * write), and begin another index that has none of the messages, although
 * their files are there. By itself it does not look for them.
 *
 * A file beside the mailbox's own, durable, holds the id of the index that was
 * seen to know all messages, and since when the system has been running. With
 * another id, after another start of the system, or with uids that go back,
 * the hold is looked through.
 */
#ifndef HOLD_MEND_H
#define HOLD_MEND_H

struct mailbox;

/**
 * See to it that box, which was opened just now, knows its messages.
 * @return 0, or -1: error_r
 */
int rst_hold_mend(struct mailbox *box, const char **error_r);

/** The same for one that was made just now and has none. */
void rst_hold_mend_new(struct mailbox *box);

#endif
