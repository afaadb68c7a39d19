/* SPDX-License-Identifier: MIT */
/*
 * Commands, octets and time. Whatever is written is answered in order, so a
 * ring of what is awaited is all that is known about the other side.
 */
#include "push-private.h"

#include <stdlib.h>
#include <string.h>

#define REPLY_MAX 8192
/** replies that there is room for at first */
#define EXPECTED_FIRST 8

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

void rst_push_message_free(struct push_message *msg)
{
	if (msg != NULL)
		free(msg->rcpt_to);
	free(msg);
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

/* A client that is owed nothing, as most are, costs nothing. What bounds the
   ring is how many messages and notices may be without a reply. */
static void expect_more(struct rst_push *p)
{
	unsigned int i, size = p->expected_size;
	unsigned int wider = size == 0 ? EXPECTED_FIRST : size * 2;
	struct push_expected *ring = rst_calloc(wider, sizeof(*ring));

	for (i = 0; i < p->expected_count; i++)
		ring[i] = p->expected[(p->expected_start + i) % size];
	free(p->expected);
	p->expected = ring;
	p->expected_size = wider;
	p->expected_start = 0;
}

void rst_push_expect(struct rst_push *p, enum push_command command,
		     uint64_t octets)
{
	uint64_t queued = p->sent + p->output.used;
	unsigned int end;

	if (p->expected_count == p->expected_size)
		expect_more(p);
	end = (p->expected_start + p->expected_count) % p->expected_size;
	p->expected[end] = (struct push_expected){
		.command = command,
		.after = octets > UINT64_MAX - queued ? UINT64_MAX
						      : queued + octets,
	};
	/* a client may say at its sign-in what it will reply */
	if (command == PUSH_CMD_EHLO)
		p->expected[end].after = 0;
	p->expected_count++;
}

struct push_expected rst_push_expected_take(struct rst_push *p)
{
	struct push_expected first = p->expected[p->expected_start];

	p->expected_start = (p->expected_start + 1) % p->expected_size;
	if (--p->expected_count == 0) {
		free(p->expected);
		p->expected = NULL;
		p->expected_size = 0;
		p->expected_start = 0;
	}
	return first;
}

void rst_push_copy_text(char out[PUSH_TEXT_MAX], struct rst_str text)
{
	size_t i, n = text.n < PUSH_TEXT_MAX ? text.n : PUSH_TEXT_MAX - 1;

	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		out[i] = c < ' ' || c > '~' ? '?' : (char)c;
	}
	out[n] = '\0';
}

void rst_push_end(struct rst_push *p)
{
	p->state = PUSH_CLOSED;
	p->feed = PUSH_FEED_NONE;
	p->feed_left = 0;
	p->closed_event = true;
}

void rst_push_close(struct rst_push *p, int status, struct rst_str text)
{
	rst_push_end(p);
	rst_push_copy_text(p->closed_text, text);
	p->closed_status = status;
	p->sent += p->output.used;
	rst_buf_clear(&p->output);
}

/* --- results */

struct push_message *rst_push_oldest(const struct rst_push *p)
{
	struct push_message *msg = p->first;

	/* we have decided ourselves about what could not be sent */
	while (msg->decided)
		msg = msg->next;
	return msg;
}

void rst_push_decide(struct rst_push *p, struct push_message *msg)
{
	msg->decided = true;
	p->undecided--;
}

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

/* --- messages */

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
	       src->id.n < PUSH_ID_MAX ? src->id.n : PUSH_ID_MAX);
	msg->rcpt_to = rst_str_dup(src->rcpt_to);
	msg->from = p->sent + p->output.used;
	*p->last = msg;
	p->last = &msg->next;
	p->count++;
	p->undecided++;
	return msg;
}

/* Can it be sent to this client? What cannot goes to the mailbox instead. */
static const char *why_not(const struct rst_push *p,
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
	rst_push_copy_text(msg->text, rst_str(text));
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
	reason = why_not(p, src);
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
	return 0;
}

/* --- octets */

static void feed_end(struct rst_push *p)
{
	if (p->feed == PUSH_FEED_DATA) {
		if (!p->ends_crlf)
			rst_buf_puts(&p->output, "\r\n");
		rst_buf_puts(&p->output, ".\r\n");
		rst_push_expect(p, PUSH_CMD_DOT, 0);
	}
	p->feed = PUSH_FEED_NONE;
	rst_push_flush(p);
}

void rst_push_feed_begin(struct rst_push *p, enum push_feed feed)
{
	p->feed = feed;
	p->at_line_start = true;
	p->ends_crlf = true;
	p->last_octet = '\n';
	if (p->feed_left == 0)
		feed_end(p);
}

size_t rst_push_room(const struct rst_push *p)
{
	size_t room;

	if (p->feed == PUSH_FEED_NONE || p->feed == PUSH_FEED_WAIT)
		return 0;
	if (p->feed == PUSH_FEED_DISCARD)
		return p->feed_left < SIZE_MAX ? (size_t)p->feed_left
					       : SIZE_MAX;
	if (p->output.used >= p->limits.max_output)
		return 0;
	room = p->limits.max_output - p->output.used;
	if (p->feed == PUSH_FEED_DATA)
		room -= room / 2; /* each line of one dot becomes two */
	return p->feed_left < room ? (size_t)p->feed_left : room;
}

/* RFC 5321 4.5.2. A dot after a bare LF is doubled too: there are peers that
   would take it for the end of the message. */
static void append_stuffed(struct rst_push *p, const char *buf, size_t len)
{
	const char *lf;
	size_t n;

	p->ends_crlf = buf[len - 1] == '\n' &&
		       (len > 1 ? buf[len - 2] : p->last_octet) == '\r';
	p->last_octet = buf[len - 1];
	for (; len > 0; buf += n, len -= n) {
		if (p->at_line_start && *buf == '.')
			rst_buf_puts(&p->output, ".");
		lf = memchr(buf, '\n', len);
		n = lf == NULL ? len : (size_t)(lf - buf) + 1;
		rst_buf_append(&p->output, buf, n);
		p->at_line_start = lf != NULL;
	}
}

size_t rst_push_octets(struct rst_push *p, const char *buf, size_t len,
		       int64_t now_ms)
{
	size_t room = rst_push_room(p), n = len < room ? len : room;

	p->now_ms = now_ms;
	if (n == 0)
		return 0;
	p->since_ms = now_ms;
	if (p->feed == PUSH_FEED_BDAT)
		rst_buf_append(&p->output, buf, n);
	else if (p->feed == PUSH_FEED_DATA)
		append_stuffed(p, buf, n);
	p->feed_left -= n;
	if (p->feed_left == 0)
		feed_end(p);
	return n;
}

/* --- the end */

void rst_push_abort(struct rst_push *p, const char *reason)
{
	if (p->state != PUSH_CLOSED)
		rst_push_close(p, 0, rst_str(reason));
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

/* --- input, output, time */

static int take_reply(struct rst_push *p, const struct rst_smtp_reply *reply,
		      int64_t now_ms)
{
	p->since_ms = now_ms;
	p->moved = false;
	if (rst_push_reply(p, reply) < 0) {
		rst_push_close(p, RST_EPROTO,
			       RST_STR("client replied out of turn"));
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
			rst_push_close(p, (int)n,
				       RST_STR("client sent no SMTP reply"));
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

const char *rst_push_output(const struct rst_push *p, size_t *len_r)
{
	struct rst_str out = rst_buf_view(&p->output);

	*len_r = out.n;
	return out.p;
}

void rst_push_sent(struct rst_push *p, size_t n)
{
	rst_buf_take(&p->output, n);
	p->sent += n;
	/* a large message on a slow line is no silence of the client */
	if (p->output.used > 0)
		p->moved = true;
}

/* Is it the client's turn to do something? */
static bool client_owes(const struct rst_push *p)
{
	if (p->output.used > 0)
		return true;
	/* a chunk whose rest we have not been fed yet is our own turn */
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
		rst_push_close(p, 0, RST_STR("client did not answer in time"));
	} else {
		rst_buf_puts(&p->output, "NOOP\r\n");
		rst_push_expect(p, PUSH_CMD_NOOP, 0);
		p->since_ms = now_ms;
	}
}
