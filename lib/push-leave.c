/* SPDX-License-Identifier: MIT */
/*
 * The end that we want: what has not begun to leave is taken back, what has is
 * finished and may be answered.
 */
#include "push-private.h"

/* @return where the pointer to the first message is of which nothing has
   left; where the list ends if there is none */
static struct push_message **first_unbegun(struct rst_push *p)
{
	struct push_message **link = &p->first;

	/* what we have refused ourselves has no octets, but a result */
	while (*link != NULL && ((*link)->decided || (*link)->from < p->sent))
		link = &(*link)->next;
	return link;
}

/* Nothing after `end`, counted from the first octet of all, has been said. */
static void take_back(struct rst_push *p, uint64_t end)
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

/* Extended. The last message is the one that is being fed, if any is. */
static void drop_unbegun(struct rst_push *p)
{
	struct push_message **link = first_unbegun(p);

	if (*link == NULL)
		return;
	take_back(p, (*link)->from);
	drop_messages(p, link);
	if (p->feed == PUSH_FEED_BDAT)
		p->feed = PUSH_FEED_DISCARD;
}

/* Plain. Before its text there is no message yet. */
static void drop_undelivered(struct rst_push *p)
{
	if (p->feed != PUSH_FEED_WAIT)
		return;
	/* after DATA, QUIT would be text */
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
	if (p->extended)
		rst_buf_printf(&p->output, "XRESTANTE CLOSE %s\r\n",
			       p->closed_text);
	else
		rst_buf_puts(&p->output, "QUIT\r\n");
	rst_push_expect(p, PUSH_CMD_CLOSE, 0);
}

void rst_push_leave_on(struct rst_push *p)
{
	/* a command would become part of the message */
	if (p->state != PUSH_READY || p->feed == PUSH_FEED_BDAT ||
	    p->feed == PUSH_FEED_DATA)
		return;
	/* only an extended client has to understand it amid its answers */
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
	rst_push_copy_text(p->closed_text, rst_str(text));
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
