/* SPDX-License-Identifier: MIT */
/** Save a delivered message into the hold, with its envelope on top. */
#ifndef RST_HOLD_SAVE_H
#define RST_HOLD_SAVE_H

#include "digest.h"

struct istream;
struct rst_hold;

/** The lines that LMTP has put on top of a message. */
struct rst_trace {
	unsigned int lines;
	unsigned int own_lines; /**< leading Return-Path and Delivered-To */
	size_t octets;          /**< of all of them, as they are in the input */
	/** the input is another user's stored copy, with LF line ends */
	bool lf;
};

/** A message that LMTP or dovecot-lda delivers. */
struct rst_delivery {
	struct istream *input; /**< the whole message; read from its start */
	/** header lines that LMTP put on top, ending in CRLF; NULL: none */
	const char *trace;
	const char *mail_from; /**< "": null sender */
	const char *rcpt_to;
	const char *mail_params;
	const char *rcpt_params;
	struct timeval arrived;
	unsigned int queue_lifetime_secs; /**< as struct rst_settings */

	/* set by rst_delivery_prepare() */
	struct rst_trace found;
	/** of the whole message, as struct rst_envelope counts them */
	uoff_t octets;
	/** K; zeros where no queue id tells two equal messages apart, or the
	    message is so old that Postfix does not deliver it again */
	unsigned char key[RST_KEY_SIZE];
	/** of the whole message, as it will be stored */
	struct rst_digest digest;
};

struct rst_saved {
	const char *id; /**< on the data stack */
	uint32_t uid;
	uoff_t size; /**< of the message, without the envelope */
};

/** Read the message to its end, and set these members. @return 0, or -1:
    error_r */
int rst_delivery_prepare(struct rst_delivery *delivery, const char **error_r);

/**
 * Save a message that has been prepared. When 0 is returned it is as durable as
 * mail_fsync asks; it is not there at all otherwise.
 *
 * @param hold open; no transaction may be open on its mailbox
 * @return 0, or -1: error_r
 */
int rst_hold_save(struct rst_hold *hold, const struct rst_delivery *delivery,
		  struct rst_saved *saved_r, const char **error_r);

/** Find delivery->trace, whatever its line ends, at the start of the input; a
    trace that does not stand there counts as none. @return 0, or -1: error_r */
int rst_trace_find(const struct rst_delivery *delivery,
		   struct rst_trace *trace_r, const char **error_r);

#endif
