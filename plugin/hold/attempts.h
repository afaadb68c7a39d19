/* SPDX-License-Identifier: MIT */
/**
 * Fallback deliveries that have begun: a log beside the tombstones, so that a
 * crash at any time makes no second copy.
 *
 * Who empties the hold writes OPEN before a message is handed to LMTP, where
 * the plugin, under the release lock, writes BEGUN, durably, before it
 * delivers, and then the outcome. It begins only what is open, so a hand-over
 * that was forgotten and arrives late does nothing. What is open and not begun
 * may be closed under the same lock. What has begun once is looked for in the
 * user's mailboxes before it is delivered again: also where the outcome was a
 * failure, as Dovecot may find later what a failed save has left.
 *
 * One line each, with LF before and after it: id TAB K in hex TAB O, B, D or F
 * TAB wall-clock second.
 */
#ifndef RST_HOLD_ATTEMPTS_H
#define RST_HOLD_ATTEMPTS_H

#include "restante/envelope.h"

struct rst_attempts;

enum rst_attempt_state {
	RST_ATTEMPT_NONE, /**< not handed over, or it failed */
	RST_ATTEMPT_OPEN,
	RST_ATTEMPT_BEGUN,
	RST_ATTEMPT_DELIVERED, /**< this stays */
	RST_ATTEMPT_FAILED,    /**< to be written; read as NONE */
};

/** Read the log; it need not be there. @return 0, or -1: error_r */
int rst_attempts_read(const char *dir, struct rst_attempts **attempts_r,
		      const char **error_r);
void rst_attempts_free(struct rst_attempts **attempts);
enum rst_attempt_state rst_attempts_state(const struct rst_attempts *attempts,
					  const char *id);
/** Has it ever begun? @param since_r when, for the first time */
bool rst_attempts_tried(const struct rst_attempts *attempts, const char *id,
			time_t *since_r);
/** Is any line in the log? */
bool rst_attempts_any(const struct rst_attempts *attempts);

typedef int rst_attempts_func(const char *id,
			      const unsigned char key[RST_KEY_SIZE],
			      enum rst_attempt_state state, void *context);
/** Each message that the log knows. @return 0, or -1, as soon as func says so
 */
int rst_attempts_each(const struct rst_attempts *attempts,
		      rst_attempts_func *func, void *context);

/** Append a line. @return 0, or -1: error_r */
int rst_attempts_write(const char *dir, const char *id,
		       const unsigned char key[RST_KEY_SIZE],
		       enum rst_attempt_state state, bool durable,
		       const char **error_r);
/** Should the log go on to know it? */
typedef bool rst_attempts_keep_func(const char *id, void *context);
/** Write the log anew, durably, when nothing or little of it is of use. Under
    the release lock, with attempts that were read under it. @return 0, or -1:
    error_r */
int rst_attempts_trim(const struct rst_attempts *attempts, const char *dir,
		      rst_attempts_keep_func *keep, void *context,
		      const char **error_r);

#endif
