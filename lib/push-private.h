/* SPDX-License-Identifier: MIT */
/** What push.c (commands, feeding, time) and push-reply.c share. */
#ifndef RST_PUSH_PRIVATE_H
#define RST_PUSH_PRIVATE_H

#include "restante/push.h"
#include "buf.h"

#define PUSH_ID_MAX 64
/** A client that does not answer XRESTANTE commands gets no more of them. */
#define PUSH_NOTICES_OUT_MAX 8
/** Of one line from the client that is kept for log and header. */
#define PUSH_TEXT_MAX 512

/**
 * GREETING --220--> EHLO --250--> READY --quit--> QUIT --any--> CLOSED
 *                    \--5xx--> HELO --250--> READY
 * and from everywhere to CLOSED: 421, time-out, broken protocol, abort. READY
 * and `leaving`: to CLOSED when all that has left is answered.
 */
enum push_state {
	PUSH_GREETING,
	PUSH_EHLO,
	PUSH_HELO,
	PUSH_READY,
	PUSH_QUIT,
	PUSH_CLOSED,
};

/** What a reply is awaited for, in the order of the commands sent. */
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
	/* the reply may come when this many octets have left: a reply that
	   comes earlier answers something else */
	uint64_t after;
};

struct push_message {
	struct push_message *next;
	enum rst_verdict verdict;
	unsigned int code; /* 0: no reply that counts yet */
	bool decided;
	uint64_t from; /* octets that were queued before its first */
	char id[PUSH_ID_MAX + 1];
	char *rcpt_to; /* plain: RCPT waits for the reply to MAIL */
	char text[PUSH_TEXT_MAX];
};

/** What becomes of the octets that are fed. */
enum push_feed {
	PUSH_FEED_NONE,    /* no message is being fed */
	PUSH_FEED_WAIT,    /* plain: MAIL, RCPT or DATA is not answered yet */
	PUSH_FEED_BDAT,    /* as they are */
	PUSH_FEED_DATA,    /* with dots stuffed */
	PUSH_FEED_DISCARD, /* plain: there was an error */
};

struct rst_push {
	struct rst_push_limits limits;
	enum push_state state;
	int closed_status; /* what _recv returns from now on, if < 0 */

	/* what the reply to EHLO offered */
	bool extended, has_8bitmime, has_smtputf8, has_size;
	uint64_t max_size; /* 0: no limit */

	struct push_message *first, **last;
	struct push_message *reported; /* its views are with the caller */
	unsigned int count;            /* in the list, decided or not */
	unsigned int undecided;

	enum push_feed feed;
	uint64_t feed_left;
	/* DATA: what was fed last, as far as dots and the end need it */
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
	/* Since when we wait, or are idle. Where time passed that _sent,
	   _forget and _summary did not tell, `moved` makes _tick begin anew. */
	int64_t since_ms;
	bool moved;
};

/** Remember that a reply to this command will come: call after the command
    was queued. `octets` of a chunk will follow it. */
void rst_push_expect(struct rst_push *p, enum push_command command,
		     uint64_t octets);
/** One line of graphic ASCII, cut where it is too long. */
void rst_push_copy_text(char out[PUSH_TEXT_MAX], struct rst_str text);
void rst_push_message_free(struct push_message *msg);
/** The end, for the reason in closed_text. What is queued still goes out. */
void rst_push_end(struct rst_push *p);
/** The first of what is awaited, of which there is some. */
struct push_expected rst_push_expected_take(struct rst_push *p);
/** The end: nothing that is queued goes out any more. */
void rst_push_close(struct rst_push *p, int status, struct rst_str text);
/** The client decided about the oldest undecided message. */
void rst_push_decide(struct rst_push *p, struct push_message *msg);
struct push_message *rst_push_oldest(const struct rst_push *p);
/** Plain: 354 was given; or an error, then the rest is thrown away. */
void rst_push_feed_begin(struct rst_push *p, enum push_feed feed);
bool rst_push_id_valid(struct rst_str id);
/** May SUMMARY or FORGET be sent now, and does one wait? */
bool rst_push_may_notice(const struct rst_push *p);
bool rst_push_notice_waits(const struct rst_push *p);
/** Where commands may be sent now: notices, or QUIT when all is done. */
void rst_push_flush(struct rst_push *p);
/** Leaving: say CLOSE or QUIT where it may stand, and end when all that has
    left is answered. */
void rst_push_leave_on(struct rst_push *p);
/** What is asked is answered: take one reply. @return 0 or RST_EPROTO */
int rst_push_reply(struct rst_push *p, const struct rst_smtp_reply *reply);

#endif
