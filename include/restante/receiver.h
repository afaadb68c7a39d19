/* SPDX-License-Identifier: MIT */
/**
 * Receiver: the client's side after the turnaround, an SMTP server.
 *
 * Greets with 220, offers PIPELINING, CHUNKING, BINARYMIME, 8BITMIME,
 * SMTPUTF8, SIZE, ENHANCEDSTATUSCODES and XRESTANTE, and takes messages with
 * BDAT or DATA. A message is answered only when the caller has stored it:
 * BEGIN, OCTETS..., END, and then rst_receiver_done(). Further messages may
 * be read before an earlier one is answered (group commit); replies go out in
 * order whatever the order of the answers.
 *
 * Source: RFC 5321, RFC 2920, RFC 3030, RFC 6531, RFC 1870; restante/push.h
 * for XRESTANTE.
 */
#ifndef RESTANTE_RECEIVER_H
#define RESTANTE_RECEIVER_H

#include <sys/types.h>

#include "restante/smtp.h"

struct rst_receiver_limits {
	const char *hostname;      /**< borrowed, outlives us */
	uint64_t max_message_size; /**< 0: none announced, none enforced */
	unsigned int max_pending;  /**< messages ended but not answered */
	int64_t idle_timeout_ms;   /**< silence of the server: CLOSED */
};

enum rst_receiver_event_type {
	/** a message starts: id ("" from servers without XRESTANTE),
	    mail_from, rcpt_to; `ticket` names it from here on. The caller may
	    answer at once (an id seen before, disk full): the octets are then
	    read and thrown away, and END still comes. */
	RST_RECEIVER_BEGIN,
	RST_RECEIVER_OCTETS, /**< of `ticket`, in `octets` */
	/** the message is whole: store it durably, then _done() */
	RST_RECEIVER_END,
	/** the message will not be whole (RSET, connection reset): forget it,
	    no _done */
	RST_RECEIVER_CANCEL,
	RST_RECEIVER_SUMMARY, /**< messages, total_octets */
	RST_RECEIVER_FORGET,  /**< id: may leave the seen-log */
	/** QUIT, XRESTANTE CLOSE (then `text`), time-out: close after output;
	    drained: the server ended in order (QUIT) */
	RST_RECEIVER_CLOSED,
};

struct rst_receiver_event {
	enum rst_receiver_event_type type;
	uint32_t ticket;
	/* views until the next call of _next, _recv or _free */
	struct rst_str id;
	struct rst_str mail_from;
	struct rst_str rcpt_to; /**< the first, where there are several */
	struct rst_str octets;  /**< CRLF and all, as sent, dots unstuffed */
	struct rst_str text;
	uint64_t size; /**< BEGIN: the SIZE parameter, 0 when not given */
	uint64_t messages;
	uint64_t total_octets;
	bool drained;
};

struct rst_receiver;

struct rst_receiver *rst_receiver_new(const struct rst_receiver_limits *limits,
				      int64_t now_ms);
void rst_receiver_free(struct rst_receiver **r);
/** Before any input: say at once what EHLO will be replied. The server need
    not wait then for anything we say. */
void rst_receiver_say_ahead(struct rst_receiver *r);
/**
 * @return octets taken, which may be less than len: pull events, answer, and
 *         offer the rest again; RST_EPROTO, RST_ELIMIT: close after output
 */
ssize_t rst_receiver_recv(struct rst_receiver *r, const char *buf, size_t len,
			  int64_t now_ms);
bool rst_receiver_next(struct rst_receiver *r, struct rst_receiver_event *ev_r);
/**
 * Decide about a message: OK 250 2.0.0, TEMPFAIL 452 4.3.1 or REFUSED
 * 552 5.3.4, with text (one line) in the reply.
 */
void rst_receiver_done(struct rst_receiver *r, uint32_t ticket,
		       enum rst_verdict verdict, const char *text);
const char *rst_receiver_output(const struct rst_receiver *r, size_t *len_r);
void rst_receiver_sent(struct rst_receiver *r, size_t n);
int64_t rst_receiver_deadline(const struct rst_receiver *r);
void rst_receiver_tick(struct rst_receiver *r, int64_t now_ms);

#endif
