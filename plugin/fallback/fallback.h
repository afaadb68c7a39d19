/* SPDX-License-Identifier: MIT */
/**
 * Fallback delivery: held mail goes to the normal mailbox.
 */
#ifndef RST_FALLBACK_FALLBACK_H
#define RST_FALLBACK_FALLBACK_H

struct rst_message;
struct rst_locked;
struct rst_lmtp;

enum rst_release_what {
	RST_RELEASE_ALL,     /**< but what is incomplete */
	RST_RELEASE_EXPIRED, /**< whose hold time is over */
	RST_RELEASE_ONE,     /**< also if it is incomplete */
	RST_RELEASE_BEGUN,   /**< nothing but what is handed over already, which
				  any of these tries again */
};

/** Is this message leased to somebody, and so not to be released? */
typedef bool rst_fallback_leased_func(const char *id, void *context);

struct rst_fallback {
	enum rst_release_what what;
	const char *id;                   /**< of RST_RELEASE_ONE */
	rst_fallback_leased_func *leased; /**< NULL: nothing is */
	void *context;

	unsigned int delivered, failed; /**< counted up */
};

/**
 * Deliver what is asked for, in the order LMTP's 250, tombstone, expunge. What
 * fails stays, is logged, and does not stop the rest. The store's position is
 * the same afterwards.
 *
 * @return 0, or -1: error_r: the hold itself cannot be read or written
 */
int rst_fallback_run(struct rst_fallback *fallback, struct rst_locked *locked,
		     const char **error_r);

/**
 * Deliver one message that has been read, and bury it; the expunge is the
 * caller's.
 *
 * @param refused what its client said, or NULL
 * @param reply_r why not, on the data stack
 * @return whether it has been delivered, at the last into the overflow
 *         mailbox, and has a durable tombstone
 */
bool rst_fallback_one(struct rst_lmtp *lmtp, struct rst_locked *locked,
		      struct rst_message *message, const char *refused,
		      const char **reply_r);

#endif
