/* SPDX-License-Identifier: MIT */
/**
 * The log of attempts at fallback delivery, beside the tombstones: with it a
 * crash at any time makes no second copy.
 *
 * The holder of the drain lock writes OPEN before a message is given to LMTP.
 * There the plugin, under the release lock, writes BEGUN, durably, before it
 * delivers, and then the outcome. The plugin begins only what is open, so an
 * attempt that was given up and arrives late does nothing. An attempt that is
 * open and has not begun may be closed under the release lock. A message for
 * which an attempt has begun once is searched for in the user's mailboxes
 * before it is delivered again, also where the outcome was a failure: Dovecot
 * may find later what a failed save has left.
 *
 * One line each, with LF before and after it: id TAB K in hex TAB O, B, D or F
 * TAB wall-clock second.
 */
#ifndef RST_HOLD_ATTEMPTS_H
#define RST_HOLD_ATTEMPTS_H

#include "restante/envelope.h"

struct rst_attempts;

enum rst_attempt_state {
	RST_ATTEMPT_NONE, /**< no attempt, or it failed */
	RST_ATTEMPT_OPEN,
	RST_ATTEMPT_BEGUN,
	RST_ATTEMPT_DELIVERED, /**< final */
	RST_ATTEMPT_FAILED,    /**< to be written; read as NONE */
};

/** Read the log; it need not be there. @return 0, or -1: error_r */
int rst_attempts_read(const char *dir, struct rst_attempts **attempts_r,
		      const char **error_r);
void rst_attempts_free(struct rst_attempts **attempts);
enum rst_attempt_state rst_attempts_state(const struct rst_attempts *attempts,
					  const char *id);
/** Has an attempt for this message ever begun? @param since_r when the first
    one began */
bool rst_attempts_tried(const struct rst_attempts *attempts, const char *id,
			time_t *since_r);
/** Has the log any line? */
bool rst_attempts_any(const struct rst_attempts *attempts);

typedef int rst_attempts_func(const char *id,
			      const unsigned char key[RST_KEY_SIZE],
			      enum rst_attempt_state state, void *context);
/**
 * Call func for each message of the log, until it returns -1. @return 0, or -1
 */
int rst_attempts_each(const struct rst_attempts *attempts,
		      rst_attempts_func *func, void *context);

/** Append a line. @param key zeros: not known. @return 0, or -1: error_r */
int rst_attempts_write(const char *dir, const char *id,
		       const unsigned char key[RST_KEY_SIZE],
		       enum rst_attempt_state state, bool durable,
		       const char **error_r);
/** @return whether this message's state stays in the log */
typedef bool rst_attempts_keep_func(const char *id, void *context);
/** Write the log anew where nothing or little of it is of use. The caller has
    had the release lock since it read attempts. @return 0, or -1: error_r */
int rst_attempts_trim(const struct rst_attempts *attempts, const char *dir,
		      rst_attempts_keep_func *keep, void *context,
		      const char **error_r);

#endif
