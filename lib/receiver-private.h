/* SPDX-License-Identifier: MIT */
/**
 * Shared by the files of the receiver. Each calls only those below it:
 *
 *   receiver.c              octets in, events out, time
 *   receiver-command.c      the commands
 *   receiver-transaction.c  one mail transaction, its events and its replies
 */
#ifndef RST_RECEIVER_PRIVATE_H
#define RST_RECEIVER_PRIVATE_H

#include "restante/receiver.h"

#include "buf.h"
#include "restante/envelope.h"

/** Ids in one line of FORGET. */
#define RECEIVER_FORGET_MAX 16
/** Events that one step makes at most: a line of FORGET, and a CANCEL. */
#define RECEIVER_STEP_EVENTS (RECEIVER_FORGET_MAX + 4)
#define RECEIVER_EVENTS 64

/** The kind of the next octets of input; see receiver.c. */
enum receiver_mode {
	RECEIVER_COMMAND,
	RECEIVER_CHUNK,
	RECEIVER_TEXT,
};

/** Where in a line the text of DATA stands. */
enum receiver_text {
	TEXT_LINE_START,
	TEXT_DOT,    /* one dot at the start of a line */
	TEXT_DOT_CR, /* and a CR after it */
	TEXT_INSIDE,
	TEXT_CR,
};

/** A message between BEGIN and the reply to it. */
struct receiver_message {
	struct receiver_message *next;
	uint32_t ticket;
	bool answered;
	enum rst_verdict verdict;
	char *text;
	struct rst_buf after; /* replies that must not overtake this one */
};

struct receiver_span {
	size_t at, n;
};

/** An event. Its octets are spans of `scratch`, which may still move. */
struct receiver_slot {
	struct rst_receiver_event ev;
	struct receiver_span a, b, c;
	bool skip;
};

struct rst_receiver {
	struct rst_receiver_limits limits;
	enum receiver_mode mode;
	bool greeted;
	bool ahead; /* the reply to EHLO was said before EHLO came */

	/* the transaction */
	bool mail, rcpt, chunked, binary;
	bool failed; /* a chunk was refused: only LAST or RSET helps */
	char *id, *mail_from, *rcpt_to;
	uint64_t size_said;
	uint64_t total;
	struct receiver_message *open; /* BEGIN was said, END was not */

	uint64_t chunk_left;
	bool chunk_last;
	const char *chunk_refused; /* reply, once the octets are swallowed */
	enum receiver_text text;
	bool text_too_large;

	/* messages that have ended, in the order of their replies; the first
	   is not answered */
	struct receiver_message *first, *tail;
	unsigned int pending;
	size_t replies_waiting; /* octets in `after` */
	uint32_t last_ticket;
	struct rst_buf output;

	struct receiver_slot events[RECEIVER_EVENTS]; /* ring */
	unsigned int events_start, events_count;
	struct rst_buf scratch;

	bool closing; /* no input is read, and CLOSED is the last event */
	bool hurry;   /* CLOSED does not wait for unanswered messages */
	bool closed_said, drained;
	int status; /* what _recv returns from now on, if < 0 */
	char *closed_text;

	int64_t since_ms;
	bool moved; /* _done() was called: it is not told the time, so _tick()
		       starts the count of silence anew */
};

/* ---- receiver-transaction.c */

/** Queue one reply line, behind the messages that are not answered yet. */
void rst_receiver_reply(struct rst_receiver *r, const char *line);

/** Queue an event. @return its slot, valid until the next call of this */
struct receiver_slot *rst_receiver_event(struct rst_receiver *r,
					 enum rst_receiver_event_type type);
/** Keep octets until the events of this step were pulled. */
struct receiver_span rst_receiver_keep(struct rst_receiver *r,
				       struct rst_str octets);

/** BEGIN, OCTETS, END and CANCEL of the message that is being read. */
void rst_receiver_begin(struct rst_receiver *r);
void rst_receiver_octets(struct rst_receiver *r, const char *buf, size_t n);
void rst_receiver_end(struct rst_receiver *r);
void rst_receiver_cancel(struct rst_receiver *r);
/** Forget the transaction; a message that has not ended is cancelled. */
void rst_receiver_reset(struct rst_receiver *r);
/** The chunk is complete: reply to it. */
void rst_receiver_chunk_end(struct rst_receiver *r);
/** Stop reading input. */
void rst_receiver_closing(struct rst_receiver *r, struct rst_str text);
/** Free the transaction and the messages. */
void rst_receiver_transaction_free(struct rst_receiver *r);

/* ---- receiver-command.c */

void rst_receiver_ehlo_reply(struct rst_receiver *r);
/** Carry out one line. @return 0; RST_EPROTO: where the next command begins
    is not known */
int rst_receiver_command(struct rst_receiver *r, struct rst_str line);

#endif
