/* SPDX-License-Identifier: MIT */
/**
 * Delivery to the normal mailbox: one connection, for several messages, to the
 * LMTP service that does not hold mail.
 */
#ifndef RST_FALLBACK_LMTP_H
#define RST_FALLBACK_LMTP_H

struct event;
struct istream;
struct rst_lmtp;

struct rst_lmtp_mail {
	const char *mail_from; /**< "": null sender */
	const char *rcpt_to;
	struct istream *input; /**< with CRLF; read from its present offset */
	const char *trace;     /**< a header field that is put on top */
	/** what the client said when it refused the message, for a header field
	    on top; NULL: the client was not asked */
	const char *refused;
};

struct rst_lmtp *rst_lmtp_new(struct event *event, const char *socket_path);
void rst_lmtp_free(struct rst_lmtp **lmtp);
/**
 * Deliver one message and wait for the answer, in an ioloop of its own. Where
 * there is no answer, it is not known whether the message has been delivered.
 *
 * @param reply_r what LMTP said, or why it said nothing: one line on the data
 *         stack
 * @return whether the message is durably in the mailbox
 */
bool rst_lmtp_deliver(struct rst_lmtp *lmtp, const struct rst_lmtp_mail *mail,
		      const char **reply_r);
/** Is the connection to LMTP open, after the last delivery? */
bool rst_lmtp_is_up(const struct rst_lmtp *lmtp);

#endif
