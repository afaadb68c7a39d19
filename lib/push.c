/* SPDX-License-Identifier: MIT */
/*
 * Messages, input and time of the push machine; its states are in
 * push-private.h.
 *
 * A message is MAIL, RCPT and BDAT at once (extended), or one command per reply
 * (plain: push-reply.c). It stays in the list until its RESULT was pulled, so
 * results come in the order of the messages. Each event that may let a waiting
 * command go (a message has ended, a reply came) ends in rst_push_flush().
 */
#include "push-private.h"

#include <stdlib.h>
#include <string.h>

/** Octets of a whole reply. */
#define REPLY_MAX 8192

struct rst_push *rst_push_new(const struct rst_push_limits *limits,
			      int64_t now_ms)
{
	struct rst_push *p = rst_calloc(1, sizeof(*p));

	p->limits = *limits;
	if (p->limits.max_unanswered == 0)
		p->limits.max_unanswered = 1;
	p->last = &p->first;
	p->now_ms = now_ms;
	p->since_ms = now_ms;
	rst_push_expect(p, PUSH_CMD_GREETING, 0);
	return p;
}

void rst_push_free(struct rst_push **_p)
{
	struct rst_push *p = *_p;
	struct push_message *msg;

	*_p = NULL;
	if (p == NULL)
		return;
	while ((msg = p->first) != NULL) {
		p->first = msg->next;
		rst_push_message_free(msg);
	}
	rst_push_message_free(p->reported);
	rst_buf_clear(&p->forget);
	rst_buf_clear(&p->output);
	free(p->expected);
	free(p);
}

/* ---- results */

static bool next_result(struct rst_push *p, struct rst_push_event *ev_r)
{
	struct push_message *msg = p->first;

	if (msg == NULL || !msg->decided)
		return false;
	p->first = msg->next;
	if (p->first == NULL)
		p->last = &p->first;
	p->count--;
	p->reported = msg;
	ev_r->type = RST_PUSH_RESULT;
	ev_r->id = rst_str(msg->id);
	ev_r->verdict = msg->verdict;
	ev_r->code = msg->code;
	ev_r->text = rst_str(msg->text);
	return true;
}

bool rst_push_next(struct rst_push *p, struct rst_push_event *ev_r)
{
	rst_push_message_free(p->reported);
	p->reported = NULL;
	*ev_r = (struct rst_push_event){
		.extended = p->extended,
		.id = RST_STR(""),
		.text = RST_STR(""),
	};
	if (p->ready_event) {
		p->ready_event = false;
		ev_r->type = RST_PUSH_READY;
		return true;
	}
	if (next_result(p, ev_r))
		return true;
	if (!p->closed_event)
		return false;
	p->closed_event = false;
	ev_r->type = RST_PUSH_CLOSED;
	ev_r->text = rst_str(p->closed_text);
	return true;
}

unsigned int rst_push_unanswered(const struct rst_push *p)
{
	return p->undecided;
}

/* ---- messages */

bool rst_push_ready(const struct rst_push *p)
{
	if (p->state != PUSH_READY || p->quitting || p->leaving ||
	    p->feed != PUSH_FEED_NONE || p->output.used >= p->limits.max_output)
		return false;
	if (!p->extended)
		return p->count == 0 && p->expected_count == 0;
	return p->count < p->limits.max_unanswered;
}

static struct push_message *message_new(struct rst_push *p,
					const struct rst_push_message *src)
{
	struct push_message *msg = rst_calloc(1, sizeof(*msg));

	memcpy(msg->id, src->id.p,
	       src->id.n < RST_ID_MAX ? src->id.n : RST_ID_MAX);
	msg->rcpt_to = rst_str_dup(src->rcpt_to);
	msg->from = p->sent + p->output.used;
	*p->last = msg;
	p->last = &msg->next;
	p->count++;
	p->undecided++;
	return msg;
}

/* A message that cannot be sent to this client goes to the mailbox instead.
   @return NULL, or the text of its RESULT */
static const char *reason_to_refuse(const struct rst_push *p,
				    const struct rst_push_message *msg)
{
	if (!rst_push_id_valid(msg->id))
		return "550 5.6.0 identifier cannot be sent";
	if (!rst_smtp_address_valid(msg->mail_from))
		return "550 5.1.7 sender address cannot be sent";
	if (msg->rcpt_to.n == 0 || !rst_smtp_address_valid(msg->rcpt_to))
		return "550 5.1.3 recipient address cannot be sent";
	if (!p->has_smtputf8 && (rst_smtp_address_is_utf8(msg->mail_from) ||
				 rst_smtp_address_is_utf8(msg->rcpt_to)))
		return "550 5.6.7 client does not take UTF-8 addresses";
	if (p->max_size > 0 && msg->size > p->max_size)
		return "552 5.3.4 message larger than the client takes";
	return NULL;
}

static void refuse(struct rst_push *p, struct push_message *msg,
		   const char *text)
{
	msg->code = (unsigned int)strtoul(text, NULL, 10);
	msg->verdict = RST_VERDICT_REFUSED;
	rst_push_copy_text(msg->text, text);
	rst_push_decide(p, msg);
}

static void send_mail(struct rst_push *p, const struct rst_push_message *msg)
{
	rst_buf_puts(&p->output, "MAIL FROM:<");
	rst_buf_str(&p->output, msg->mail_from);
	rst_buf_puts(&p->output, ">");
	if (p->has_size)
		rst_buf_printf(&p->output, " SIZE=%llu",
			       (unsigned long long)msg->size);
	if (p->extended)
		rst_buf_puts(&p->output, " BODY=BINARYMIME");
	else if (p->has_8bitmime)
		rst_buf_puts(&p->output, " BODY=8BITMIME");
	if (rst_smtp_address_is_utf8(msg->mail_from) ||
	    rst_smtp_address_is_utf8(msg->rcpt_to))
		rst_buf_puts(&p->output, " SMTPUTF8");
	if (p->extended) {
		rst_buf_puts(&p->output, " XRESTANTE=");
		rst_buf_str(&p->output, msg->id);
	}
	rst_buf_puts(&p->output, "\r\n");
	rst_push_expect(p, PUSH_CMD_MAIL, 0);
}

static void send_rcpt_and_bdat(struct rst_push *p,
			       const struct rst_push_message *msg)
{
	rst_buf_puts(&p->output, "RCPT TO:<");
	rst_buf_str(&p->output, msg->rcpt_to);
	rst_buf_puts(&p->output, ">\r\n");
	rst_push_expect(p, PUSH_CMD_RCPT, 0);
	rst_buf_printf(&p->output, "BDAT %llu LAST\r\n",
		       (unsigned long long)msg->size);
	rst_push_expect(p, PUSH_CMD_BDAT, msg->size);
}

int rst_push_message(struct rst_push *p, const struct rst_push_message *src,
		     int64_t now_ms)
{
	struct push_message *msg;
	const char *reason;

	p->now_ms = now_ms;
	rst_push_flush(p);
	msg = message_new(p, src);
	reason = reason_to_refuse(p, src);
	if (reason != NULL) {
		refuse(p, msg, reason);
		return RST_EPERM;
	}
	p->since_ms = now_ms;
	p->feed_left = src->size;
	send_mail(p, src);
	if (p->extended) {
		send_rcpt_and_bdat(p, src);
		rst_push_feed_begin(p, PUSH_FEED_BDAT);
	} else {
		p->feed = PUSH_FEED_WAIT;
	}
	if (p->feed == PUSH_FEED_NONE) /* it has no octets */
		rst_push_flush(p);
	return 0;
}

size_t rst_push_octets(struct rst_push *p, const char *buf, size_t len,
		       int64_t now_ms)
{
	size_t room = rst_push_room(p), n = len < room ? len : room;

	p->now_ms = now_ms;
	if (n == 0)
		return 0;
	p->since_ms = now_ms;
	rst_push_feed(p, buf, n);
	if (p->feed == PUSH_FEED_NONE)
		rst_push_flush(p);
	return n;
}

/* ---- the end */

void rst_push_abort(struct rst_push *p, const char *reason)
{
	if (p->state != PUSH_CLOSED)
		rst_push_close(p, 0, reason);
}

void rst_push_quit(struct rst_push *p, int64_t now_ms)
{
	p->now_ms = now_ms;
	if (p->quitting || p->state == PUSH_CLOSED)
		return;
	p->quitting = true;
	if (p->expected_count == 0)
		p->since_ms = now_ms;
	rst_push_flush(p);
}

/* ---- input and time */

static int take_reply(struct rst_push *p, const struct rst_smtp_reply *reply,
		      int64_t now_ms)
{
	p->since_ms = now_ms;
	p->moved = false;
	if (rst_push_reply(p, reply) < 0) {
		rst_push_close(p, RST_EPROTO, "client replied out of turn");
		return RST_EPROTO;
	}
	if (p->leaving)
		rst_push_leave_on(p);
	return 0;
}

ssize_t rst_push_recv(struct rst_push *p, const char *buf, size_t len,
		      int64_t now_ms)
{
	struct rst_smtp_reply reply;
	size_t used = 0;
	ssize_t n;

	p->now_ms = now_ms;
	while (p->state != PUSH_CLOSED && used < len) {
		n = rst_smtp_reply_parse(buf + used, len - used, REPLY_MAX,
					 &reply);
		if (n == 0)
			break;
		if (n < 0) {
			rst_push_close(p, (int)n, "client sent no SMTP reply");
			break;
		}
		used += (size_t)n;
		if (take_reply(p, &reply, now_ms) < 0)
			break;
	}
	if (p->state == PUSH_CLOSED)
		return p->closed_status < 0 ? p->closed_status : (ssize_t)len;
	rst_push_flush(p);
	return (ssize_t)used;
}

/* Is it the client's turn, to read or to reply? */
static bool client_owes(const struct rst_push *p)
{
	if (p->output.used > 0)
		return true;
	/* while the rest of a chunk is not fed yet, it is our own turn */
	return p->expected_count > 0 &&
	       p->expected[p->expected_start].after <= p->sent;
}

int64_t rst_push_deadline(const struct rst_push *p)
{
	if (p->state == PUSH_CLOSED)
		return -1;
	if (rst_push_notice_waits(p) && rst_push_may_notice(p))
		return p->now_ms;
	if (client_owes(p))
		return p->since_ms + p->limits.reply_timeout_ms;
	if (p->state == PUSH_READY && p->feed == PUSH_FEED_NONE &&
	    !p->leaving && p->limits.keepalive_ms > 0)
		return p->since_ms + p->limits.keepalive_ms;
	return -1;
}

void rst_push_tick(struct rst_push *p, int64_t now_ms)
{
	int64_t deadline;
	bool owed = client_owes(p);

	p->now_ms = now_ms;
	if (p->state == PUSH_CLOSED)
		return;
	rst_push_flush(p);
	if (!owed && client_owes(p))
		p->since_ms = now_ms;
	deadline = rst_push_deadline(p);
	if (deadline < 0 || now_ms < deadline)
		return;
	if (p->moved) {
		p->moved = false;
		p->since_ms = now_ms;
	} else if (client_owes(p)) {
		rst_push_close(p, 0, "client did not answer in time");
	} else {
		rst_push_command(p, "NOOP\r\n", PUSH_CMD_NOOP);
		p->since_ms = now_ms;
	}
}
