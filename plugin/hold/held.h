/* SPDX-License-Identifier: MIT */
/**
 * The one answer to "is this message still held?".
 *
 * A message that is in the mailbox need not be held any more: a crash, a lost
 * expunge or a backup may have kept or brought back what has left; and a
 * message that was saved twice is held once. K tells that two messages are the
 * same, where it counts (rst_held_key_counts()). So a message in the mailbox
 *
 *   has left      where its id has a tombstone; for a reader without the lock,
 *                 also where the log of attempts says that it was delivered,
 *                 as the holder of the lock makes a tombstone of that before
 *                 it gives out anything (rst_locked_resolve());
 *   has left, too where its K has a tombstone: the same message was saved twice
 *                 under two ids;
 *   is a double   where another whole message of its K is held: the first one
 *                 that was asked about;
 *   is held       otherwise.
 *
 * An incomplete message (message.h) makes no other a double, and its K gets no
 * tombstone: part of a message says nothing of the whole one.
 */
#ifndef RST_HOLD_HELD_H
#define RST_HOLD_HELD_H

#include "restante/envelope.h"

struct mail;
struct rst_attempts;
struct rst_held;
struct rst_hold;
struct rst_tombstones;

enum rst_held_state {
	RST_HELD_STILL,    /**< held; also where it is incomplete */
	RST_HELD_LEFT,     /**< a message of this id has left */
	RST_HELD_KEY_LEFT, /**< a message of this K has left */
	RST_HELD_DOUBLE,   /**< another message of this K is held */
};

/** What has left a hold, and the keys of the messages that were asked about
    and are held. */
struct rst_holdings {
	const struct rst_hold *hold;
	bool locked;
	struct rst_tombstones *tombstones;
	struct rst_attempts *attempts;
	struct rst_holdings_keys *keys;
};

/**
 * Read what has left.
 *
 * @param hold   open; outlives the holdings
 * @param locked the caller has RST_LOCK_DRAIN and may write tombstones;
 *        otherwise nothing is mended. A message that is not found in the
 *        tombstones by a reader without the lock was not removed from the
 *        mailbox before this call.
 * @return 0, or -1: error_r
 */
int rst_holdings_open(struct rst_holdings *holdings,
		      const struct rst_hold *hold, bool locked,
		      const char **error_r);
/** Tombstones that were not committed are dropped. */
void rst_holdings_close(struct rst_holdings *holdings);
/** Read the log of attempts again. @return 0, or -1: error_r */
int rst_holdings_read_attempts(struct rst_holdings *holdings,
			       const char **error_r);

/**
 * Is held, which stands in the mailbox, still held? Messages are asked about in
 * the order of their uids where doubles are to be found; one may be asked about
 * again.
 */
enum rst_held_state rst_holdings_state(struct rst_holdings *holdings,
				       const struct rst_held *held);
/** Has a message of this id left? */
bool rst_holdings_has_left(const struct rst_holdings *holdings, const char *id);
/** Has a message of this K left? FALSE where K does not count. */
bool rst_holdings_key_has_left(const struct rst_holdings *holdings,
			       const unsigned char key[RST_KEY_SIZE]);

/** Does this K tell that two messages are the same? Not one of zeros, and none
    where the tests ask for no deduplication. */
bool rst_held_key_counts(const struct rst_hold *hold,
			 const unsigned char key[RST_KEY_SIZE]);
/**
 * Is held, of which rst_held_envelope() has read the head, the whole message of
 * this K?
 *
 * @param mail where held stands; its octets are read
 */
bool rst_held_is_whole_of(const struct rst_hold *hold, struct mail *mail,
			  const struct rst_held *held,
			  const unsigned char key[RST_KEY_SIZE]);

#endif
