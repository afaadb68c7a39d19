/* SPDX-License-Identifier: MIT */
/**
 * The overflow mailbox, to which no quota applies: the last resort for a
 * message whose fallback delivery fails again and again.
 */
#ifndef RST_FALLBACK_OVERFLOW_H
#define RST_FALLBACK_OVERFLOW_H

struct rst_hold;
struct rst_message;

/** Has the fallback delivery of this message failed for so long that it goes to
    the overflow mailbox? */
bool rst_overflow_is_due(const struct rst_hold *hold,
			 const struct rst_message *message);
/** Its name, for the log. */
const char *rst_overflow_name(const struct rst_hold *hold);
/** Save message->input into the overflow mailbox, durably, and only once
    however often this is called. @param hold open. @return 0, or -1: error_r */
int rst_overflow_save(const struct rst_hold *hold, struct rst_message *message,
		      const char **error_r);
/** Count the messages of the overflow mailbox. @return 0, or -1: error_r */
int rst_overflow_count(struct rst_hold *hold, unsigned int *count_r,
		       const char **error_r);

#endif
