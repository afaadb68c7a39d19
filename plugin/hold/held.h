/* SPDX-License-Identifier: MIT */
/**
 * The one answer to "is this message still held?".
 *
 * A message that stands in the mailbox need not be held any more: a crash, a
 * lost expunge or a backup may have kept it there or brought it back after it
 * had left, and a message that was saved twice is held once. K tells that two
 * messages are the same (rst_held_key_counts()). A message in the mailbox
 *
 *   has left      where its id has a tombstone. For a reader without the lock
 *                 also where the log of attempts says that it was delivered:
 *                 the holder of the lock writes a tombstone for it before
 *                 anything is given out (rst_held_resolve());
 *   has left, too where its K has a tombstone: the same message was saved twice
 *                 under two ids, and the other one has left;
 *   is a double   where another whole message of its K is held, which was asked
 *                 about before;
 *   is held       otherwise.
 *
 * An incomplete message (message.h) makes no other message a double, and its
 * tombstone has no K: part of a message says nothing about the whole one.
 */
#ifndef RST_HOLD_HELD_H
#define RST_HOLD_HELD_H

#include "restante/envelope.h"

struct mail;
struct rst_held;
struct rst_hold;
struct rst_message;

enum rst_held_state {
	RST_HELD_STILL,    /**< held; it may be incomplete */
	RST_HELD_LEFT,     /**< a message of this id has left */
	RST_HELD_KEY_LEFT, /**< a message of this K has left */
	RST_HELD_DOUBLE,   /**< another message of this K is held */
};

/**
 * Read the tombstones and the log of attempts.
 *
 * @param hold   stays open as long as held_r is
 * @param locked the caller has RST_LOCK_DRAIN, and may bury and resolve; the
 *        end of the tombstones that a crash has torn is cut off. A reader
 *        without the lock changes nothing. A message of which that reader finds
 *        no tombstone was in the mailbox until this call at least.
 * @return 0, or -1: error_r
 */
int rst_held_open(const struct rst_hold *hold, bool locked,
		  struct rst_held **held_r, const char **error_r);
/** Tombstones that were not committed are dropped. */
void rst_held_close(struct rst_held **held);

/**
 * Is this message, which stands in the mailbox, still held? For doubles to be
 * found, the caller asks about all messages in the order of their uids. It may
 * ask about a message again.
 */
enum rst_held_state rst_held_state(struct rst_held *held,
				   const struct rst_message *message);
/** Has a message of this id left? */
bool rst_held_has_left(const struct rst_held *held, const char *id);
/** Has a message of this K left? FALSE where K does not count. */
bool rst_held_key_has_left(const struct rst_held *held,
			   const unsigned char key[RST_KEY_SIZE]);

/** Does this K tell that two messages are the same? A K of zeros does not, and
    none does with the setting restante_test_no_dedup. */
bool rst_held_key_counts(const struct rst_hold *hold,
			 const unsigned char key[RST_KEY_SIZE]);
/**
 * Is this the whole message of this K?
 *
 * @param mail    where message stands; its octets are read
 * @param message as rst_message_envelope() gave it
 */
bool rst_held_is_whole_of(const struct rst_hold *hold, struct mail *mail,
			  const struct rst_message *message,
			  const unsigned char key[RST_KEY_SIZE]);

/* The rest is for the holder of RST_LOCK_DRAIN. */

/** Write into the log of attempts that this message is about to be given to
    LMTP. @return 0, or -1: error_r */
int rst_held_open_attempt(const struct rst_held *held,
			  const struct rst_message *message,
			  const char **error_r);
/**
 * Find out how the attempts ended: a message that was delivered is buried,
 * durably, and one whose attempt has not begun is held as before. Where a
 * fallback delivery is under way, its outcome is seen by the next call.
 * @return 0, or -1: error_r
 */
int rst_held_resolve(struct rst_held *held, const char **error_r);
/** Is there an attempt for this message that has not failed, as the last
    _resolve() has seen it? */
bool rst_held_is_attempted(const struct rst_held *held, const char *id);
/** Is there any attempt of which the last _resolve() did not see the outcome?
 */
bool rst_held_is_unresolved(const struct rst_held *held);

/** Add a tombstone. It counts at once, and is written by the next commit. */
void rst_held_bury(struct rst_held *held, const char *id,
		   const unsigned char key[RST_KEY_SIZE]);
/** Make the tombstones durable. @return 0, or -1: error_r, and none of those
    that were added since the last commit counts any more */
int rst_held_commit(struct rst_held *held, const char **error_r);
/** Drop old tombstones. The mailbox may have no message any more that has a
    tombstone. @return 0, or -1: error_r */
int rst_held_trim(struct rst_held *held, const char **error_r);

#endif
