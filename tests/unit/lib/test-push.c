/* SPDX-License-Identifier: MIT */
/* The push machine against a scripted client; each script is also run with
   every octet of the client arriving alone. */
#include "buf.h"
#include "restante/push.h"
#include "test-util.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

enum op {
	END,
	IN,      /* the client sends text */
	IN_FAIL, /* and _recv then returns n */
	OUT,     /* the whole output is text, and leaves */
	PART,    /* the output begins with text, which leaves */
	EV,      /* the next event, as text; "" for none */
	MSG,     /* start "id sender recipient" of n octets */
	MSG_NO,  /* the same, refused by us */
	FEED,    /* n octets are taken of text */
	READY,   /* _ready() is n */
	ROOM,    /* _room() is n */
	LEFT,    /* _unanswered() is n */
	FORGET,
	SUMMARY, /* n messages, 10 n octets */
	QUIT,
	LEAVE,
	ABORT,
	DEADLINE, /* _deadline() is n */
	TICK,     /* _tick(n), and the clock stays there */
};

struct step {
	enum op op;
	const char *text;
	int64_t n;
};

#define STEPS_MAX 48

struct script {
	const char *name;
	struct step steps[STEPS_MAX];
};

#define HOST "mx.example.test"
#define EXT                                                                  \
	"250-laptop\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n" \
	"250-8BITMIME\r\n250-SMTPUTF8\r\n250-SIZE 1000\r\n250 XRESTANTE\r\n"
#define GREET                               \
	{IN, "220 laptop\r\n", 0},          \
	{                                   \
		OUT, "EHLO " HOST "\r\n", 0 \
	}
#define EXTENDED                        \
	GREET, {IN, EXT, 0},            \
	{                               \
		EV, "ready extended", 0 \
	}
#define PLAIN                             \
	GREET, {IN, "250 laptop\r\n", 0}, \
	{                                 \
		EV, "ready plain", 0      \
	}
#define ONE(id)                                                                \
	{MSG, id " s@x r@y", 3}, {FEED, "ab\n", 3},                            \
	{                                                                      \
		OUT,                                                           \
			"MAIL FROM:<s@x> SIZE=3 BODY=BINARYMIME XRESTANTE=" id \
			"\r\nRCPT TO:<r@y>\r\nBDAT 3 LAST\r\nab\n",            \
			0                                                      \
	}
#define PLAIN_TO_DATA                                                 \
	{OUT, "MAIL FROM:<s@x>\r\n", 0}, {IN, "250 ok\r\n", 0},       \
		{OUT, "RCPT TO:<r@y>\r\n", 0}, {IN, "250 ok\r\n", 0}, \
		{OUT, "DATA\r\n", 0}, {ROOM, NULL, 0},                \
	{                                                             \
		IN, "354 go\r\n", 0                                   \
	}

/* clang-format off */
static const struct script scripts[] = {
{"extended, two on the way", {
	EXTENDED, {READY, NULL, 1}, ONE("m1"), ONE("m2"), {LEFT, NULL, 2},
	{IN, "250 2.1.0 ok\r\n250 2.1.5 ok\r\n", 0}, {EV, "", 0},
	{IN, "250 2.0.0 stored\r\n", 0},
	{EV, "result m1 ok 250 [250 2.0.0 stored]", 0},
	{IN, "250 ok\r\n250 ok\r\n452 4.3.1 disk full\r\n", 0},
	{EV, "result m2 tempfail 452 [452 4.3.1 disk full]", 0},
	{LEFT, NULL, 0}, {READY, NULL, 1}}},
{"extended: the first failure decides", {
	EXTENDED, ONE("m1"), ONE("m2"), ONE("m3"),
	{IN, "550 5.1.7 no\r\n503 5.5.1 x\r\n250 2.0.0 yes\r\n", 0},
	{EV, "result m1 refused 550 [550 5.1.7 no]", 0},
	{IN, "250 ok\r\n450 later\r\n503 5.5.1 x\r\n", 0},
	{EV, "result m2 tempfail 450 [450 later]", 0},
	{IN, "250 ok\r\n250 ok\r\n250 ok\r\n", 0},
	{EV, "result m3 ok 250 [250 ok]", 0}}},
{"extended: empty message, null sender", {
	EXTENDED, {MSG, "m1 <> r@y", 0}, {ROOM, NULL, 0},
	{OUT, "MAIL FROM:<> SIZE=0 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 0 LAST\r\n", 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}}},
{"extended: UTF-8 address", {
	EXTENDED, {MSG, "m1 s@x \xc3\xa9@y", 0},
	{OUT, "MAIL FROM:<s@x> SIZE=0 BODY=BINARYMIME SMTPUTF8 XRESTANTE=m1"
	      "\r\nRCPT TO:<\xc3\xa9@y>\r\nBDAT 0 LAST\r\n", 0}}},
{"the reply to EHLO said ahead", {
	{IN, "220 laptop\r\n" EXT, 0}, {OUT, "EHLO " HOST "\r\n", 0},
	{EV, "ready extended", 0}, ONE("m1"), {IN, "250 a\r\n250 b\r\n", 0},
	{IN, "250 c\r\n", 0}, {EV, "result m1 ok 250 [250 c]", 0}}},
{"and no more than that", {
	{IN_FAIL, "220 laptop\r\n" EXT "250 a\r\n", RST_EPROTO},
	{EV, "ready extended", 0}, {EV, "closed client replied out of turn", 0}}},
{"window full", {
	EXTENDED, ONE("m1"), ONE("m2"), ONE("m3"), {READY, NULL, 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {READY, NULL, 1}}},
{"room is what the output leaves", {
	EXTENDED, {MSG, "m1 s@x r@y", 900}, {ROOM, NULL, 315},
	{FEED, "0123456789", 10}, {ROOM, NULL, 305}}},
{"too large for the client, in order", {
	EXTENDED, ONE("m1"), {MSG_NO, "m2 s@x r@y", 1001}, {EV, "", 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0},
	{EV, "result m2 refused 552 "
	     "[552 5.3.4 message larger than the client takes]", 0}}},
{"no SMTPUTF8", {
	PLAIN, {MSG_NO, "m1 s@x \xc3\xa9@y", 5},
	{EV, "result m1 refused 550 "
	     "[550 5.6.7 client does not take UTF-8 addresses]", 0},
	{READY, NULL, 1}}},
{"nothing can be slipped into a command", {
	EXTENDED, {MSG_NO, "m1 s>\r\nRSET@x r@y", 5},
	{EV, "result m1 refused 550 "
	     "[550 5.1.7 sender address cannot be sent]", 0},
	{MSG_NO, "m1 s@x r>x@y", 5},
	{EV, "result m1 refused 550 "
	     "[550 5.1.3 recipient address cannot be sent]", 0},
	{MSG_NO, "m=1 s@x r@y", 5},
	{EV, "result m=1 refused 550 [550 5.6.0 identifier cannot be sent]",
	 0}, {OUT, "", 0}}},
{"a reply that nobody asked for", {
	EXTENDED, {IN_FAIL, "250 hm\r\n", RST_EPROTO},
	{EV, "closed client replied out of turn", 0}, {EV, "", 0}}},
{"250 before the message was whole", {
	EXTENDED, {MSG, "m1 s@x r@y", 4}, {FEED, "ab", 2},
	{OUT, "MAIL FROM:<s@x> SIZE=4 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 4 LAST\r\nab", 0},
	{IN, "250 a\r\n250 b\r\n", 0}, {IN_FAIL, "250 c\r\n", RST_EPROTO},
	{EV, "closed client replied out of turn", 0}, {LEFT, NULL, 1}}},
{"no SMTP at all", {
	{IN_FAIL, "SSH-2.0-x\r\n", RST_EPROTO},
	{EV, "closed client sent no SMTP reply", 0}}},
{"greeting refused", {
	{IN, "554 no\r\n", 0}, {EV, "closed 554 no", 0}, {OUT, "", 0}}},
{"421: the rest stays held", {
	EXTENDED, ONE("m1"), ONE("m2"),
	{IN, "250 a\r\n250 b\r\n250 c\r\n250 a\r\n421 4.3.2 bye\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {EV, "closed 421 4.3.2 bye", 0},
	{EV, "", 0}, {READY, NULL, 0}}},
{"421 without a question", {
	EXTENDED, {IN, "421 bye\r\n", 0}, {EV, "closed 421 bye", 0}}},
{"control characters stay out of the log", {
	EXTENDED, ONE("m1"), {IN, "250 a\r\n250 b\r\n550 x\x1b\x7f\xff\r\n", 0},
	{EV, "result m1 refused 550 [550 x???]", 0}}},
{"notices", {
	EXTENDED, {SUMMARY, NULL, 7}, {OUT, "XRESTANTE SUMMARY 7 70\r\n", 0},
	{FORGET, "a", 0}, {FORGET, "b", 0}, {OUT, "", 0},
	{DEADLINE, NULL, 0}, {TICK, NULL, 5},
	{OUT, "XRESTANTE FORGET a b\r\n", 0},
	{MSG, "m1 s@x r@y", 3},
	{OUT, "MAIL FROM:<s@x> SIZE=3 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 3 LAST\r\n", 0},
	{FORGET, "c", 0}, {SUMMARY, NULL, 1}, {TICK, NULL, 6},
	{OUT, "", 0}, {FEED, "abc", 3},
	{OUT, "abcXRESTANTE SUMMARY 1 10\r\nXRESTANTE FORGET c\r\n", 0},
	{IN, "250 s\r\n501 f\r\n250 m\r\n250 r\r\n250 b\r\n250 s\r\n250 f\r\n",
	 0},
	{EV, "result m1 ok 250 [250 b]", 0}, {READY, NULL, 1}}},
{"sixteen ids a line", {
	EXTENDED, {FORGET, "1", 0}, {FORGET, "2", 0}, {FORGET, "3", 0},
	{FORGET, "4", 0}, {FORGET, "5", 0}, {FORGET, "6", 0},
	{FORGET, "7", 0}, {FORGET, "8", 0}, {FORGET, "9", 0},
	{FORGET, "10", 0}, {FORGET, "11", 0}, {FORGET, "12", 0},
	{FORGET, "13", 0}, {FORGET, "14", 0}, {FORGET, "15", 0},
	{OUT, "", 0}, {FORGET, "16", 0},
	{OUT, "XRESTANTE FORGET 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\r\n",
	 0}, {FORGET, "17", 0}, {TICK, NULL, 1},
	{OUT, "XRESTANTE FORGET 17\r\n", 0}}},
{"no notices to a plain client", {
	PLAIN, {SUMMARY, NULL, 7}, {FORGET, "a", 0}, {TICK, NULL, 1},
	{OUT, "", 0}}},
{"quit waits for the answers", {
	EXTENDED, ONE("m1"), {QUIT, NULL, 0}, {READY, NULL, 0}, {OUT, "", 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0}, {OUT, "QUIT\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {IN, "221 bye\r\n", 0},
	{EV, "closed 221 bye", 0}}},
{"leave, nothing on the way", {
	EXTENDED, {LEAVE, "newer sign-in", 0}, {READY, NULL, 0},
	{OUT, "XRESTANTE CLOSE newer sign-in\r\n", 0},
	{EV, "closed newer sign-in", 0},
	{IN, "221 a\r\n", 0}, {EV, "", 0}}},
{"leave: what is on the way is answered", {
	EXTENDED, ONE("m1"), ONE("m2"), {LEAVE, "newer", 0}, {LEFT, NULL, 2},
	{OUT, "XRESTANTE CLOSE newer\r\n", 0}, {READY, NULL, 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {EV, "", 0}, {LEFT, NULL, 1},
	{IN, "250 a\r\n250 b\r\n452 c\r\n221 bye\r\n", 0},
	{EV, "result m2 tempfail 452 [452 c]", 0},
	{EV, "closed newer", 0}, {LEFT, NULL, 0}}},
{"leave: a client that goes without answering", {
	EXTENDED, ONE("m1"), {LEAVE, "newer", 0},
	{OUT, "XRESTANTE CLOSE newer\r\n", 0}, {IN, "421 bye\r\n", 0},
	{EV, "closed 421 bye", 0}, {LEFT, NULL, 1}}},
{"leave: what has not begun is taken back", {
	EXTENDED, ONE("m1"), {MSG, "m2 s@x r@y", 3}, {FEED, "ab\n", 3},
	{SUMMARY, NULL, 7}, {MSG, "m3 s@x r@y", 3}, {FEED, "a", 1},
	{LEFT, NULL, 3}, {LEAVE, "newer", 0}, {LEFT, NULL, 1},
	{OUT, "XRESTANTE CLOSE newer\r\n", 0}, {FEED, "bc", 2},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {EV, "closed newer", 0}}},
{"leave: a notice before what is taken back", {
	EXTENDED, {SUMMARY, NULL, 7}, {MSG, "m1 s@x r@y", 3},
	{FEED, "ab\n", 3}, {FORGET, "a", 0}, {LEAVE, "newer", 0},
	{EV, "closed newer", 0}, {LEFT, NULL, 0},
	{OUT, "XRESTANTE SUMMARY 7 70\r\nXRESTANTE CLOSE newer\r\n", 0}}},
{"leave: what has begun is finished", {
	EXTENDED, {MSG, "m1 s@x r@y", 4}, {FEED, "ab", 2}, {PART, "M", 0},
	{LEAVE, "newer", 0}, {FEED, "cd", 2},
	{OUT, "AIL FROM:<s@x> SIZE=4 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 4 LAST\r\nabcd"
	      "XRESTANTE CLOSE newer\r\n", 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {EV, "closed newer", 0}}},
{"leave: what has begun, and what has not", {
	EXTENDED, {MSG, "m1 s@x r@y", 2}, {FEED, "ab", 2}, {PART, "M", 0},
	{MSG, "m2 s@x r@y", 3}, {LEAVE, "newer", 0},
	{LEFT, NULL, 1},
	{OUT, "AIL FROM:<s@x> SIZE=2 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 2 LAST\r\nab"
	      "XRESTANTE CLOSE newer\r\n", 0},
	{IN, "250 a\r\n250 b\r\n250 c\r\n", 0},
	{EV, "result m1 ok 250 [250 c]", 0}, {EV, "closed newer", 0}}},
{"leave: what we refused is reported", {
	EXTENDED, {MSG, "m1 s@x r@y", 2}, {FEED, "ab", 2},
	{MSG_NO, "m2 s@x r@y", 1001}, {LEAVE, "newer", 0},
	{EV, "result m2 refused 552 "
	     "[552 5.3.4 message larger than the client takes]", 0},
	{EV, "closed newer", 0}}},
{"leave: no keep-alive after CLOSE", {
	EXTENDED, ONE("m1"), {LEAVE, "newer", 0},
	{OUT, "XRESTANTE CLOSE newer\r\n", 0}, {DEADLINE, NULL, 100},
	{TICK, NULL, 100}, {EV, "closed client did not answer in time", 0}}},
{"leave, plain", {
	PLAIN, {LEAVE, "x", 0}, {OUT, "QUIT\r\n", 0}, {EV, "closed x", 0}}},
{"leave, plain, before the text", {
	PLAIN, {MSG, "m1 s@x r@y", 3}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{LEAVE, "x", 0}, {OUT, "QUIT\r\n", 0}, {EV, "closed x", 0},
	{LEFT, NULL, 0}, {IN, "250 ok\r\n221 bye\r\n", 0}, {EV, "", 0}}},
{"leave, plain: after DATA, QUIT would be text", {
	PLAIN, {MSG, "m1 s@x r@y", 3}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "RCPT TO:<r@y>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "DATA\r\n", 0}, {LEAVE, "x", 0},
	{OUT, "", 0}, {EV, "closed x", 0}, {LEFT, NULL, 0}}},
{"leave, plain, amid the text", {
	PLAIN, {MSG, "m1 s@x r@y", 3}, PLAIN_TO_DATA, {FEED, "a", 1},
	{LEAVE, "x", 0}, {OUT, "a", 0}, {FEED, "b\n", 2},
	{OUT, "b\n\r\n.\r\n", 0}, {EV, "", 0}, {IN, "250 ok\r\n", 0},
	{EV, "result m1 ok 250 [250 ok]", 0}, {OUT, "QUIT\r\n", 0},
	{EV, "closed x", 0}}},
{"leave, plain, what the client refused", {
	PLAIN, {MSG, "m1 s@x r@y", 5}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "550 no\r\n", 0}, {LEAVE, "x", 0}, {OUT, "QUIT\r\n", 0},
	{EV, "result m1 refused 550 [550 no]", 0}, {EV, "closed x", 0}}},
{"leave before the greeting", {
	{LEAVE, "x", 0}, {OUT, "QUIT\r\n", 0}, {EV, "closed x", 0}}},
{"abort", {
	EXTENDED, {MSG, "m1 s@x r@y", 4}, {FEED, "ab", 2},
	{ABORT, "storage error", 0}, {OUT, "", 0},
	{EV, "closed storage error", 0}, {LEFT, NULL, 1}}},
{"time-out", {
	EXTENDED, {TICK, NULL, 50}, ONE("m1"), {DEADLINE, NULL, 150},
	{TICK, NULL, 149}, {EV, "", 0}, {TICK, NULL, 150},
	{EV, "closed client did not answer in time", 0},
	{DEADLINE, NULL, -1}}},
{"time-out of the greeting", {
	{DEADLINE, NULL, 100}, {TICK, NULL, 100},
	{EV, "closed client did not answer in time", 0}}},
{"no time-out while we are not fed", {
	EXTENDED, {MSG, "m1 s@x r@y", 4},
	{OUT, "MAIL FROM:<s@x> SIZE=4 BODY=BINARYMIME XRESTANTE=m1\r\n"
	      "RCPT TO:<r@y>\r\nBDAT 4 LAST\r\n", 0},
	{DEADLINE, NULL, 100}, {IN, "250 a\r\n250 b\r\n", 0},
	{DEADLINE, NULL, -1}, {FEED, "abcd", 4}, {DEADLINE, NULL, 100}}},
{"keep-alive", {
	EXTENDED, {DEADLINE, NULL, 500}, {TICK, NULL, 500},
	{OUT, "NOOP\r\n", 0}, {DEADLINE, NULL, 600}, {TICK, NULL, 510},
	{OUT, "", 0}, {IN, "250 ok\r\n", 0}, {DEADLINE, NULL, 1010},
	{TICK, NULL, 1010}, {OUT, "NOOP\r\n", 0}, {TICK, NULL, 1110},
	{EV, "closed client did not answer in time", 0}}},
{"EHLO refused", {
	GREET, {IN, "502 what\r\n", 0}, {OUT, "HELO " HOST "\r\n", 0},
	{IN, "250 laptop\r\n", 0}, {EV, "ready plain", 0}}},
{"EHLO and HELO refused", {
	GREET, {IN, "502 what\r\n", 0}, {OUT, "HELO " HOST "\r\n", 0},
	{IN, "502 what\r\n", 0}, {EV, "closed 502 what", 0}}},
{"one extension is missing", {
	GREET, {IN, "250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n"
		    "250-8BITMIME\r\n250-SIZE\r\n250 XRESTANTE\r\n", 0},
	{EV, "ready plain", 0}, {MSG, "m1 s@x r@y", 2},
	{OUT, "MAIL FROM:<s@x> SIZE=2 BODY=8BITMIME\r\n", 0}}},
{"plain", {
	PLAIN, {MSG, "m1 s@x r@y", 12}, {READY, NULL, 0}, {ROOM, NULL, 0},
	PLAIN_TO_DATA, {FEED, ".a\r\n..\r\nb.\r\n", 12},
	{OUT, "..a\r\n...\r\nb.\r\n.\r\n", 0}, {READY, NULL, 0},
	{IN, "250 2.0.0 ok\r\n", 0},
	{EV, "result m1 ok 250 [250 2.0.0 ok]", 0}, {READY, NULL, 1},
	{QUIT, NULL, 0}, {OUT, "QUIT\r\n", 0}, {IN, "221 bye\r\n", 0},
	{EV, "closed 221 bye", 0}}},
{"plain: the end of a line is added", {
	PLAIN, {MSG, "m1 s@x r@y", 3}, PLAIN_TO_DATA, {FEED, ".\ra", 3},
	{OUT, "..\ra\r\n.\r\n", 0}}},
{"plain: ends in CR", {
	PLAIN, {MSG, "m1 s@x r@y", 2}, PLAIN_TO_DATA, {FEED, "a\r", 2},
	{OUT, "a\r\r\n.\r\n", 0}}},
{"plain: a dot after a bare LF", {
	PLAIN, {MSG, "m1 s@x r@y", 6}, PLAIN_TO_DATA, {FEED, "a\n.\r\nb", 6},
	{OUT, "a\n..\r\nb\r\n.\r\n", 0}}},
{"plain: fed in pieces", {
	PLAIN, {MSG, "m1 s@x r@y", 6}, PLAIN_TO_DATA, {FEED, "a\r", 2},
	{FEED, "\n", 1}, {FEED, ".", 1}, {FEED, "\r", 1}, {FEED, "\n", 1},
	{OUT, "a\r\n..\r\n.\r\n", 0}}},
{"plain: empty", {
	PLAIN, {MSG, "m1 s@x r@y", 0}, PLAIN_TO_DATA, {OUT, ".\r\n", 0}}},
{"plain: MAIL refused", {
	PLAIN, {MSG, "m1 s@x r@y", 5}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "550 5.7.1 no\r\n", 0},
	{EV, "result m1 refused 550 [550 5.7.1 no]", 0}, {READY, NULL, 0},
	{ROOM, NULL, 5}, {FEED, "abcde", 5}, {OUT, "", 0},
	{READY, NULL, 1}}},
{"plain: RCPT refused", {
	PLAIN, {MSG, "m1 s@x r@y", 5}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "RCPT TO:<r@y>\r\n", 0},
	{IN, "450 4.2.0 no\r\n", 0},
	{EV, "result m1 tempfail 450 [450 4.2.0 no]", 0},
	{OUT, "RSET\r\n", 0}, {FEED, "abcde", 5}, {READY, NULL, 0},
	{IN, "250 ok\r\n", 0}, {READY, NULL, 1}}},
{"plain: DATA refused, empty message", {
	PLAIN, {MSG, "m1 s@x r@y", 0}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "RCPT TO:<r@y>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "DATA\r\n", 0}, {IN, "554 no\r\n", 0},
	{EV, "result m1 refused 554 [554 no]", 0}, {OUT, "RSET\r\n", 0},
	{IN, "250 ok\r\n", 0}, {READY, NULL, 1}}},
{"plain: 250 to DATA is no answer", {
	PLAIN, {MSG, "m1 s@x r@y", 0}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "RCPT TO:<r@y>\r\n", 0},
	{IN, "250 ok\r\n", 0}, {OUT, "DATA\r\n", 0},
	{IN_FAIL, "250 ok\r\n", RST_EPROTO},
	{EV, "closed client replied out of turn", 0}}},
{"plain: 354 to MAIL is no answer", {
	PLAIN, {MSG, "m1 s@x r@y", 0}, {OUT, "MAIL FROM:<s@x>\r\n", 0},
	{IN_FAIL, "354 ok\r\n", RST_EPROTO}}},
{"plain: a reply amid the text", {
	PLAIN, {MSG, "m1 s@x r@y", 5}, PLAIN_TO_DATA, {FEED, "ab", 2},
	{IN_FAIL, "250 ok\r\n", RST_EPROTO}, {LEFT, NULL, 1}}},
{"plain: 451 after the dot", {
	PLAIN, {MSG, "m1 s@x r@y", 2}, PLAIN_TO_DATA, {FEED, "ab", 2},
	{OUT, "ab\r\n.\r\n", 0}, {IN, "451-4.3.0 a\r\n451 4.3.0 b\r\n", 0},
	{EV, "result m1 tempfail 451 [451 4.3.0 b]", 0}, {READY, NULL, 1}}},
};
/* clang-format on */

struct run {
	struct rst_push *p;
	struct rst_buf in;
	int64_t now_ms;
	bool cut;
};

static ssize_t offer(struct run *r)
{
	struct rst_str in = rst_buf_view(&r->in);
	ssize_t n = rst_push_recv(r->p, in.p, in.n, r->now_ms);

	if (n > 0)
		rst_buf_take(&r->in, (size_t)n);
	return n;
}

static ssize_t client_sends(struct run *r, const char *text)
{
	ssize_t ret = 0;

	if (!r->cut) {
		rst_buf_puts(&r->in, text);
		return offer(r);
	}
	for (; *text != '\0' && ret >= 0; text++) {
		rst_buf_append(&r->in, text, 1);
		ret = offer(r);
	}
	return ret;
}

static void event_text(struct rst_push *p, char *out, size_t size)
{
	static const char *const verdicts[] = {"ok", "tempfail", "refused"};
	struct rst_push_event ev;

	*out = '\0';
	if (!rst_push_next(p, &ev))
		return;
	if (ev.type == RST_PUSH_READY)
		(void)snprintf(out, size, "ready %s",
			       ev.extended ? "extended" : "plain");
	else if (ev.type == RST_PUSH_CLOSED)
		(void)snprintf(out, size, "closed %.*s", (int)ev.text.n,
			       ev.text.p);
	else
		(void)snprintf(out, size, "result %.*s %s %u [%.*s]",
			       (int)ev.id.n, ev.id.p, verdicts[ev.verdict],
			       ev.code, (int)ev.text.n, ev.text.p);
}

static int start(struct run *r, const struct step *step)
{
	struct rst_str rest = rst_str(step->text);
	struct rst_push_message msg = {.size = (uint64_t)step->n};

	ck_assert(rst_push_ready(r->p));
	ck_assert(rst_str_split(&rest, ' ', &msg.id));
	ck_assert(rst_str_split(&rest, ' ', &msg.mail_from));
	msg.rcpt_to = rest;
	if (rst_str_eq(msg.mail_from, RST_STR("<>")))
		msg.mail_from = RST_STR("");
	return rst_push_message(r->p, &msg, r->now_ms);
}

static void expect_output(struct run *r, const char *want)
{
	struct rst_str out;

	out.p = rst_push_output(r->p, &out.n);
	ck_assert_rst_str_eq(out, want);
	rst_push_sent(r->p, out.n);
}

static void run_step(struct run *r, const struct step *step)
{
	struct rst_str out;
	char text[1024];

	switch (step->op) {
	case END:
		break;
	case IN:
		ck_assert_int_ge(client_sends(r, step->text), 0);
		ck_assert_uint_eq(r->in.used, 0);
		break;
	case IN_FAIL:
		ck_assert_int_eq(client_sends(r, step->text), step->n);
		rst_buf_clear(&r->in);
		break;
	case OUT:
		expect_output(r, step->text);
		break;
	case PART:
		out.p = rst_push_output(r->p, &out.n);
		out.n = strlen(step->text);
		ck_assert_rst_str_eq(out, step->text);
		rst_push_sent(r->p, out.n);
		break;
	case EV:
		event_text(r->p, text, sizeof(text));
		ck_assert_str_eq(text, step->text);
		break;
	case MSG:
		ck_assert_int_eq(start(r, step), 0);
		break;
	case MSG_NO:
		ck_assert_int_eq(start(r, step), RST_EPERM);
		break;
	case FEED:
		ck_assert_uint_eq(rst_push_octets(r->p, step->text,
						  strlen(step->text),
						  r->now_ms),
				  (size_t)step->n);
		break;
	case READY:
		ck_assert_int_eq(rst_push_ready(r->p), step->n);
		break;
	case ROOM:
		ck_assert_int_eq((int64_t)rst_push_room(r->p), step->n);
		break;
	case LEFT:
		ck_assert_int_eq(rst_push_unanswered(r->p), step->n);
		break;
	case FORGET:
		rst_push_forget(r->p, rst_str(step->text));
		break;
	case SUMMARY:
		rst_push_summary(r->p, (uint64_t)step->n,
				 (uint64_t)step->n * 10);
		break;
	case QUIT:
		rst_push_quit(r->p, r->now_ms);
		break;
	case LEAVE:
		rst_push_leave(r->p, step->text);
		break;
	case ABORT:
		rst_push_abort(r->p, step->text);
		break;
	case DEADLINE:
		ck_assert_int_eq(rst_push_deadline(r->p), step->n);
		break;
	case TICK:
		r->now_ms = step->n;
		rst_push_tick(r->p, r->now_ms);
		break;
	}
}

static const struct rst_push_limits limits = {
	.hostname = HOST,
	.max_output = 400,
	.max_unanswered = 3,
	.reply_timeout_ms = 100,
	.keepalive_ms = 500,
};

static void run_script(const struct script *script, bool cut)
{
	struct run r = {.p = rst_push_new(&limits, 0), .cut = cut};
	const struct step *step;

	for (step = script->steps; step->op != END; step++)
		run_step(&r, step);
	rst_buf_clear(&r.in);
	rst_push_free(&r.p);
	ck_assert_ptr_null(r.p);
}

START_TEST(test_script)
{
	run_script(&scripts[_i], false);
}
END_TEST

START_TEST(test_script_cut)
{
	run_script(&scripts[_i], true);
}
END_TEST

START_TEST(test_slow_line_is_no_silence)
{
	struct run r = {.p = rst_push_new(&limits, 0)};
	const struct script begin = {"", {EXTENDED, {MSG, "m s@x r@y", 300}}};
	const struct step *step;
	char octets[300] = {0};
	int64_t at;

	for (step = begin.steps; step->op != END; step++)
		run_step(&r, step);
	ck_assert_uint_eq(rst_push_octets(r.p, octets, 300, 0), 300);
	for (at = 100; at < 1000; at += 100) {
		rst_push_sent(r.p, 1);
		rst_push_tick(r.p, at);
		ck_assert_int_eq(rst_push_deadline(r.p), at + 100);
	}
	rst_push_tick(r.p, at);
	ck_assert_int_eq(rst_push_deadline(r.p), -1);
	rst_push_free(&r.p);
}
END_TEST

/* A client that answers no FORGET costs a bounded amount of memory. */
START_TEST(test_forget_is_bounded)
{
	struct run r = {.p = rst_push_new(&limits, 0)};
	const struct script begin = {"", {EXTENDED}};
	const struct step *step;
	size_t len, total = 0;
	int i;

	for (step = begin.steps; step->op != END; step++)
		run_step(&r, step);
	for (i = 0; i < 100000; i++) {
		rst_push_forget(r.p, RST_STR("abcdefghijklmnopqrstuvwxyz"));
		rst_push_tick(r.p, 1);
		(void)rst_push_output(r.p, &len);
		rst_push_sent(r.p, len);
		total += len;
	}
	ck_assert_uint_gt(total, 0);
	ck_assert_uint_lt(total, 10000);
	rst_push_free(&r.p);
}
END_TEST

/* Thousands of clients are idle at once. (Under ASan memory is not counted.) */
START_TEST(test_idle_is_small)
{
	const struct rst_push_limits wide = {
		.hostname = HOST,
		.max_output = 65536,
		.max_unanswered = 256,
		.reply_timeout_ms = 100,
		.keepalive_ms = 500,
	};
	const struct script talk = {
		"",
		{EXTENDED,
		 {MSG, "m s@x r@y", 3},
		 {FEED, "abc", 3},
		 {OUT,
		  "MAIL FROM:<s@x> SIZE=3 BODY=BINARYMIME XRESTANTE=m\r\n"
		  "RCPT TO:<r@y>\r\nBDAT 3 LAST\r\nabc",
		  0},
		 {IN, "250 ok\r\n250 ok\r\n250 ok\r\n", 0},
		 {EV, "result m ok 250 [250 ok]", 0}}};
	size_t before = mallinfo2().uordblks;
	struct run r = {.p = rst_push_new(&wide, 0)};
	const struct step *step;

	for (step = talk.steps; step->op != END; step++)
		run_step(&r, step);
	rst_buf_clear(&r.in);
	ck_assert_uint_le(mallinfo2().uordblks, before + 4096);
	rst_push_free(&r.p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("push");
	TCase *tc = tcase_create("scripts");

	tcase_add_loop_test(tc, test_script, 0, N_ELEMENTS(scripts));
	tcase_add_loop_test(tc, test_script_cut, 0, N_ELEMENTS(scripts));
	tcase_add_test(tc, test_slow_line_is_no_silence);
	tcase_add_test(tc, test_forget_is_bounded);
	tcase_add_test(tc, test_idle_is_small);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
