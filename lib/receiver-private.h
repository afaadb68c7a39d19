/* SPDX-License-Identifier: MIT */
/** What receiver.c (octets, events, replies, time) and receiver-command.c
    share. */
#ifndef RST_RECEIVER_PRIVATE_H
#define RST_RECEIVER_PRIVATE_H

#include "restante/receiver.h"
#include "buf.h"

#define RECEIVER_ID_MAX 64
#define RECEIVER_FORGET_MAX 16
/** One step makes at most this many: a line of FORGET, and a CANCEL. */
#define RECEIVER_STEP_EVENTS (RECEIVER_FORGET_MAX + 4)
#define RECEIVER_EVENTS 64

/**
 * COMMAND --BDAT--> CHUNK --size octets--> COMMAND
 *         --DATA--> TEXT --CRLF.CRLF--> COMMAND
 */
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

/** An event whose octets are in `scratch`, which may still move. */
struct receiver_slot {
	struct rst_receiver_event ev;
	struct receiver_span a, b, c;
	bool skip;
};

struct rst_receiver {
	struct rst_receiver_limits limits;
	enum receiver_mode mode;
	bool greeted;
	bool ahead; /* EHLO has its reply already */

	/* the transaction */
	bool mail, rcpt, chunked, binary;
	bool failed; /* a chunk was refused: nothing but LAST or RSET helps */
	char *id, *mail_from, *rcpt_to;
	uint64_t size_said;
	uint64_t total;
	struct receiver_message *open; /* BEGIN was said, END was not */

	uint64_t chunk_left;
	bool chunk_last;
	const char *chunk_refused; /* reply, once the octets are swallowed */
	enum receiver_text text;
	bool text_too_large;

	/* whole, in the order of the replies; the first is not answered */
	struct receiver_message *first, *tail;
	unsigned int pending;
	size_t replies_waiting; /* octets in `after` */
	uint32_t last_ticket;
	struct rst_buf output;

	struct receiver_slot events[RECEIVER_EVENTS]; /* ring */
	unsigned int events_start, events_count;
	struct rst_buf scratch;

	bool closing; /* CLOSED follows when all is answered, or at once: */
	bool hurry, closed_said, drained;
	int status; /* what _recv returns from now on, if < 0 */
	char *closed_text;

	int64_t since_ms;
	bool moved; /* an answer came, at a time that nobody told */
};

/** Queue one reply line, behind the messages that are not answered yet. */
void rst_receiver_reply(struct rst_receiver *r, const char *line);
void rst_receiver_ehlo_reply(struct rst_receiver *r);

struct receiver_slot *rst_receiver_event(struct rst_receiver *r,
					 enum rst_receiver_event_type type);
struct receiver_span rst_receiver_keep(struct rst_receiver *r,
				       struct rst_str octets);

/** BEGIN, END and CANCEL of the message that is being read. */
void rst_receiver_begin(struct rst_receiver *r);
void rst_receiver_end(struct rst_receiver *r);
void rst_receiver_cancel(struct rst_receiver *r);
/** Forget the transaction; a message that has not ended is cancelled. */
void rst_receiver_reset(struct rst_receiver *r);
/** The chunk is complete: reply to it. */
void rst_receiver_chunk_end(struct rst_receiver *r);
/** No input is read any more. */
void rst_receiver_closing(struct rst_receiver *r, struct rst_str text);

/** Carry out one line. @return 0, or RST_EPROTO where we have lost step */
int rst_receiver_command(struct rst_receiver *r, struct rst_str line);

#endif
