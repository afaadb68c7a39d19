/* SPDX-License-Identifier: MIT */
/*
 * The meaning of the client's replies. Each answers the oldest command without
 * a reply. In extended mode three replies are on the way for every message, and
 * the first that is not 2xx decides about it. In plain mode each reply decides
 * which command is sent next:
 *
 *   MAIL --2xx--> RCPT --2xx--> DATA --354--> text, "." --any--> decided
 *   any other reply: decided, and the text is thrown away
 */
#include "push-private.h"

#include <stdio.h>

/* One line of printable ASCII, whatever the client sent. */
static void reply_text(const struct rst_smtp_reply *reply,
		       char text[PUSH_TEXT_MAX])
{
	(void)snprintf(text, PUSH_TEXT_MAX, "%u%s%.*s%s%.*s", reply->code,
		       reply->enhanced.n > 0 ? " " : "", (int)reply->enhanced.n,
		       reply->enhanced.p, reply->text.n > 0 ? " " : "",
		       (int)reply->text.n, reply->text.p);
	rst_printable(text);
}

static void close_with_reply(struct rst_push *p,
			     const struct rst_smtp_reply *reply)
{
	char text[PUSH_TEXT_MAX];

	reply_text(reply, text);
	rst_push_close(p, 0, text);
}

/* The first reply that is not 2xx counts, else the last one. */
static void message_reply(struct push_message *msg,
			  const struct rst_smtp_reply *reply)
{
	if (msg->code >= 300)
		return;
	msg->code = reply->code;
	msg->verdict = reply->code < 300   ? RST_VERDICT_OK
		       : reply->code < 500 ? RST_VERDICT_TEMPFAIL
					   : RST_VERDICT_REFUSED;
	reply_text(reply, msg->text);
}

static int greeting(struct rst_push *p, const struct rst_smtp_reply *reply)
{
	if (reply->code != 220) {
		close_with_reply(p, reply);
		return 0;
	}
	rst_buf_printf(&p->output, "EHLO %s\r\n", p->limits.hostname);
	rst_push_expect(p, PUSH_CMD_EHLO, 0);
	p->state = PUSH_EHLO;
	return 0;
}

struct offers {
	bool xrestante, pipelining, chunking, binarymime;
};

static void offer(struct rst_push *p, struct rst_str line, struct offers *o)
{
	struct rst_str word;

	if (!rst_str_split(&line, ' ', &word))
		return;
	if (rst_str_case_eq(word, RST_STR("XRESTANTE")))
		o->xrestante = true;
	else if (rst_str_case_eq(word, RST_STR("PIPELINING")))
		o->pipelining = true;
	else if (rst_str_case_eq(word, RST_STR("CHUNKING")))
		o->chunking = true;
	else if (rst_str_case_eq(word, RST_STR("BINARYMIME")))
		o->binarymime = true;
	else if (rst_str_case_eq(word, RST_STR("8BITMIME")))
		p->has_8bitmime = true;
	else if (rst_str_case_eq(word, RST_STR("SMTPUTF8")))
		p->has_smtputf8 = true;
	else if (rst_str_case_eq(word, RST_STR("SIZE"))) {
		p->has_size = true;
		if (!rst_str_split(&line, ' ', &word) ||
		    !rst_str_to_u64(word, &p->max_size))
			p->max_size = 0;
	}
}

static void become_ready(struct rst_push *p)
{
	p->state = PUSH_READY;
	p->ready_event = true;
}

static int ehlo_reply(struct rst_push *p, const struct rst_smtp_reply *reply)
{
	struct rst_str lines = reply->lines, line;
	struct offers o = {0};

	if (reply->code >= 500) {
		rst_buf_printf(&p->output, "HELO %s\r\n", p->limits.hostname);
		rst_push_expect(p, PUSH_CMD_HELO, 0);
		p->state = PUSH_HELO;
		return 0;
	}
	if (reply->code != 250) {
		close_with_reply(p, reply);
		return 0;
	}
	/* the first line is the client's name */
	(void)rst_smtp_reply_line(&lines, &line);
	while (rst_smtp_reply_line(&lines, &line))
		offer(p, line, &o);
	p->extended = o.xrestante && o.pipelining && o.chunking &&
		      o.binarymime && p->has_8bitmime;
	become_ready(p);
	return 0;
}

static int helo_reply(struct rst_push *p, const struct rst_smtp_reply *reply)
{
	if (reply->code == 250)
		become_ready(p);
	else
		close_with_reply(p, reply);
	return 0;
}

/* Extended: MAIL, RCPT and BDAT were sent at once. */
static int pipelined_reply(struct rst_push *p, enum push_command what,
			   const struct rst_smtp_reply *reply)
{
	struct push_message *msg = rst_push_oldest(p);

	message_reply(msg, reply);
	if (what == PUSH_CMD_BDAT)
		rst_push_decide(p, msg);
	return 0;
}

/* Plain: the next command waited for this reply. */
static int plain_reply(struct rst_push *p, enum push_command what,
		       const struct rst_smtp_reply *reply)
{
	struct push_message *msg = rst_push_oldest(p);
	bool go_on =
		what == PUSH_CMD_DATA ? reply->code == 354 : reply->code < 300;

	if (!go_on || what == PUSH_CMD_DOT) {
		message_reply(msg, reply);
		/* MAIL was accepted: its transaction has to be ended */
		if (what == PUSH_CMD_RCPT || what == PUSH_CMD_DATA)
			rst_push_command(p, "RSET\r\n", PUSH_CMD_RSET);
		if (what != PUSH_CMD_DOT)
			rst_push_feed_begin(p, PUSH_FEED_DISCARD);
		rst_push_decide(p, msg);
	} else if (what == PUSH_CMD_MAIL) {
		rst_buf_printf(&p->output, "RCPT TO:<%s>\r\n", msg->rcpt_to);
		rst_push_expect(p, PUSH_CMD_RCPT, 0);
	} else if (what == PUSH_CMD_RCPT) {
		rst_push_command(p, "DATA\r\n", PUSH_CMD_DATA);
	} else {
		rst_push_feed_begin(p, PUSH_FEED_DATA);
	}
	return 0;
}

static int message_command_reply(struct rst_push *p, enum push_command what,
				 const struct rst_smtp_reply *reply)
{
	bool intermediate = reply->code >= 300 && reply->code < 400;

	/* only DATA is answered 3xx, and never 2xx */
	if (what == PUSH_CMD_DATA ? reply->code < 400 && reply->code != 354
				  : intermediate)
		return RST_EPROTO;
	return p->extended ? pipelined_reply(p, what, reply)
			   : plain_reply(p, what, reply);
}

static int dispatch(struct rst_push *p, enum push_command what,
		    const struct rst_smtp_reply *reply)
{
	switch (what) {
	case PUSH_CMD_GREETING:
		return greeting(p, reply);
	case PUSH_CMD_EHLO:
		return ehlo_reply(p, reply);
	case PUSH_CMD_HELO:
		return helo_reply(p, reply);
	case PUSH_CMD_MAIL:
	case PUSH_CMD_RCPT:
	case PUSH_CMD_BDAT:
	case PUSH_CMD_DATA:
	case PUSH_CMD_DOT:
		return message_command_reply(p, what, reply);
	case PUSH_CMD_NOTICE:
		p->notices_out--;
		return 0;
	case PUSH_CMD_RSET:
	case PUSH_CMD_NOOP:
		/* any reply shows that the client lives and is in step */
		return 0;
	case PUSH_CMD_QUIT:
	case PUSH_CMD_CLOSE:
		close_with_reply(p, reply);
		return 0;
	}
	return RST_EPROTO;
}

int rst_push_reply(struct rst_push *p, const struct rst_smtp_reply *reply)
{
	if (reply->code == 421) {
		close_with_reply(p, reply);
		return 0;
	}
	if (p->expected_count == 0 ||
	    p->expected[p->expected_start].after > p->sent)
		return RST_EPROTO;
	return dispatch(p, rst_push_expected_take(p).command, reply);
}
