/* SPDX-License-Identifier: MIT */
/* The receiver machine against a scripted server; each script is also run
   with every octet of the server arriving alone. */
#include "buf.h"
#include "restante/receiver.h"
#include "test-util.h"

#include <string.h>

enum op {
	END,
	IN,      /* the server sends text of n octets (0: up to NUL) */
	IN_FAIL, /* and _recv then returns n */
	OUT,     /* the whole output is text, and leaves */
	EV,      /* all events since the last EV, as text */
	OK,      /* _done(n) with text */
	TEMPFAIL,
	REFUSED,
	AHEAD,    /* say the reply to EHLO ahead */
	SEEN,     /* from now on BEGIN of ticket n is answered at once */
	LEFT,     /* n octets were not taken yet */
	AGAIN,    /* offer them again */
	DEADLINE, /* _deadline() is n */
	TICK,     /* _tick(n), and the clock stays there */
};

struct step {
	enum op op;
	const char *text;
	int64_t n;
};

#define STEPS_MAX 32

struct script {
	const char *name;
	struct step steps[STEPS_MAX];
};

#define EHLO_REPLY                                           \
	"250-laptop\r\n250-PIPELINING\r\n250-CHUNKING\r\n"   \
	"250-BINARYMIME\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n" \
	"250-ENHANCEDSTATUSCODES\r\n250-SIZE 100\r\n"        \
	"250 XRESTANTE\r\n"
#define EHLO                                                               \
	{OUT, "220 laptop ESMTP Restante\r\n", 0}, {IN, "EHLO mx\r\n", 0}, \
	{                                                                  \
		OUT, EHLO_REPLY, 0                                         \
	}
#define MAIL "MAIL FROM:<s@x> XRESTANTE="
#define RCPT "\r\nRCPT TO:<r@y>\r\n"
#define OKS "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
#define NOT_NOW "503 5.5.1 Not now\r\n"
#define BAD "501 5.5.4 Arguments not understood\r\n"
#define TOO_LARGE "552 5.3.4 Message too large\r\n"
#define GO "354 Go ahead, end with a dot\r\n"

/* clang-format off */
static const struct script scripts[] = {
{"one message", {
	EHLO,
	{IN, "MAIL FROM:<s@x> SIZE=5 BODY=BINARYMIME SMTPUTF8 XRESTANTE=m1"
	     RCPT "BDAT 5 LAST\r\n", 0}, {IN, "a\0\r\n.", 5},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=5\n1[a\\0\r\n.]\nend 1\n", 0},
	{OUT, OKS, 0}, {OK, "stored", 1}, {OUT, "250 2.0.0 stored\r\n", 0}}},
{"the reply to EHLO said ahead", {
	{AHEAD, NULL, 0},
	{OUT, "220 laptop ESMTP Restante\r\n" EHLO_REPLY, 0},
	{IN, "EHLO mx\r\n" MAIL "m1" RCPT "BDAT 1 LAST\r\na", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\nend 1\n", 0},
	{OUT, OKS, 0}, {OK, "x", 1}, {OUT, "250 2.0.0 x\r\n", 0},
	{IN, "EHLO mx\r\n", 0}, {OUT, EHLO_REPLY, 0}}},
{"replies keep their order", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 1 LAST\r\na"
	MAIL "m2" RCPT "BDAT 1 LAST\r\nbNOOP\r\n"
	MAIL "m3" RCPT "BDAT 1 LAST\r\nc", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\nend 1\n"
	     "begin 2 id=m2 from=s@x to=r@y size=0\n2[b]\nend 2\n"
	     "begin 3 id=m3 from=s@x to=r@y size=0\n3[c]\nend 3\n", 0},
	{OUT, OKS, 0}, {REFUSED, "no", 3}, {OK, "yes", 2}, {OUT, "", 0},
	{TEMPFAIL, "later", 1},
	{OUT, "452 4.3.1 later\r\n" OKS "250 2.0.0 yes\r\n"
	      "250 2.0.0 Still here\r\n" OKS "552 5.3.4 no\r\n", 0},
	{OK, "again", 1}, {OUT, "", 0}}},
{"window full", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 0 LAST\r\n" MAIL "m2" RCPT
	"BDAT 0 LAST\r\n" MAIL "m3" RCPT "BDAT 0 LAST\r\nNOOP\r\n", 0},
	{LEFT, NULL, 6}, {DEADLINE, NULL, -1}, {AGAIN, NULL, 0},
	{LEFT, NULL, 6}, {OK, "x", 3}, {AGAIN, NULL, 0}, {LEFT, NULL, 6},
	{OK, "x", 1}, {AGAIN, NULL, 0}, {LEFT, NULL, 0},
	{OUT, OKS "250 2.0.0 x\r\n" OKS, 0}}},
{"several chunks", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 3\r\nabcBDAT 2\r\ndeBDAT 0 LAST\r\n",
	0}, {EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[abcde]\nend 1\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n250 2.0.0 Go on\r\n", 0},
	{OK, "x", 1}, {OUT, "250 2.0.0 x\r\n", 0}}},
{"answered at the start", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 3\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n", 0},
	{OK, "seen", 1}, {OUT, OKS, 0}, {IN, "abcBDAT 1 LAST\r\nd", 0},
	{EV, "end 1\n", 0},
	{OUT, "250 2.0.0 Go on\r\n250 2.0.0 seen\r\n", 0}}},
{"MAIL refused: the octets are swallowed", {
	EHLO, {IN, "MAIL FROM:<s@x> SIZE=101 XRESTANTE=m1" RCPT
	"BDAT 6 LAST\r\nNOOP\r\n" MAIL "m2" RCPT "BDAT 0 LAST\r\n", 0},
	{OUT, TOO_LARGE NOT_NOW NOT_NOW OKS, 0},
	{EV, "begin 1 id=m2 from=s@x to=r@y size=0\nend 1\n", 0}}},
{"RCPT refused: the next message is not touched", {
	EHLO, {IN, MAIL "m1\r\nRCPT TO:<>\r\nBDAT 2 LAST\r\nab"
	MAIL "m2" RCPT "BDAT 0 LAST\r\n", 0},
	{OUT, "250 2.1.0 Sender ok\r\n501 5.1.3 Recipient not understood\r\n"
	      NOT_NOW OKS, 0},
	{EV, "begin 1 id=m2 from=s@x to=r@y size=0\nend 1\n", 0}}},
{"chunk too large", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 99\r\n", 0}, {IN, "0123456789"
	"0123456789012345678901234567890123456789012345678901234567890123456"
	"7890123456789012345678" "BDAT 2\r\nabBDAT 0 LAST\r\nNOOP\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[01234567890123456789"
	"012345678901234567890123456789012345678901234567890123456789012345678"
	"9012345678]\ncancel 1\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n" TOO_LARGE NOT_NOW
	      "250 2.0.0 Still here\r\n", 0}}},
{"sizes of 64 bit", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 18446744073709551615 LAST\r\nabc", 0},
	{EV, "", 0}, {OUT, OKS, 0},
	{IN, "more", 0}, {LEFT, NULL, 0}}},
{"BDAT that cannot be", {
	EHLO, {IN_FAIL, "BDAT 18446744073709551616\r\n", RST_EPROTO},
	{OUT, BAD, 0}, {EV, "closed [server sent a malformed BDAT]\n", 0}}},
{"BDAT with another word", {
	EHLO, {IN_FAIL, "BDAT 3 FIRST\r\n", RST_EPROTO}, {OUT, BAD, 0}}},
{"answered at the start, cancelled in the same read", {
	EHLO, {SEEN, NULL, 1}, {IN, MAIL "m1" RCPT "BDAT 3\r\nabcRSET\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\ncancel 1\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n250 2.0.0 Forgotten\r\n", 0}}},
{"DATA", {
	EHLO, {IN, "MAIL FROM:<>" RCPT "DATA\r\n", 0}, {OUT, OKS GO, 0},
	{IN, "..\r\n.a\r\n\r.\r\n\n.\r\n\n.\n.\r\n.\rx\r\n.\r\r\n.\r\n"
	     "QUIT\r\n", 0},
	{EV, "begin 1 id= from= to=r@y size=0\n"
	     "1[.\r\na\r\n\r.\r\n\n.\r\n\n.\n.\r\n\rx\r\n\r\r\n]\nend 1\n", 0},
	{OK, "x", 1},
	{EV, "closed drained []\n", 0},
	{OUT, "250 2.0.0 x\r\n221 2.0.0 Goodbye\r\n", 0}}},
{"DATA, empty", {
	EHLO, {IN, "MAIL FROM:<>" RCPT "DATA\r\n.\r\nNOOP\r\n", 0},
	{EV, "begin 1 id= from= to=r@y size=0\nend 1\n", 0}}},
{"DATA too large", {
	EHLO, {IN, "MAIL FROM:<>" RCPT "DATA\r\n", 0}, {IN, "0123456789"
	"0123456789012345678901234567890123456789012345678901234567890123456"
	"78901234567890123456789\r\n", 0}, {IN, "more\r\n.\r\nNOOP\r\n", 0},
	{EV, "begin 1 id= from= to=r@y size=0\n1[0123456789"
	"0123456789012345678901234567890123456789012345678901234567890123456"
	"78901234567890123456789]\ncancel 1\n", 0},
	{OUT, OKS GO TOO_LARGE "250 2.0.0 Still here\r\n", 0}}},
{"DATA answered at the start", {
	EHLO, {IN, "MAIL FROM:<>" RCPT "DATA\r\n", 0}, {REFUSED, "no", 1},
	{IN, "a\r\n.\r\n", 0},
	{EV, "begin 1 id= from= to=r@y size=0\nend 1\n", 0},
	{OUT, OKS GO "552 5.3.4 no\r\n", 0}}},
{"order of commands", {
	EHLO, {IN, "RCPT TO:<r@y>\r\nDATA\r\nMAIL FROM:<a>\r\nMAIL FROM:<b>\r\n"
	"DATA\r\nRSET\r\nMAIL FROM:<s@x> BODY=BINARYMIME" RCPT "DATA\r\n"
	"BDAT 1\r\naRCPT TO:<c>\r\nDATA\r\n", 0},
	{OUT, NOT_NOW NOT_NOW "250 2.1.0 Sender ok\r\n" NOT_NOW NOT_NOW
	"250 2.0.0 Forgotten\r\n" OKS NOT_NOW "250 2.0.0 Go on\r\n" NOT_NOW
	NOT_NOW, 0}}},
{"MAIL before EHLO", {
	{IN, "MAIL FROM:<a>\r\n", 0},
	{OUT, "220 laptop ESMTP Restante\r\n" NOT_NOW, 0}}},
{"HELO", {
	{IN, "HELO x\r\nMAIL FROM:<a>\r\n", 0},
	{OUT, "220 laptop ESMTP Restante\r\n250 Good day\r\n"
	      "250 2.1.0 Sender ok\r\n", 0}}},
{"parameters", {
	EHLO, {IN, "MAIL FROM:<a> FOO=1\r\nMAIL FROM:<a> BODY=x\r\n"
	"MAIL FROM:<a> SIZE=-1\r\nMAIL FROM:<a> XRESTANTE\r\nMAIL FROM:a b\r\n"
	"MAIL FROM:<a> BODY=8BITMIME\r\nRCPT TO:<b> NOTIFY=NEVER\r\n", 0},
	{OUT, "555 5.5.4 Parameter not known\r\n" BAD BAD BAD
	"501 5.1.7 Sender not understood\r\n250 2.1.0 Sender ok\r\n"
	"555 5.5.4 Parameter not known\r\n", 0}}},
{"the first recipient counts", {
	EHLO, {IN, "MAIL FROM:<s@x>" RCPT "RCPT TO:<z@y>\r\nBDAT 0 LAST\r\n",
	0}, {EV, "begin 1 id= from=s@x to=r@y size=0\nend 1\n", 0}}},
{"RSET, EHLO cancel", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 1\r\naRSET\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\ncancel 1\n", 0},
	{OK, "late", 1}, {OUT, OKS "250 2.0.0 Go on\r\n250 2.0.0 Forgotten\r\n",
	0}, {IN, MAIL "m2" RCPT "BDAT 1\r\naEHLO x\r\n", 0},
	{EV, "begin 2 id=m2 from=s@x to=r@y size=0\n2[a]\ncancel 2\n", 0}}},
{"QUIT cancels", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 1\r\naQUIT\r\nNOOP\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\ncancel 1\n"
	     "closed drained []\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n221 2.0.0 Goodbye\r\n", 0},
	{DEADLINE, NULL, -1}}},
{"QUIT waits for the answers", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 0 LAST\r\nQUIT\r\n", 0},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\nend 1\n", 0},
	{OUT, OKS, 0}, {OK, "x", 1}, {EV, "closed drained []\n", 0},
	{OUT, "250 2.0.0 x\r\n221 2.0.0 Goodbye\r\n", 0}}},
{"XRESTANTE", {
	EHLO, {IN, "XRESTANTE SUMMARY 3 18446744073709551615\r\n"
	"xrestante forget a bb ccc\r\n", 0},
	{EV, "summary 3 18446744073709551615\nforget a\nforget bb\n"
	     "forget ccc\n", 0},
	{OUT, "250 2.0.0 Noted\r\n250 2.0.0 Noted\r\n", 0},
	{IN, "XRESTANTE CLOSE newer sign-in\r\n", 0},
	{EV, "closed [newer sign-in]\n", 0},
	{OUT, "221 2.0.0 Goodbye\r\n", 0}}},
{"XRESTANTE, malformed", {
	EHLO, {IN, "XRESTANTE\r\nXRESTANTE SUMMARY\r\nXRESTANTE SUMMARY 1 x"
	"\r\nXRESTANTE FORGET\r\nXRESTANTE FORGET a  b\r\n"
	"XRESTANTE FORGET 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\r\n"
	"XRESTANTE WHAT\r\n", 0},
	{EV, "", 0}, {OUT, BAD BAD BAD BAD BAD BAD BAD, 0}}},
{"sixteen ids", {
	EHLO,
	{IN, "XRESTANTE FORGET 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6\r\n", 0},
	{EV, "forget 1\nforget 2\nforget 3\nforget 4\nforget 5\nforget 6\n"
	"forget 7\nforget 8\nforget 9\nforget 0\nforget 1\nforget 2\n"
	"forget 3\nforget 4\nforget 5\nforget 6\n", 0}}},
{"other commands", {
	EHLO, {IN, "VRFY x\r\nAUTH PLAIN\r\nATRN\r\nFOO\r\n", 0},
	{OUT, "252 2.5.0 Send mail and see\r\n502 5.5.1 Not offered\r\n"
	"502 5.5.1 Not offered\r\n500 5.5.2 Command not known\r\n", 0}}},
{"a bare LF", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 1\r\na", 0},
	{IN_FAIL, "NOOP\nNOOP\r\n", RST_EPROTO},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\ncancel 1\n"
	     "closed [server sent no SMTP line]\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n500 5.5.2 Not a line\r\n", 0},
	{DEADLINE, NULL, -1}}},
{"silence", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 1\r\na", 0}, {TICK, NULL, 99},
	{DEADLINE, NULL, 100}, {TICK, NULL, 100},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\n1[a]\ncancel 1\n"
	     "closed [server was silent for too long]\n", 0},
	{OUT, OKS "250 2.0.0 Go on\r\n"
	      "421 4.4.2 Nothing was heard for too long\r\n", 0}}},
{"our own silence is not the server's", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 0 LAST\r\n", 0},
	{DEADLINE, NULL, -1}, {TICK, NULL, 500}, {OK, "x", 1},
	{TICK, NULL, 501}, {DEADLINE, NULL, 601}, {TICK, NULL, 601},
	{EV, "begin 1 id=m1 from=s@x to=r@y size=0\nend 1\n"
	     "closed [server was silent for too long]\n", 0}}},
{"the caller's text stays one line", {
	EHLO, {IN, MAIL "m1" RCPT "BDAT 0 LAST\r\n", 0},
	{OK, "a\r\n250 b", 1}, {OUT, OKS "250 2.0.0 a??250 b\r\n", 0}}},
};
/* clang-format on */

static const struct rst_receiver_limits limits = {
	.hostname = "laptop",
	.max_message_size = 100,
	.max_pending = 3,
	.idle_timeout_ms = 100,
};

struct run {
	struct rst_receiver *r;
	struct rst_buf in, events;
	uint32_t octets_of; /* the last event was OCTETS of this ticket */
	uint32_t seen;
	int64_t now_ms;
	bool cut;
};

static void log_octets(struct run *run, const struct rst_receiver_event *ev)
{
	size_t i;

	/* however many events the octets came in */
	if (run->octets_of == ev->ticket)
		run->events.used -= 2;
	else
		rst_buf_printf(&run->events, "%u[", ev->ticket);
	for (i = 0; i < ev->octets.n; i++) {
		if (ev->octets.p[i] == '\0')
			rst_buf_puts(&run->events, "\\0");
		else
			rst_buf_append(&run->events, ev->octets.p + i, 1);
	}
	rst_buf_puts(&run->events, "]\n");
}

static void log_str(struct run *run, const char *name, struct rst_str value)
{
	rst_buf_puts(&run->events, name);
	rst_buf_str(&run->events, value);
}

static void log_begin(struct run *run, const struct rst_receiver_event *ev)
{
	rst_buf_printf(&run->events, "begin %u", ev->ticket);
	log_str(run, " id=", ev->id);
	log_str(run, " from=", ev->mail_from);
	log_str(run, " to=", ev->rcpt_to);
	rst_buf_printf(&run->events, " size=%llu\n",
		       (unsigned long long)ev->size);
}

static void log_event(struct run *run, const struct rst_receiver_event *ev)
{
	switch (ev->type) {
	case RST_RECEIVER_BEGIN:
		log_begin(run, ev);
		break;
	case RST_RECEIVER_OCTETS:
		log_octets(run, ev);
		break;
	case RST_RECEIVER_END:
		rst_buf_printf(&run->events, "end %u\n", ev->ticket);
		break;
	case RST_RECEIVER_CANCEL:
		rst_buf_printf(&run->events, "cancel %u\n", ev->ticket);
		break;
	case RST_RECEIVER_SUMMARY:
		rst_buf_printf(&run->events, "summary %llu %llu\n",
			       (unsigned long long)ev->messages,
			       (unsigned long long)ev->total_octets);
		break;
	case RST_RECEIVER_FORGET:
		log_str(run, "forget ", ev->id);
		rst_buf_puts(&run->events, "\n");
		break;
	case RST_RECEIVER_CLOSED:
		rst_buf_printf(&run->events, "closed %s[",
			       ev->drained ? "drained " : "");
		rst_buf_str(&run->events, ev->text);
		rst_buf_puts(&run->events, "]\n");
		break;
	}
	run->octets_of = ev->type == RST_RECEIVER_OCTETS ? ev->ticket : 0;
}

static void pull(struct run *run)
{
	struct rst_receiver_event ev;

	while (rst_receiver_next(run->r, &ev)) {
		log_event(run, &ev);
		if (ev.type == RST_RECEIVER_BEGIN && ev.ticket == run->seen)
			rst_receiver_done(run->r, ev.ticket, RST_VERDICT_OK,
					  "seen");
	}
}

/* Offer the input until no more is taken. */
static ssize_t offer(struct run *run)
{
	struct rst_str in;
	ssize_t n;

	do {
		in = rst_buf_view(&run->in);
		n = rst_receiver_recv(run->r, in.p, in.n, run->now_ms);
		if (n > 0)
			rst_buf_take(&run->in, (size_t)n);
		pull(run);
	} while (n > 0 && run->in.used > 0);
	return n;
}

static ssize_t server_sends(struct run *run, const char *text, size_t len)
{
	ssize_t ret = 0;
	size_t i;

	if (!run->cut) {
		rst_buf_append(&run->in, text, len);
		return offer(run);
	}
	for (i = 0; i < len && ret >= 0; i++) {
		rst_buf_append(&run->in, text + i, 1);
		ret = offer(run);
	}
	return ret;
}

static void expect_output(struct run *run, const char *want)
{
	struct rst_str out;

	out.p = rst_receiver_output(run->r, &out.n);
	ck_assert_rst_str_eq(out, want);
	rst_receiver_sent(run->r, out.n);
}

static void run_step(struct run *run, const struct step *step)
{
	size_t len = step->text == NULL ? 0 : strlen(step->text);

	switch (step->op) {
	case END:
		break;
	case IN:
		if (step->n > 0)
			len = (size_t)step->n;
		ck_assert_int_ge(server_sends(run, step->text, len), 0);
		break;
	case IN_FAIL:
		ck_assert_int_eq(server_sends(run, step->text, len), step->n);
		break;
	case OUT:
		expect_output(run, step->text);
		break;
	case EV:
		pull(run);
		ck_assert_rst_str_eq(rst_buf_view(&run->events), step->text);
		rst_buf_clear(&run->events);
		break;
	case OK:
		rst_receiver_done(run->r, (uint32_t)step->n, RST_VERDICT_OK,
				  step->text);
		break;
	case TEMPFAIL:
		rst_receiver_done(run->r, (uint32_t)step->n,
				  RST_VERDICT_TEMPFAIL, step->text);
		break;
	case REFUSED:
		rst_receiver_done(run->r, (uint32_t)step->n,
				  RST_VERDICT_REFUSED, step->text);
		break;
	case AHEAD:
		rst_receiver_say_ahead(run->r);
		break;
	case SEEN:
		run->seen = (uint32_t)step->n;
		break;
	case LEFT:
		ck_assert_int_eq((int64_t)run->in.used, step->n);
		break;
	case AGAIN:
		ck_assert_int_ge(offer(run), 0);
		break;
	case DEADLINE:
		ck_assert_int_eq(rst_receiver_deadline(run->r), step->n);
		break;
	case TICK:
		run->now_ms = step->n;
		rst_receiver_tick(run->r, run->now_ms);
		break;
	}
}

static void run_script(const struct script *script, bool cut)
{
	struct run run = {.r = rst_receiver_new(&limits, 0), .cut = cut};
	const struct step *step;

	for (step = script->steps; step->op != END; step++)
		run_step(&run, step);
	rst_buf_clear(&run.in);
	rst_buf_clear(&run.events);
	rst_receiver_free(&run.r);
	ck_assert_ptr_null(run.r);
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

/* A server that reads no reply is not read from either. */
START_TEST(test_replies_are_bounded)
{
	struct run run = {.r = rst_receiver_new(&limits, 0)};
	size_t len;
	int i;

	for (i = 0; i < 20000; i++)
		rst_buf_puts(&run.in, "NOOP\r\n");
	ck_assert_int_eq(offer(&run), 0);
	ck_assert_uint_gt(run.in.used, 60000);
	(void)rst_receiver_output(run.r, &len);
	ck_assert_uint_lt(len, 70000);
	rst_receiver_sent(run.r, len);
	ck_assert_int_ge(offer(&run), 0);
	ck_assert_uint_lt(run.in.used, 120000 - 15000);
	rst_buf_clear(&run.in);
	rst_receiver_free(&run.r);
}
END_TEST

/* The same while the replies wait behind a message. */
START_TEST(test_kept_replies_are_bounded)
{
	struct run run = {.r = rst_receiver_new(&limits, 0)};
	const char *begin = "EHLO x\r\n" MAIL "m1" RCPT "BDAT 0 LAST\r\n";
	int i;

	rst_buf_puts(&run.in, begin);
	for (i = 0; i < 20000; i++)
		rst_buf_puts(&run.in, "NOOP\r\n");
	ck_assert_int_eq(offer(&run), 0);
	ck_assert_uint_gt(run.in.used, 60000);
	rst_buf_clear(&run.in);
	rst_buf_clear(&run.events);
	rst_receiver_free(&run.r);
}
END_TEST

START_TEST(test_long_line)
{
	struct run run = {.r = rst_receiver_new(&limits, 0)};
	char line[RST_SMTP_LINE_MAX + 10];

	memset(line, 'x', sizeof(line));
	ck_assert_int_eq(server_sends(&run, line, sizeof(line)), RST_ELIMIT);
	rst_buf_clear(&run.in);
	rst_buf_clear(&run.events);
	rst_receiver_free(&run.r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("receiver");
	TCase *tc = tcase_create("scripts");

	tcase_add_loop_test(tc, test_script, 0, N_ELEMENTS(scripts));
	tcase_add_loop_test(tc, test_script_cut, 0, N_ELEMENTS(scripts));
	tcase_add_test(tc, test_replies_are_bounded);
	tcase_add_test(tc, test_kept_replies_are_bounded);
	tcase_add_test(tc, test_long_line);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
