/* SPDX-License-Identifier: MIT */
/*
 * One mail transaction at the receiving end: its events and its replies.
 *
 *   MAIL, RCPT -> begin -> octets ... -> end -> rst_receiver_done() -> reply
 *                    `-> cancel (RSET, too large, the connection ends)
 *
 * Replies keep the order of the commands. The message that ended last holds
 * back what is said after it: rst_receiver_reply() appends to its `after`, and
 * flush_replies() sends that once the message and all before it are answered.
 */
#include "receiver-private.h"

#include <stdlib.h>
#include <string.h>

/** Octets of the caller's text in a reply. RFC 5321 4.5.3.1.5 allows 512 in a
    line. */
#define TEXT_MAX 400

/* ---- replies */

static void message_free(struct receiver_message *msg)
{
	if (msg == NULL)
		return;
	free(msg->text);
	rst_buf_clear(&msg->after);
	free(msg);
}

void rst_receiver_reply(struct rst_receiver *r, const char *line)
{
	struct rst_buf *out = &r->output;

	if (r->tail != NULL) {
		out = &r->tail->after;
		r->replies_waiting += strlen(line) + 2;
	}
	rst_buf_puts(out, line);
	rst_buf_puts(out, "\r\n");
}

static void verdict_reply(struct rst_receiver *r,
			  const struct receiver_message *msg)
{
	static const char *const codes[] = {
		[RST_VERDICT_OK] = "250 2.0.0",
		[RST_VERDICT_TEMPFAIL] = "452 4.3.1",
		[RST_VERDICT_REFUSED] = "552 5.3.4",
	};

	rst_buf_printf(&r->output, "%s %s\r\n", codes[msg->verdict], msg->text);
}

/* Queue the replies that no unanswered message holds back any more. */
static void flush_replies(struct rst_receiver *r)
{
	struct receiver_message *msg;

	while ((msg = r->first) != NULL && msg->answered) {
		r->first = msg->next;
		if (r->first == NULL)
			r->tail = NULL;
		r->pending--;
		verdict_reply(r, msg);
		rst_buf_str(&r->output, rst_buf_view(&msg->after));
		r->replies_waiting -= msg->after.used;
		message_free(msg);
	}
}

/* One line of printable ASCII, whatever the caller was told. */
static char *reply_text(const char *text)
{
	struct rst_str s = rst_str(text);
	char *copy;

	if (s.n > TEXT_MAX)
		s.n = TEXT_MAX;
	copy = rst_str_dup(s);
	rst_printable(copy);
	return copy;
}

static struct receiver_message *find_message(struct rst_receiver *r,
					     uint32_t ticket)
{
	struct receiver_message *msg;

	if (r->open != NULL && r->open->ticket == ticket)
		return r->open;
	for (msg = r->first; msg != NULL; msg = msg->next) {
		if (msg->ticket == ticket)
			return msg;
	}
	return NULL;
}

/* The caller has answered: it does not want the octets that were read. */
static void skip_octets(struct rst_receiver *r, uint32_t ticket)
{
	struct receiver_slot *slot;
	unsigned int i;

	for (i = 0; i < r->events_count; i++) {
		slot = &r->events[(r->events_start + i) % RECEIVER_EVENTS];
		if (slot->ev.type == RST_RECEIVER_OCTETS &&
		    slot->ev.ticket == ticket)
			slot->skip = true;
	}
}

void rst_receiver_done(struct rst_receiver *r, uint32_t ticket,
		       enum rst_verdict verdict, const char *text)
{
	struct receiver_message *msg = find_message(r, ticket);

	/* also those of a message that was cancelled since */
	skip_octets(r, ticket);
	if (msg == NULL || msg->answered)
		return;
	msg->answered = true;
	msg->verdict = verdict;
	msg->text = reply_text(text);
	flush_replies(r);
	r->moved = true;
}

/* ---- events */

struct receiver_slot *rst_receiver_event(struct rst_receiver *r,
					 enum rst_receiver_event_type type)
{
	unsigned int end =
		(r->events_start + r->events_count) % RECEIVER_EVENTS;

	r->events_count++;
	r->events[end] = (struct receiver_slot){.ev = {.type = type}};
	return &r->events[end];
}

struct receiver_span rst_receiver_keep(struct rst_receiver *r,
				       struct rst_str octets)
{
	struct receiver_span span = {r->scratch.used, octets.n};

	rst_buf_str(&r->scratch, octets);
	return span;
}

/* ---- the message that is being read */

void rst_receiver_begin(struct rst_receiver *r)
{
	struct receiver_slot *slot;

	r->open = rst_calloc(1, sizeof(*r->open));
	r->open->ticket = ++r->last_ticket;
	slot = rst_receiver_event(r, RST_RECEIVER_BEGIN);
	slot->ev.ticket = r->open->ticket;
	slot->ev.size = r->size_said;
	slot->a = rst_receiver_keep(r, rst_str(r->id));
	slot->b = rst_receiver_keep(r, rst_str(r->mail_from));
	slot->c = rst_receiver_keep(r, rst_str(r->rcpt_to));
}

/* Octets read one after the other become one event. */
void rst_receiver_octets(struct rst_receiver *r, const char *buf, size_t n)
{
	struct receiver_slot *slot = NULL;

	if (r->open == NULL || r->open->answered || n == 0)
		return;
	if (r->events_count > 0)
		slot = &r->events[(r->events_start + r->events_count - 1) %
				  RECEIVER_EVENTS];
	if (slot == NULL || slot->ev.type != RST_RECEIVER_OCTETS) {
		slot = rst_receiver_event(r, RST_RECEIVER_OCTETS);
		slot->ev.ticket = r->open->ticket;
		slot->a.at = r->scratch.used;
	}
	(void)rst_receiver_keep(r, (struct rst_str){buf, n});
	slot->a.n += n;
}

void rst_receiver_end(struct rst_receiver *r)
{
	struct receiver_message *msg = r->open;

	r->open = NULL;
	rst_receiver_event(r, RST_RECEIVER_END)->ev.ticket = msg->ticket;
	if (r->tail == NULL)
		r->first = msg;
	else
		r->tail->next = msg;
	r->tail = msg;
	r->pending++;
	flush_replies(r);
}

void rst_receiver_cancel(struct rst_receiver *r)
{
	if (r->open == NULL)
		return;
	rst_receiver_event(r, RST_RECEIVER_CANCEL)->ev.ticket = r->open->ticket;
	message_free(r->open);
	r->open = NULL;
}

/* ---- the transaction */

static void forget_arguments(struct rst_receiver *r)
{
	free(r->id);
	free(r->mail_from);
	free(r->rcpt_to);
	r->id = r->mail_from = r->rcpt_to = NULL;
}

void rst_receiver_reset(struct rst_receiver *r)
{
	rst_receiver_cancel(r);
	forget_arguments(r);
	r->mail = r->rcpt = r->chunked = r->binary = r->failed = false;
	r->size_said = 0;
	r->total = 0;
}

void rst_receiver_chunk_end(struct rst_receiver *r)
{
	r->mode = RECEIVER_COMMAND;
	if (r->chunk_refused != NULL)
		rst_receiver_reply(r, r->chunk_refused);
	else if (r->chunk_last)
		rst_receiver_end(r);
	else
		rst_receiver_reply(r, "250 2.0.0 Go on");
	/* also after a refused chunk, or the next MAIL would be out of order */
	if (r->chunk_last)
		rst_receiver_reset(r);
}

void rst_receiver_closing(struct rst_receiver *r, struct rst_str text)
{
	rst_receiver_reset(r);
	r->mode = RECEIVER_COMMAND;
	r->closing = true;
	free(r->closed_text);
	r->closed_text = rst_str_dup(text);
}

void rst_receiver_transaction_free(struct rst_receiver *r)
{
	struct receiver_message *msg;

	forget_arguments(r);
	message_free(r->open);
	while ((msg = r->first) != NULL) {
		r->first = msg->next;
		message_free(msg);
	}
}
