/* SPDX-License-Identifier: MIT */
/**
 * One message of the hold, as it leaves it: what was added on the way in is cut
 * off again, and its line ends are CRLF.
 */
#ifndef RST_HOLD_MESSAGE_H
#define RST_HOLD_MESSAGE_H

#include "restante/envelope.h"

struct istream;
struct mail;

/** All zero: no message. */
struct rst_message {
	uint32_t uid;
	char *id;
	unsigned char key[RST_KEY_SIZE]; /**< all zero: not known */
	char *mail_from;                 /**< "": null sender */
	char *rcpt_to;
	time_t arrived; /**< as the envelope says */
	/** the mailbox's date; where a locked hold or a look gives the message
	    out, the date that counts for the fallback (dates.h) */
	time_t received;
	/** an attempt at fallback delivery has begun and not ended: the message
	    must not go any other way */
	bool attempted;
	uoff_t size; /**< octets that input gives */
	struct istream *input;

	/** it goes nowhere by itself: a crash came while it was saved, and the
	    sender was not told 250; or it is damaged, or has no valid
	    envelope */
	bool incomplete;
	/** incomplete, as its digest says that its octets have changed */
	bool damaged;
	uoff_t octets;   /**< below the envelope, with CRLF */
	uoff_t expected; /**< of these; UOFF_T_MAX: not known */
	uoff_t head;     /**< octets of the envelope, with CRLF */
};

/**
 * Read the message where mail stands. Its octets come from message_r->input,
 * which lives until rst_message_clear(); call that before mail is used again.
 *
 * A message that was put into the hold by other means has no envelope of ours.
 * It gets one made of what the mailbox knows, nothing is cut off, and it counts
 * as incomplete: a damaged envelope may look like that.
 *
 * @param username the recipient of such a message
 * @return 1; 0: it has just been expunged; -1: it cannot be read: error_r
 */
int rst_message_read(struct mail *mail, const char *username,
		     struct rst_message *message_r, const char **error_r);
/** Read only the envelope. size and input are not set, and incomplete is set
    only where there is no valid envelope, or the message is marked. */
int rst_message_envelope(struct mail *mail, const char *username,
			 struct rst_message *message_r, const char **error_r);
/** Mark a message that was read whole and is incomplete, in its mailbox, for
    readers of envelopes; or take the mark off. The transaction of mail is to be
    committed. */
void rst_message_mark(struct mail *mail, const struct rst_message *message);
void rst_message_clear(struct rst_message *message);

/** Is a message whole of which rst_message_envelope() has read the envelope?
    Its octets are read, too, unless the mailbox knows their number. @return 1;
    0: incomplete; -1: it cannot be read */
int rst_message_is_whole(struct mail *mail, const char *username,
			 const struct rst_message *message);
/** @return the K for its tombstone: zeros where it is incomplete, as part of a
    message says nothing about others of its K */
const unsigned char *rst_message_key(const struct rst_message *message);

#endif
