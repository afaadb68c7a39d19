/* SPDX-License-Identifier: MIT */
/*
 * Octets in, events out, and time. The kind of the next octets:
 *
 *   COMMAND --BDAT--> CHUNK --size octets--> COMMAND
 *           --DATA--> TEXT --CRLF.CRLF--> COMMAND
 *
 * The octets of a message are copied to `scratch`, where the views of events
 * point, so nothing is read before all events were pulled. Input is not taken
 * either while too many messages are unanswered or too many replies unread.
 * QUIT, CLOSE, a time-out or a fault set `closing`, from which there is no way
 * back; CLOSED is then the last event.
 */
#include "receiver-private.h"

#include <stdlib.h>
#include <string.h>

/** Octets of messages in the events of one _recv(). */
#define SCRATCH_MAX 65536
/** Octets of replies that the server may leave unread. */
#define REPLIES_MAX 65536

struct rst_receiver *rst_receiver_new(const struct rst_receiver_limits *limits,
				      int64_t now_ms)
{
	struct rst_receiver *r = rst_calloc(1, sizeof(*r));

	r->limits = *limits;
	if (r->limits.max_pending == 0)
		r->limits.max_pending = 1;
	r->since_ms = now_ms;
	rst_buf_printf(&r->output, "220 %s ESMTP Restante\r\n",
		       limits->hostname);
	return r;
}

void rst_receiver_free(struct rst_receiver **_r)
{
	struct rst_receiver *r = *_r;

	*_r = NULL;
	if (r == NULL)
		return;
	rst_receiver_transaction_free(r);
	rst_buf_clear(&r->output);
	rst_buf_clear(&r->scratch);
	free(r->closed_text);
	free(r);
}

void rst_receiver_say_ahead(struct rst_receiver *r)
{
	rst_receiver_ehlo_reply(r);
	r->ahead = true;
}

/* ---- events */

static struct rst_str span_view(const struct rst_receiver *r,
				struct receiver_span span)
{
	if (span.n == 0)
		return RST_STR("");
	return (struct rst_str){rst_buf_view(&r->scratch).p + span.at, span.n};
}

static struct rst_receiver_event empty_event(void)
{
	return (struct rst_receiver_event){
		.id = RST_STR(""),
		.mail_from = RST_STR(""),
		.rcpt_to = RST_STR(""),
		.octets = RST_STR(""),
		.text = RST_STR(""),
	};
}

static void fill_event(const struct rst_receiver *r,
		       const struct receiver_slot *slot,
		       struct rst_receiver_event *ev_r)
{
	ev_r->type = slot->ev.type;
	ev_r->ticket = slot->ev.ticket;
	ev_r->size = slot->ev.size;
	ev_r->messages = slot->ev.messages;
	ev_r->total_octets = slot->ev.total_octets;
	if (slot->ev.type == RST_RECEIVER_OCTETS)
		ev_r->octets = span_view(r, slot->a);
	else
		ev_r->id = span_view(r, slot->a);
	ev_r->mail_from = span_view(r, slot->b);
	ev_r->rcpt_to = span_view(r, slot->c);
}

bool rst_receiver_next(struct rst_receiver *r, struct rst_receiver_event *ev_r)
{
	const struct receiver_slot *slot;

	*ev_r = empty_event();
	while (r->events_count > 0) {
		slot = &r->events[r->events_start];
		r->events_start = (r->events_start + 1) % RECEIVER_EVENTS;
		r->events_count--;
		if (!slot->skip) {
			fill_event(r, slot, ev_r);
			return true;
		}
	}
	if (!r->closing || r->closed_said || (r->pending > 0 && !r->hurry))
		return false;
	r->closed_said = true;
	ev_r->type = RST_RECEIVER_CLOSED;
	ev_r->text = rst_str(r->closed_text);
	ev_r->drained = r->drained;
	return true;
}

/* ---- BDAT */

static ssize_t take_chunk(struct rst_receiver *r, const char *buf, size_t len)
{
	size_t n = r->chunk_left < len ? (size_t)r->chunk_left : len;

	if (r->chunk_refused == NULL)
		rst_receiver_octets(r, buf, n);
	r->chunk_left -= n;
	if (r->chunk_left == 0)
		rst_receiver_chunk_end(r);
	return (ssize_t)n;
}

/* ---- DATA */

static void text_octets(struct rst_receiver *r, const char *buf, size_t n)
{
	uint64_t max = r->limits.max_message_size;

	if (max > 0 && n > max - r->total) {
		n = (size_t)(max - r->total);
		r->text_too_large = true;
	}
	r->total += n;
	rst_receiver_octets(r, buf, n);
	if (r->text_too_large)
		rst_receiver_cancel(r);
}

static void text_end(struct rst_receiver *r)
{
	r->mode = RECEIVER_COMMAND;
	if (r->text_too_large)
		rst_receiver_reply(r, "552 5.3.4 Message too large");
	else
		rst_receiver_end(r);
	rst_receiver_reset(r);
}

/* Take the octets up to a CR, and the CR: none before it means anything. */
static size_t text_run(struct rst_receiver *r, const char *buf, size_t len)
{
	const char *cr = memchr(buf, '\r', len);
	size_t n = cr == NULL ? len : (size_t)(cr - buf) + 1;

	text_octets(r, buf, n);
	r->text = cr == NULL ? TEXT_INSIDE : TEXT_CR;
	return n;
}

/* Only CRLF.CRLF ends a message: nothing can be smuggled past a bare LF.
   @return octets used, of at least one */
static size_t text_step(struct rst_receiver *r, const char *buf, size_t len)
{
	switch (r->text) {
	case TEXT_LINE_START:
		if (*buf != '.')
			break;
		r->text = TEXT_DOT;
		return 1;
	case TEXT_DOT:
		if (*buf != '\r')
			break;
		r->text = TEXT_DOT_CR;
		return 1;
	case TEXT_DOT_CR:
		if (*buf != '\n') {
			text_octets(r, "\r", 1);
			break;
		}
		text_end(r);
		return 1;
	case TEXT_CR:
		if (*buf != '\n')
			break;
		text_octets(r, "\n", 1);
		r->text = TEXT_LINE_START;
		return 1;
	case TEXT_INSIDE:
		break;
	}
	return text_run(r, buf, len);
}

static ssize_t take_text(struct rst_receiver *r, const char *buf, size_t len)
{
	size_t used = 0;

	while (used < len && r->mode == RECEIVER_TEXT)
		used += text_step(r, buf + used, len - used);
	return (ssize_t)used;
}

/* ---- input, output, time */

static int fail(struct rst_receiver *r, int status, const char *text)
{
	rst_receiver_closing(r, rst_str(text));
	r->hurry = true;
	r->status = status;
	return status;
}

static ssize_t take_line(struct rst_receiver *r, const char *buf, size_t len)
{
	struct rst_str line;
	ssize_t n = rst_smtp_line(buf, len, RST_SMTP_LINE_MAX, &line);

	if (n < 0) {
		rst_receiver_reply(r, "500 5.5.2 Not a line");
		return fail(r, (int)n, "server sent no SMTP line");
	}
	if (n > 0 && rst_receiver_command(r, line) < 0)
		return fail(r, RST_EPROTO, "server sent a malformed BDAT");
	return n;
}

static bool may_take(const struct rst_receiver *r)
{
	return !r->closing && r->scratch.used < SCRATCH_MAX &&
	       r->events_count + RECEIVER_STEP_EVENTS <= RECEIVER_EVENTS &&
	       r->pending < r->limits.max_pending &&
	       r->output.used + r->replies_waiting < REPLIES_MAX;
}

static ssize_t take(struct rst_receiver *r, const char *buf, size_t len)
{
	if (r->mode == RECEIVER_COMMAND)
		return take_line(r, buf, len);
	if (len > SCRATCH_MAX - r->scratch.used)
		len = SCRATCH_MAX - r->scratch.used;
	if (r->mode == RECEIVER_CHUNK)
		return take_chunk(r, buf, len);
	return take_text(r, buf, len);
}

ssize_t rst_receiver_recv(struct rst_receiver *r, const char *buf, size_t len,
			  int64_t now_ms)
{
	size_t used = 0;
	ssize_t n;

	if (r->status < 0)
		return r->status;
	if (r->closing)
		return (ssize_t)len;
	if (len > 0) {
		r->since_ms = now_ms;
		r->moved = false;
	}
	if (r->events_count > 0)
		return 0; /* their octets are in `scratch` */
	rst_buf_clear(&r->scratch);
	while (used < len && may_take(r)) {
		n = take(r, buf + used, len - used);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return r->closing ? (ssize_t)len : (ssize_t)used;
}

const char *rst_receiver_output(const struct rst_receiver *r, size_t *len_r)
{
	struct rst_str out = rst_buf_view(&r->output);

	*len_r = out.n;
	return out.p;
}

void rst_receiver_sent(struct rst_receiver *r, size_t n)
{
	rst_buf_take(&r->output, n);
}

int64_t rst_receiver_deadline(const struct rst_receiver *r)
{
	/* while the caller owes an answer, the silence is ours */
	if (r->closing || r->pending > 0 || r->limits.idle_timeout_ms <= 0)
		return -1;
	return r->since_ms + r->limits.idle_timeout_ms;
}

void rst_receiver_tick(struct rst_receiver *r, int64_t now_ms)
{
	int64_t deadline = rst_receiver_deadline(r);

	if (deadline < 0 || now_ms < deadline)
		return;
	if (r->moved) {
		r->moved = false;
		r->since_ms = now_ms;
		return;
	}
	rst_receiver_reply(r, "421 4.4.2 Nothing was heard for too long");
	rst_receiver_closing(r, RST_STR("server was silent for too long"));
	r->hurry = true;
}
