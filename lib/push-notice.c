/* SPDX-License-Identifier: MIT */
/*
 * Commands that belong to no message: SUMMARY, FORGET, and CLOSE or QUIT at
 * the end. They stand between messages, never inside a chunk, where they would
 * become part of the message. Those that cannot be sent yet wait, and
 * rst_push_flush() sends them.
 *
 * Leaving: messages of which no octet has left are taken back; the others are
 * finished, and the client may answer them.
 */
#include "push-private.h"

/** doc/protocol-xrestante.md, section 5 */
#define FORGET_LINE_IDS 16
/* Octets of ids that wait. An id dropped at this limit costs the client one
   line in its seen-log. */
#define FORGET_MAX (128 * 1024)

bool rst_push_may_notice(const struct rst_push *p)
{
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

/* ---- SUMMARY */

static void send_summary(struct rst_push *p)
{
	rst_buf_printf(&p->output, "XRESTANTE SUMMARY %llu %llu\r\n",
		       (unsigned long long)p->summary_messages,
		       (unsigned long long)p->summary_octets);
	p->summary_waits = false;
	notice_sent(p);
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

/* ---- FORGET */

bool rst_push_id_valid(struct rst_str id)
{
	size_t i;

	for (i = 0; i < id.n; i++) {
		/* '=' may not stand in the value of a parameter */
		if (id.p[i] <= ' ' || id.p[i] > '~' || id.p[i] == '=')
			return false;
	}
	return id.n > 0 && id.n <= RST_ID_MAX;
}

/* The octets of the first waiting ids, as many as one line holds. */
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

void rst_push_forget(struct rst_push *p, struct rst_str id)
{
	unsigned int ids;

	if (!p->extended || p->state != PUSH_READY || !rst_push_id_valid(id) ||
	    p->forget.used + id.n >= FORGET_MAX)
		return;
	rst_buf_puts(&p->forget, " ");
	rst_buf_str(&p->forget, id);
	/* a line that is not full waits until the next _flush(): more ids may
	   come */
	(void)forget_line_length(p, &ids);
	if (ids == FORGET_LINE_IDS && rst_push_may_notice(p))
		send_forget(p);
}

/* ---- leaving */

/* @return the link to the first message of which no octet has left; the end of
   the list if there is none */
static struct push_message **first_unbegun(struct rst_push *p)
{
	struct push_message **link = &p->first;

	/* a message that we refused ourselves has no octets, but a result */
	while (*link != NULL && ((*link)->decided || (*link)->from < p->sent))
		link = &(*link)->next;
	return link;
}

/* Drop the undecided messages from `link` on, without a RESULT. */
static void drop_messages(struct rst_push *p, struct push_message **link)
{
	struct push_message *msg;

	while ((msg = *link) != NULL) {
		if (msg->decided) {
			link = &msg->next;
			continue;
		}
		*link = msg->next;
		p->count--;
		p->undecided--;
		rst_push_message_free(msg);
	}
	p->last = link;
}

/* Extended. The message being fed, if there is one, is the last. */
static void drop_unbegun(struct rst_push *p)
{
	struct push_message **link = first_unbegun(p);

	if (*link == NULL)
		return;
	rst_push_take_back(p, (*link)->from);
	drop_messages(p, link);
	if (p->feed == PUSH_FEED_BDAT)
		p->feed = PUSH_FEED_DISCARD;
}

/* Plain. Before its text no message has begun to leave. */
static void drop_undelivered(struct rst_push *p)
{
	if (p->feed != PUSH_FEED_WAIT)
		return;
	/* after DATA, QUIT would be text of the message: it is not said */
	p->close_said = p->expected_count > 0 &&
			p->expected[p->expected_start].command == PUSH_CMD_DATA;
	drop_messages(p, &p->first);
	p->feed = PUSH_FEED_DISCARD;
}

static void say_close(struct rst_push *p)
{
	if (p->close_said)
		return;
	p->close_said = true;
	if (!p->extended) {
		rst_push_command(p, "QUIT\r\n", PUSH_CMD_CLOSE);
		return;
	}
	rst_buf_printf(&p->output, "XRESTANTE CLOSE %s\r\n", p->closed_text);
	rst_push_expect(p, PUSH_CMD_CLOSE, 0);
}

void rst_push_leave_on(struct rst_push *p)
{
	/* a command would become part of the message */
	if (p->state != PUSH_READY || p->feed == PUSH_FEED_BDAT ||
	    p->feed == PUSH_FEED_DATA)
		return;
	/* only an extended client understands it before its last answer */
	if (p->extended || p->undecided == 0)
		say_close(p);
	if (p->undecided == 0)
		rst_push_end(p);
}

void rst_push_leave(struct rst_push *p, const char *text)
{
	if (p->state == PUSH_CLOSED || p->leaving)
		return;
	p->leaving = true;
	rst_push_copy_text(p->closed_text, text);
	if (p->state != PUSH_READY) {
		if (p->state != PUSH_QUIT)
			say_close(p);
		rst_push_end(p);
		return;
	}
	if (p->extended)
		drop_unbegun(p);
	else
		drop_undelivered(p);
	rst_push_leave_on(p);
}

/* ---- all that waits */

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
		rst_push_command(p, "QUIT\r\n", PUSH_CMD_QUIT);
		p->state = PUSH_QUIT;
	}
}
