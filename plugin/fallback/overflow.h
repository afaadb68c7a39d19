/* SPDX-License-Identifier: MIT */
/**
 * The last resort of a fallback delivery that fails again and again: a mailbox
 * beside the hold, which no quota applies to.
 */
#ifndef RST_FALLBACK_OVERFLOW_H
#define RST_FALLBACK_OVERFLOW_H

struct rst_message;
struct rst_hold;

/** Is it time for that? */
bool rst_overflow_is_due(const struct rst_hold *hold,
			 const struct rst_message *message);
/** Save durably what message->input gives, once.
    @return 0, or -1: error_r */
int rst_overflow_save(const struct rst_hold *hold, struct rst_message *message,
		      const char **error_r);
/** How many messages are there? @return 0, or -1: error_r */
int rst_overflow_count(const struct rst_hold *hold, unsigned int *count_r,
		       const char **error_r);

#endif
