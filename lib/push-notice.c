/* SPDX-License-Identifier: MIT */
/*
 * Commands that are no part of a message: SUMMARY, FORGET, and QUIT at the
 * end. They stand between messages, never inside a chunk.
 */
#include "push-private.h"

#define FORGET_LINE_IDS 16
/* What waits is bounded: an id that is dropped costs the client one line in
   its seen-log. */
#define FORGET_MAX (128 * 1024)

bool rst_push_may_notice(const struct rst_push *p)
{
	/* inside a chunk it would become part of the message */
	return p->extended && p->state == PUSH_READY && !p->leaving &&
	       p->feed == PUSH_FEED_NONE &&
	       p->notices_out < PUSH_NOTICES_OUT_MAX;
}

bool rst_push_notice_waits(const struct rst_push *p)
{
	return p->summary_waits || p->forget.used > 0;
}

static void notice_sent(struct rst_push *p)
{
	rst_push_expect(p, PUSH_CMD_NOTICE, 0);
	p->notices_out++;
	p->moved = true;
}

static void send_summary(struct rst_push *p)
{
	rst_buf_printf(&p->output, "XRESTANTE SUMMARY %llu %llu\r\n",
		       (unsigned long long)p->summary_messages,
		       (unsigned long long)p->summary_octets);
	p->summary_waits = false;
	notice_sent(p);
}

/* The length of the first ids that wait, as many as one line holds. */
static size_t forget_line_length(const struct rst_push *p, unsigned int *ids_r)
{
	struct rst_str ids = rst_buf_view(&p->forget);
	size_t i;

	*ids_r = 0;
	for (i = 0; i < ids.n; i++) {
		if (ids.p[i] == ' ' && (*ids_r)++ == FORGET_LINE_IDS) {
			*ids_r = FORGET_LINE_IDS;
			break;
		}
	}
	return i;
}

static void send_forget(struct rst_push *p)
{
	unsigned int ids;
	size_t n = forget_line_length(p, &ids);

	rst_buf_puts(&p->output, "XRESTANTE FORGET");
	rst_buf_append(&p->output, p->forget.data + p->forget.start, n);
	rst_buf_puts(&p->output, "\r\n");
	rst_buf_take(&p->forget, n);
	notice_sent(p);
}

static bool quit_may_go(const struct rst_push *p)
{
	return p->quitting && p->state == PUSH_READY &&
	       p->feed == PUSH_FEED_NONE && p->expected_count == 0 &&
	       !rst_push_notice_waits(p);
}

void rst_push_flush(struct rst_push *p)
{
	if (p->leaving) {
		rst_push_leave_on(p);
		return;
	}
	if (p->summary_waits && rst_push_may_notice(p))
		send_summary(p);
	while (p->forget.used > 0 && rst_push_may_notice(p))
		send_forget(p);
	if (quit_may_go(p)) {
		rst_buf_puts(&p->output, "QUIT\r\n");
		rst_push_expect(p, PUSH_CMD_QUIT, 0);
		p->state = PUSH_QUIT;
	}
}

void rst_push_summary(struct rst_push *p, uint64_t messages, uint64_t octets)
{
	if (!p->extended || p->state != PUSH_READY)
		return;
	p->summary_waits = true;
	p->summary_messages = messages;
	p->summary_octets = octets;
	if (rst_push_may_notice(p))
		send_summary(p);
}

bool rst_push_id_valid(struct rst_str id)
{
	size_t i;

	for (i = 0; i < id.n; i++) {
		/* '=' may not stand in the value of a parameter */
		if (id.p[i] <= ' ' || id.p[i] > '~' || id.p[i] == '=')
			return false;
	}
	return id.n > 0 && id.n <= PUSH_ID_MAX;
}

void rst_push_forget(struct rst_push *p, struct rst_str id)
{
	unsigned int ids;

	if (!p->extended || p->state != PUSH_READY || !rst_push_id_valid(id) ||
	    p->forget.used + id.n >= FORGET_MAX)
		return;
	rst_buf_puts(&p->forget, " ");
	rst_buf_str(&p->forget, id);
	/* fewer wait until _recv, _message or _tick: more may come */
	(void)forget_line_length(p, &ids);
	if (ids == FORGET_LINE_IDS && rst_push_may_notice(p))
		send_forget(p);
}
