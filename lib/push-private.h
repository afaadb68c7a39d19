/* SPDX-License-Identifier: MIT */
/**
 * Shared by the files of the push machine. Each calls only those below it:
 *
 *   push.c          messages, input, time
 *   push-reply.c    the meaning of the client's replies
 *   push-notice.c   SUMMARY, FORGET, QUIT, CLOSE, and leaving
 *   push-output.c   queued output and awaited replies
 */
#ifndef RST_PUSH_PRIVATE_H
#define RST_PUSH_PRIVATE_H

#include "restante/push.h"

#include "buf.h"
#include "restante/envelope.h"

/** Notices without a reply yet. A client that answers none gets no more. */
#define PUSH_NOTICES_OUT_MAX 8
/** Octets kept of one line of the client's, for the log and a header. */
#define PUSH_TEXT_MAX 512

/**
 * GREETING --220--> EHLO --250--> READY --quit--> QUIT --any--> CLOSED
 *                    \--5xx--> HELO --250--> READY
 * 421, a time-out, a broken protocol and _abort() lead to CLOSED from every
 * state. READY with `leaving` leads to CLOSED once every message of which
 * octets have left is answered.
 */
enum push_state {
	PUSH_GREETING,
	PUSH_EHLO,
	PUSH_HELO,
	PUSH_READY,
	PUSH_QUIT,
	PUSH_CLOSED,
};

/** The commands that replies are awaited for. */
enum push_command {
	PUSH_CMD_GREETING,
	PUSH_CMD_EHLO,
	PUSH_CMD_HELO,
	PUSH_CMD_MAIL,
	PUSH_CMD_RCPT,
	PUSH_CMD_BDAT,
	PUSH_CMD_DATA,
	PUSH_CMD_DOT,
	PUSH_CMD_RSET,
	PUSH_CMD_NOTICE, /* XRESTANTE SUMMARY, FORGET */
	PUSH_CMD_NOOP,
	PUSH_CMD_QUIT,
	PUSH_CMD_CLOSE,
};

struct push_expected {
	enum push_command command;
	/* The reply may come once this many octets have left; a reply that
	   comes earlier answers something else. */
	uint64_t after;
};

struct push_message {
	struct push_message *next;
	enum rst_verdict verdict;
	unsigned int code; /* 0: no reply that counts yet */
	bool decided;
	uint64_t from; /* octets that were queued before its first */
	char id[RST_ID_MAX + 1];
	char *rcpt_to; /* plain: RCPT waits for the reply to MAIL */
	char text[PUSH_TEXT_MAX];
};

/** How octets that are fed are sent. */
enum push_feed {
	PUSH_FEED_NONE,    /* no message is being fed */
	PUSH_FEED_WAIT,    /* plain: MAIL, RCPT or DATA is not answered yet */
	PUSH_FEED_BDAT,    /* sent as they are */
	PUSH_FEED_DATA,    /* sent with dots stuffed */
	PUSH_FEED_DISCARD, /* plain: refused, the rest is thrown away */
};

struct rst_push {
	struct rst_push_limits limits;
	enum push_state state;
	int closed_status; /* what _recv returns from now on, if < 0 */

	/* offers in the reply to EHLO */
	bool extended, has_8bitmime, has_smtputf8, has_size;
	uint64_t max_size; /* 0: no limit */

	struct push_message *first, **last;
	struct push_message *reported; /* its views are with the caller */
	unsigned int count;            /* in the list, decided or not */
	unsigned int undecided;

	enum push_feed feed;
	uint64_t feed_left;
	/* DATA: the state of the octets fed so far, for dots and the end */
	bool at_line_start, ends_crlf;
	char last_octet;

	struct push_expected *expected; /* ring; NULL: nothing is awaited */
	unsigned int expected_size, expected_start, expected_count;
	unsigned int notices_out; /* of expected */

	bool summary_waits;
	uint64_t summary_messages, summary_octets;
	struct rst_buf forget; /* " id" each */

	struct rst_buf output;
	uint64_t sent; /* octets that have left, in all */

	bool ready_event, closed_event, quitting;
	bool leaving, close_said; /* the reason is in closed_text */
	char closed_text[PUSH_TEXT_MAX];

	int64_t now_ms;
	/* Since when the client's silence counts, or nothing happens. `moved`:
	   something happened in _sent, _forget or _summary, which are not told
	   the time, so _tick() starts the count anew. */
	int64_t since_ms;
	bool moved;
};

/* ---- push-output.c */

/** Await a reply to a command: call after the command was queued.
    @param octets of a chunk that will follow the command */
void rst_push_expect(struct rst_push *p, enum push_command command,
		     uint64_t octets);
/** Queue a command line, with its CRLF, and await its reply. */
void rst_push_command(struct rst_push *p, const char *line,
		      enum push_command command);
/** Remove and return the oldest awaited reply, of which there must be one. */
struct push_expected rst_push_expected_take(struct rst_push *p);
/** Unqueue all output after `end`, counted from the first octet of the
    session, with the replies awaited for it. Nothing after `end` has left. */
void rst_push_take_back(struct rst_push *p, uint64_t end);
/** Copy one line as printable ASCII, cut where it is too long. */
void rst_push_copy_text(char out[PUSH_TEXT_MAX], const char *text);

void rst_push_message_free(struct push_message *msg);
/** The client decided about `msg`. */
void rst_push_decide(struct rst_push *p, struct push_message *msg);
/** The oldest undecided message, of which there must be one. */
struct push_message *rst_push_oldest(const struct rst_push *p);

/** Decide what becomes of the octets of the message being fed. A message of
    no octets ends here. */
void rst_push_feed_begin(struct rst_push *p, enum push_feed feed);
/** Take n <= rst_push_room() octets; the last one ends the message. */
void rst_push_feed(struct rst_push *p, const char *buf, size_t n);

/** End, for the reason in closed_text. Queued output still goes out. */
void rst_push_end(struct rst_push *p);
/** End at once: queued output does not go out any more. */
void rst_push_close(struct rst_push *p, int status, const char *text);

/* ---- push-notice.c */

bool rst_push_id_valid(struct rst_str id);
/** May SUMMARY or FORGET be sent now? */
bool rst_push_may_notice(const struct rst_push *p);
/** Does a SUMMARY or FORGET wait to be sent? */
bool rst_push_notice_waits(const struct rst_push *p);
/** Send the commands that may stand here: notices; QUIT, once all is done;
    when leaving, what _leave_on() sends. */
void rst_push_flush(struct rst_push *p);
/** Leaving: send CLOSE or QUIT where it may stand, and end once every message
    of which octets have left is answered. */
void rst_push_leave_on(struct rst_push *p);

/* ---- push-reply.c */

/** Take one reply of the client's. @return 0 or RST_EPROTO */
int rst_push_reply(struct rst_push *p, const struct rst_smtp_reply *reply);

#endif
