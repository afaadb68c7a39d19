/* SPDX-License-Identifier: MIT */
/**
 * One held message, as it leaves the hold: what was added on the way in is cut
 * off again, and its line ends are CRLF.
 */
#ifndef RST_HOLD_MESSAGE_H
#define RST_HOLD_MESSAGE_H

#include "restante/envelope.h"

struct istream;
struct mail;

/** All zero is none. */
struct rst_message {
	uint32_t uid;
	char *id;
	unsigned char key[RST_KEY_SIZE]; /**< all zero: not known */
	char *mail_from;                 /**< "": null sender */
	char *rcpt_to;
	time_t arrived; /**< as the envelope says */
	/** as the mailbox says; as hold-clock.h says, where a store gives it
	    out: counts for the fallback */
	time_t received;
	/** a fallback delivery of it has begun and not ended: it must not go
	    any other way */
	bool attempted;
	uoff_t size; /**< octets that input gives */
	struct istream *input;

	/** a crash came while it was saved, and nobody was told 250 for it: it
	    goes nowhere by itself */
	bool incomplete;
	uoff_t octets;   /**< below the envelope, with CRLF */
	uoff_t expected; /**< of these; UOFF_T_MAX: not known */
	uoff_t head;     /**< octets of the envelope, with CRLF */
};

/**
 * Read where mail begins; the message itself is in message_r->input, which
 * lives until rst_message_clear(), and that must come before mail is used
 * again.
 *
 * Somebody may have put a message without our envelope into the hold: it gets
 * one made of what the mailbox knows, and nothing is cut. It is not taken for
 * incomplete, unless it begins like an envelope.
 *
 * @param username the recipient of such a message
 * @return 1; 0: it has just been expunged; -1: it cannot be read: error_r
 */
int rst_message_read(struct mail *mail, const char *username,
		     struct rst_message *message_r, const char **error_r);
/** The same without the message: its octets are not read, size and input not
    set, and whether it is incomplete is known only where the envelope is. */
int rst_message_envelope(struct mail *mail, const char *username,
			 struct rst_message *message_r, const char **error_r);
void rst_message_clear(struct rst_message *message);

/** Of what rst_message_envelope() gave: read the octets too, unless the mailbox
    knows how many there are. @return 1; 0: incomplete; -1: it cannot be read */
int rst_message_is_whole(struct mail *mail, const char *username,
			 const struct rst_message *message);
/** The key that its tombstone may have: what is incomplete says nothing of
    others with the same key. */
const unsigned char *rst_message_key(const struct rst_message *message);

#endif
