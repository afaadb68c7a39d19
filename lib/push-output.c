/* SPDX-License-Identifier: MIT */
/*
 * Queued output and awaited replies. Every command gets one reply, in the
 * order of the commands, so a ring of awaited replies is all that has to be
 * known about the client. Octets are counted from the first of the session:
 * `sent` have left, `output.used` more are queued.
 */
#include "push-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Size of the ring at first. */
#define EXPECTED_FIRST 8

/* ---- awaited replies */

/* The ring is allocated while replies are awaited only: most clients are idle
   and cost nothing. The limits on unanswered messages and notices bound it. */
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

void rst_push_command(struct rst_push *p, const char *line,
		      enum push_command command)
{
	rst_buf_puts(&p->output, line);
	rst_push_expect(p, command, 0);
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

void rst_push_take_back(struct rst_push *p, uint64_t end)
{
	unsigned int last;

	p->output.used = (size_t)(end - p->sent);
	while (p->expected_count > 0) {
		last = (p->expected_start + p->expected_count - 1) %
		       p->expected_size;
		if (p->expected[last].after <= end)
			break;
		if (p->expected[last].command == PUSH_CMD_NOTICE)
			p->notices_out--;
		p->expected_count--;
	}
}

/* ---- messages that await their replies */

void rst_push_copy_text(char out[PUSH_TEXT_MAX], const char *text)
{
	(void)snprintf(out, PUSH_TEXT_MAX, "%s", text);
	rst_printable(out);
}

void rst_push_message_free(struct push_message *msg)
{
	if (msg != NULL)
		free(msg->rcpt_to);
	free(msg);
}

struct push_message *rst_push_oldest(const struct rst_push *p)
{
	struct push_message *msg = p->first;

	/* messages that could not be sent were decided without the client */
	while (msg->decided)
		msg = msg->next;
	return msg;
}

void rst_push_decide(struct rst_push *p, struct push_message *msg)
{
	msg->decided = true;
	p->undecided--;
}

/* ---- the message that is being fed */

static void feed_end(struct rst_push *p)
{
	if (p->feed == PUSH_FEED_DATA) {
		if (!p->ends_crlf)
			rst_buf_puts(&p->output, "\r\n");
		rst_push_command(p, ".\r\n", PUSH_CMD_DOT);
	}
	p->feed = PUSH_FEED_NONE;
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

/* RFC 5321 4.5.2. A dot after a bare LF is doubled too: some servers would
   take it for the end of the message. */
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

void rst_push_feed(struct rst_push *p, const char *buf, size_t n)
{
	if (p->feed == PUSH_FEED_BDAT)
		rst_buf_append(&p->output, buf, n);
	else if (p->feed == PUSH_FEED_DATA)
		append_stuffed(p, buf, n);
	p->feed_left -= n;
	if (p->feed_left == 0)
		feed_end(p);
}

/* ---- the end */

void rst_push_end(struct rst_push *p)
{
	p->state = PUSH_CLOSED;
	p->feed = PUSH_FEED_NONE;
	p->feed_left = 0;
	p->closed_event = true;
}

void rst_push_close(struct rst_push *p, int status, const char *text)
{
	rst_push_end(p);
	rst_push_copy_text(p->closed_text, text);
	p->closed_status = status;
	p->sent += p->output.used;
	rst_buf_clear(&p->output);
}

/* ---- octets that leave */

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
