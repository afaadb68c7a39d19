/* SPDX-License-Identifier: MIT */
/**
 * Deliver to the normal mailbox: one connection to the LMTP service that does
 * not hold, kept for several messages.
 */
#ifndef RST_FALLBACK_LMTP_H
#define RST_FALLBACK_LMTP_H

struct event;
struct istream;
struct rst_lmtp;

struct rst_lmtp_mail {
	const char *mail_from; /**< "": null sender */
	const char *rcpt_to;
	struct istream *input; /**< with CRLF; read from where it stands */
	const char *trace;     /**< a header field to put on top */
	/** what the client said when it refused the message, for a header
	    field on top; NULL: it was not asked */
	const char *refused;
};

struct rst_lmtp *rst_lmtp_new(struct event *event, const char *socket_path);
void rst_lmtp_free(struct rst_lmtp **lmtp);
/**
 * Deliver one message and wait for the answer, in an ioloop of its own. Whether
 * a message for which there was no answer has been delivered is not known.
 *
 * @param reply_r what LMTP or the lack of it says, one line on the data stack
 * @return whether it is durably in the mailbox
 */
bool rst_lmtp_deliver(struct rst_lmtp *lmtp, const struct rst_lmtp_mail *mail,
		      const char **reply_r);
/** Did the last attempt get through to LMTP at all? */
bool rst_lmtp_is_up(const struct rst_lmtp *lmtp);

#endif
