/* SPDX-License-Identifier: MIT */
/**
 * Push: policyd's side of the connection after the turnaround, an SMTP client.
 *
 * It reads the client's 220, says EHLO, and then sends the messages that the
 * caller feeds it. Two ways:
 *   extended  the client lists XRESTANTE, PIPELINING, CHUNKING, BINARYMIME and
 *             8BITMIME: MAIL, RCPT and BDAT ... LAST of message after message
 *             are written without waiting for replies, under a window of
 *             messages. MAIL carries XRESTANTE=<id>. The connection stays.
 *   plain     anything else (fetchmail, Exim): one message at a time with
 *             DATA, each reply awaited, dots stuffed; the caller ends with
 *             _quit() when nothing more is held.
 *
 * Feeding: when rst_push_ready() says so, _message() starts one and _octets()
 * gives its CRLF-terminated octets until exactly msg->size were taken. Results
 * come as events, in the order in which the messages were started; nothing but
 * a RESULT with verdict OK may take a message out of the hold.
 *
 * Source: RFC 5321, RFC 2920, RFC 3030, RFC 6531, RFC 1870, RFC 2645 4.3.
 */
#ifndef RESTANTE_PUSH_H
#define RESTANTE_PUSH_H

#include <sys/types.h>

#include "restante/smtp.h"

struct rst_push_limits {
	const char *hostname; /**< for EHLO; borrowed, outlives us */
	size_t max_output;    /**< octets queued before we take no more */
	unsigned int max_unanswered; /**< messages on the way (extended) */
	int64_t reply_timeout_ms;
	int64_t keepalive_ms; /**< NOOP after this much silence; 0: never */
};

/** One held message, as it goes out. Views must live until _message returns. */
struct rst_push_message {
	struct rst_str id;        /**< graphic ASCII, 1 to 64 octets */
	struct rst_str mail_from; /**< empty: null sender */
	struct rst_str rcpt_to;
	uint64_t size; /**< octets that will be fed */
};

enum rst_push_event_type {
	/** EHLO was answered: `extended` tells which way it goes */
	RST_PUSH_READY,
	/** the client decided about message `id` */
	RST_PUSH_RESULT,
	/** the conversation has ended, in order or not (`text`): close. What
	    has no RESULT yet stays held. */
	RST_PUSH_CLOSED,
};

struct rst_push_event {
	enum rst_push_event_type type;
	bool extended;
	struct rst_str
		id; /**< until the next call of _next or _free, as text */
	/** RESULT: OK for 2xx, TEMPFAIL for 4xx, REFUSED for 5xx; a sender or
	    recipient that needs SMTPUTF8 where the client does not offer it,
	    or a message larger than the client's SIZE, is REFUSED by us, with
	    code 550 (5.6.7) or 552 (5.3.4) */
	enum rst_verdict verdict;
	unsigned int code;
	/** one line for log and header: "552 5.2.2 mailbox full" */
	struct rst_str text;
};

struct rst_push;

struct rst_push *rst_push_new(const struct rst_push_limits *limits,
			      int64_t now_ms);
void rst_push_free(struct rst_push **p);
/** @return octets taken; 0: more needed; RST_EPROTO, RST_ELIMIT: close */
ssize_t rst_push_recv(struct rst_push *p, const char *buf, size_t len,
		      int64_t now_ms);
bool rst_push_next(struct rst_push *p, struct rst_push_event *ev_r);

/** May _message be called? EHLO answered, last message fed, window open. */
bool rst_push_ready(const struct rst_push *p);
/** How many octets _octets would take now; 0 when no message is being fed. */
size_t rst_push_room(const struct rst_push *p);
/**
 * Start a message. Only when _ready.
 * @return 0, or RST_EPERM when it cannot be sent to this client: its RESULT
 *         is queued, no octets are to be fed
 */
int rst_push_message(struct rst_push *p, const struct rst_push_message *msg,
		     int64_t now_ms);
/**
 * Feed octets of the message. @return octets taken, at most rst_push_room()
 *
 * Where a plain client answered MAIL, RCPT or DATA with an error, the rest is
 * taken and thrown away, so that a caller never has to know.
 */
size_t rst_push_octets(struct rst_push *p, const char *buf, size_t len,
		       int64_t now_ms);
/** The message that is being fed cannot be read to its end: the connection
    ends (an unfinished BDAT cannot be taken back); CLOSED follows. */
void rst_push_abort(struct rst_push *p, const char *reason);
/** Extended only: what is held, for progress bars; else nothing is sent. */
void rst_push_summary(struct rst_push *p, uint64_t messages, uint64_t octets);
/** Extended only: this id will never come again. Batched into lines. */
void rst_push_forget(struct rst_push *p, struct rst_str id);
/** Messages started that have no RESULT yet. */
unsigned int rst_push_unanswered(const struct rst_push *p);
/** QUIT once all is answered; CLOSED follows. */
void rst_push_quit(struct rst_push *p, int64_t now_ms);
/**
 * Tell the client to go away: 421 is a server's word, and we are the client
 * now, so an extended client gets "XRESTANTE CLOSE <text>", others QUIT.
 *
 * No message is begun any more. One of which nothing has left is dropped
 * without a RESULT (what is still fed of it is thrown away); one that is half
 * out is finished: go on feeding it. Results of what has left are still
 * reported; CLOSED follows when nothing is unanswered.
 */
void rst_push_leave(struct rst_push *p, const char *text);

const char *rst_push_output(const struct rst_push *p, size_t *len_r);
void rst_push_sent(struct rst_push *p, size_t n);
int64_t rst_push_deadline(const struct rst_push *p);
void rst_push_tick(struct rst_push *p, int64_t now_ms);

/*
 * The XRESTANTE extension, in commands from policyd to the client; each is
 * answered 250, and may be pipelined:
 *   MAIL FROM:<..> ... XRESTANTE=<id>
 *   XRESTANTE SUMMARY <messages> <octets>
 *   XRESTANTE FORGET <id> [<id> ...]      at most 16 ids
 *   XRESTANTE CLOSE <text>                answered 221; do not dial at once
 */
#endif
