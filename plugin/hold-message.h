/* SPDX-License-Identifier: MIT */
/**
 * One held message, as it leaves the hold: what was added on the way in is cut
 * off again, and its line ends are CRLF.
 */
#ifndef HOLD_MESSAGE_H
#define HOLD_MESSAGE_H

#include "restante/envelope.h"

struct istream;
struct mail;

/** All zero is none. */
struct rst_held {
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
	bool handed_over;
	uoff_t size; /**< octets that input gives */
	struct istream *input;
};

/**
 * Read where mail begins; the message itself is in held_r->input, which lives
 * until rst_held_clear(), and that must come before mail is used again.
 *
 * Somebody may have put a message without our envelope into the hold: it gets
 * one made of what the mailbox knows, and nothing is cut.
 *
 * @param username the recipient of such a message
 * @return 1; 0: it has just been expunged; -1: it cannot be read: error_r
 */
int rst_held_read(struct mail *mail, const char *username,
		  struct rst_held *held_r, const char **error_r);
/** The same without the message: size and input are not set, and its octets
    not read. */
int rst_held_envelope(struct mail *mail, const char *username,
		      struct rst_held *held_r, const char **error_r);
void rst_held_clear(struct rst_held *held);

#endif
