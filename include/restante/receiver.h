/* SPDX-License-Identifier: MIT */
/**
 * Receiver: the client's side of the connection after the turnaround, where the
 * client speaks as an SMTP server.
 *
 * The machine greets with 220 and takes messages with BDAT or DATA. A message
 * is answered when the caller has stored it: BEGIN, OCTETS..., END, and then
 * rst_receiver_done(). Further messages may be read before an earlier one is
 * answered (group commit); replies go out in the order of the commands,
 * whatever the order of the answers.
 *
 * Source: doc/protocol-xrestante.md, sections 3 to 6; RFC 5321, RFC 2920,
 * RFC 3030, RFC 6531, RFC 1870.
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
	    mail_from, rcpt_to, size; `ticket` names it from here on. The caller
	    may answer at once (an id seen before, disk full): the octets are
	    then read and thrown away, and END still comes. */
	RST_RECEIVER_BEGIN,
	RST_RECEIVER_OCTETS, /**< more of `ticket`, in `octets` */
	/** the message is whole: store it durably, then _done() */
	RST_RECEIVER_END,
	/** the message will not be whole (RSET, too large, the end): forget it;
	    no _done() */
	RST_RECEIVER_CANCEL,
	RST_RECEIVER_SUMMARY, /**< messages, total_octets */
	RST_RECEIVER_FORGET,  /**< id may leave the seen-log */
	/** QUIT, XRESTANTE CLOSE (then `text`) or time-out: close once the
	    output is sent. drained: the server ended in order (QUIT) */
	RST_RECEIVER_CLOSED,
};

struct rst_receiver_event {
	enum rst_receiver_event_type type;
	uint32_t ticket;
	/* views until the next call of _next, _recv or _free */
	struct rst_str id;
	struct rst_str mail_from;
	struct rst_str rcpt_to; /**< the first, where there are several */
	struct rst_str octets;  /**< as sent, with CRLF, dots unstuffed */
	struct rst_str text;
	uint64_t size; /**< BEGIN: the SIZE parameter; 0: not given */
	uint64_t messages;
	uint64_t total_octets;
	bool drained;
};

struct rst_receiver;

struct rst_receiver *rst_receiver_new(const struct rst_receiver_limits *limits,
				      int64_t now_ms);
void rst_receiver_free(struct rst_receiver **r);
/** Before any input: queue the reply to EHLO, so that the server need not wait
    for it. */
void rst_receiver_say_ahead(struct rst_receiver *r);
/**
 * @return octets taken, which may be fewer than len: pull events, answer, and
 *         offer the rest again; RST_EPROTO, RST_ELIMIT: close once the output
 *         is sent
 */
ssize_t rst_receiver_recv(struct rst_receiver *r, const char *buf, size_t len,
			  int64_t now_ms);
bool rst_receiver_next(struct rst_receiver *r, struct rst_receiver_event *ev_r);
/**
 * Answer a message: OK 250 2.0.0, TEMPFAIL 452 4.3.1 or REFUSED 552 5.3.4.
 * @param text one line, for the reply
 */
void rst_receiver_done(struct rst_receiver *r, uint32_t ticket,
		       enum rst_verdict verdict, const char *text);
const char *rst_receiver_output(const struct rst_receiver *r, size_t *len_r);
void rst_receiver_sent(struct rst_receiver *r, size_t n);
int64_t rst_receiver_deadline(const struct rst_receiver *r);
void rst_receiver_tick(struct rst_receiver *r, int64_t now_ms);

#endif
