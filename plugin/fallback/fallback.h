/* SPDX-License-Identifier: MIT */
/** Fallback delivery: held messages go to the normal mailbox. */
#ifndef RST_FALLBACK_FALLBACK_H
#define RST_FALLBACK_FALLBACK_H

struct rst_lmtp;
struct rst_locked;
struct rst_message;

enum rst_release_what {
	RST_RELEASE_ALL,     /**< apart from incomplete messages */
	RST_RELEASE_EXPIRED, /**< messages whose hold time is over */
	RST_RELEASE_ONE,     /**< the message of this id, incomplete or not */
	/** only messages for which an attempt has begun and not ended; each of
	    the values above includes these */
	RST_RELEASE_BEGUN,
};

/** Is this message leased, and so not to be released? */
typedef bool rst_fallback_leased_func(const char *id, void *context);

struct rst_fallback {
	enum rst_release_what what;
	const char *id;                   /**< of RST_RELEASE_ONE */
	rst_fallback_leased_func *leased; /**< NULL: no message is */
	void *context;

	unsigned int delivered, failed; /**< added to */
};

/**
 * Deliver the messages that are asked for, each in the order LMTP's 250,
 * tombstone, expunge. A message that fails stays, is logged, and does not stop
 * the others. The drain of locked goes on from the same place afterwards.
 *
 * @return 0, or -1: error_r: the hold itself cannot be read or written
 */
int rst_fallback_run(struct rst_fallback *fallback, struct rst_locked *locked,
		     const char **error_r);

/**
 * Deliver one message that has been read, and bury it; the expunge is left to
 * the caller.
 *
 * @param refused what the client said when it refused the message, or NULL
 * @param reply_r why it was not delivered, on the data stack
 * @return whether it has been delivered, into the overflow mailbox at the last,
 *         and has a durable tombstone
 */
bool rst_fallback_one(struct rst_lmtp *lmtp, struct rst_locked *locked,
		      struct rst_message *message, const char *refused,
		      const char **reply_r);

#endif
