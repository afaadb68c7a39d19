/* SPDX-License-Identifier: MIT */
/**
 * Push: policyd's side of the connection after the turnaround, where policyd
 * speaks as an SMTP client.
 *
 * The machine reads the client's 220, says EHLO, and then sends the messages
 * that the caller feeds it, in one of two ways:
 *   extended  the client lists XRESTANTE and what it needs: MAIL, RCPT and BDAT
 *             of message after message are written without waiting for replies,
 *             under a window of messages. The connection stays.
 *   plain     any other client (fetchmail, Exim): one message at a time with
 *             DATA, each reply awaited. The caller ends with _quit() when
 *             nothing more is held.
 *
 * Feeding: while rst_push_ready() is true, _message() starts a message and
 * _octets() takes its octets, lines ending in CRLF, exactly msg->size of them.
 * Results come as events, in the order of the messages. Only a RESULT with
 * verdict OK may take a message out of the hold.
 *
 * Source: doc/protocol-xrestante.md, sections 3 to 6 and 8; RFC 5321, RFC 2920,
 * RFC 3030, RFC 6531, RFC 1870, RFC 2645 4.3.
 */
#ifndef RESTANTE_PUSH_H
#define RESTANTE_PUSH_H

#include <sys/types.h>

#include "restante/smtp.h"

struct rst_push_limits {
	const char *hostname; /**< for EHLO; borrowed, outlives us */
	size_t max_output;    /**< octets queued, then no more are taken */
	unsigned int max_unanswered; /**< extended: messages without RESULT */
	int64_t reply_timeout_ms;
	int64_t keepalive_ms; /**< NOOP after this much silence; 0: never */
};

/** A held message as it goes out. Its views must live until _message
    returns. */
struct rst_push_message {
	struct rst_str id;        /**< graphic ASCII, 1 to 64 octets */
	struct rst_str mail_from; /**< empty: null sender */
	struct rst_str rcpt_to;
	uint64_t size; /**< octets that will be fed */
};

enum rst_push_event_type {
	/** EHLO was answered: `extended` tells which way is taken */
	RST_PUSH_READY,
	/** the client decided about message `id` */
	RST_PUSH_RESULT,
	/** the conversation has ended, in order or not (`text`): close the
	    connection. Messages without a RESULT stay held. */
	RST_PUSH_CLOSED,
};

struct rst_push_event {
	enum rst_push_event_type type;
	bool extended;
	/* views until the next call of _next or _free: id and text */
	struct rst_str id;
	/** RESULT: OK for 2xx, TEMPFAIL for 4xx, REFUSED for 5xx. A message
	    that cannot be sent to this client is REFUSED by the machine: an
	    address that needs SMTPUTF8 where it is not offered (550 5.6.7), a
	    message larger than the client's SIZE (552 5.3.4) */
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

/** May _message be called? EHLO is answered, the last message was fed, and the
    window is open. */
bool rst_push_ready(const struct rst_push *p);
/** How many octets _octets would take now; 0 where no message is being fed. */
size_t rst_push_room(const struct rst_push *p);
/**
 * Start a message, while _ready() is true.
 * @return 0; RST_EPERM: the message cannot be sent to this client. Its RESULT
 * is queued, and no octets are to be fed
 */
int rst_push_message(struct rst_push *p, const struct rst_push_message *msg,
		     int64_t now_ms);
/**
 * Feed octets of the message. Where a plain client refused MAIL, RCPT or DATA,
 * they are taken and thrown away, so that the caller need not know.
 * @return octets taken, at most rst_push_room()
 */
size_t rst_push_octets(struct rst_push *p, const char *buf, size_t len,
		       int64_t now_ms);
/** Give up: the message being fed cannot be read to its end, and an unfinished
    BDAT cannot be taken back. CLOSED follows. */
void rst_push_abort(struct rst_push *p, const char *reason);
/** Extended: tell how much is held, for progress bars. Plain: do nothing. */
void rst_push_summary(struct rst_push *p, uint64_t messages, uint64_t octets);
/** Extended: tell that this id will never come again; ids are collected into
    lines. Plain: do nothing. */
void rst_push_forget(struct rst_push *p, struct rst_str id);
/** The number of started messages that the client has not decided about. */
unsigned int rst_push_unanswered(const struct rst_push *p);
/** Say QUIT once every command is answered; CLOSED follows. */
void rst_push_quit(struct rst_push *p, int64_t now_ms);
/**
 * Tell the client to go away. 421 is a server's word, and policyd is the SMTP
 * client now: an extended client gets "XRESTANTE CLOSE <text>", others QUIT.
 *
 * No message is begun any more. A message of which no octet has left is dropped
 * without a RESULT, and what is still fed of it is thrown away. One that is
 * half out is finished: go on feeding it. Results of messages that have left
 * are still reported; CLOSED follows the last of them.
 */
void rst_push_leave(struct rst_push *p, const char *text);

const char *rst_push_output(const struct rst_push *p, size_t *len_r);
void rst_push_sent(struct rst_push *p, size_t n);
int64_t rst_push_deadline(const struct rst_push *p);
void rst_push_tick(struct rst_push *p, int64_t now_ms);

#endif
