/* SPDX-License-Identifier: MIT */
/*
 * VERSION   waits for the handshake
 *   VERSION      -> OK; for SCAN -> LINES
 * OK        waits for the answer to USER
 *   OK           -> LINES
 * LINES     waits for a line, between messages
 *   MSG          -> BODY, unless the message is empty
 *   BYE          -> ENDED; for SCAN: END
 * BODY      waits for octets of a message
 *   the last     -> LINES
 * ENDED     takes nothing
 *
 * From all but BODY, NO leads to ENDED; so does a protocol error.
 *
 * Commands may be sent before earlier ones are answered, and the answers to a
 * COMMIT may stand between two messages of a DRAIN. So no state says which
 * answers may come in LINES, but counts of the commands that are not answered.
 */
#include "restante/hold.h"

#include <stdlib.h>
#include <string.h>

#include "hold-private.h"

/* Octets of the client's reply that go with FALLBACK: protocol-hold.md, 1.4. */
#define REPLY_MAX 512

enum state {
	STATE_VERSION,
	STATE_OK,
	STATE_LINES,
	STATE_BODY,
	STATE_ENDED
};

struct rst_hold_dialler {
	struct rst_hold_dialler_limits limits;
	enum state state;
	bool scan;
	struct rst_buf output;

	/* commands that are not answered */
	unsigned int drains;
	unsigned int marks; /* ACK, FALLBACK: one GONE or KEPT answers each */
	unsigned int commits;
	unsigned int releases;
	bool bye;

	int64_t progress_ms; /* when octets of an answer last came */
	uint64_t body_left;
	bool message_end; /* MESSAGE_END is due after the last OCTETS */
	bool have_event;
	struct rst_hold_event event;
	char line[RST_HOLD_LINE_MAX]; /* what the event's views point into */
};

struct rst_hold_dialler *
rst_hold_dialler_new(const struct rst_hold_dialler_limits *limits, bool scan,
		     int64_t now_ms)
{
	struct rst_hold_dialler *h = rst_calloc(1, sizeof(*h));

	h->limits = *limits;
	h->scan = scan;
	h->state = STATE_VERSION;
	h->progress_ms = now_ms;
	return h;
}

void rst_hold_dialler_free(struct rst_hold_dialler **h)
{
	if (*h == NULL)
		return;
	rst_buf_clear(&(*h)->output);
	free(*h);
	*h = NULL;
}

static bool awaiting(const struct rst_hold_dialler *h)
{
	if (h->state == STATE_ENDED)
		return false;
	return h->state != STATE_LINES || h->scan || h->drains > 0 ||
	       h->commits > 0 || h->releases > 0 || h->bye;
}

/* ---- lines */

static void set_event(struct rst_hold_dialler *h, enum rst_hold_event_type type)
{
	h->have_event = true;
	h->event = (struct rst_hold_event){
		.type = type,
		.id = RST_STR(""),
		.user = RST_STR(""),
		.mail_from = RST_STR(""),
		.rcpt_to = RST_STR(""),
		.octets_view = RST_STR(""),
		.code = RST_STR(""),
		.text = RST_STR(""),
	};
}

static bool read_time(struct rst_str s, int64_t *secs_r)
{
	uint64_t value;

	if (!rst_str_to_u64(s, &value) || value > INT64_MAX)
		return false;
	*secs_r = (int64_t)value;
	return true;
}

/* Handles an answer whose fields are there. */
typedef int answer_func(struct rst_hold_dialler *h,
			const struct rst_str *fields);

static int on_version(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_VERSION || !rst_hold_version_matches(fields))
		return RST_EPROTO;
	h->state = h->scan ? STATE_LINES : STATE_OK;
	return 0;
}

static int on_ok(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_OK)
		return RST_EPROTO;
	h->state = STATE_LINES;
	set_event(h, RST_HOLD_OPENED);
	if (!rst_str_to_u64(fields[1], &h->event.messages) ||
	    !rst_str_to_u64(fields[2], &h->event.octets) ||
	    !read_time(fields[3], &h->event.due))
		return RST_EPROTO;
	/* an older service says neither */
	h->event.user = fields[4];
	h->event.full = rst_str_eq(fields[5], RST_STR("full"));
	return 0;
}

/* NO may answer any command: as BUSY, a DRAIN. */
static int on_no(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	h->state = STATE_ENDED;
	set_event(h, RST_HOLD_REFUSED);
	h->event.code = fields[1];
	h->event.text = fields[2];
	return 0;
}

static int on_msg(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	uint64_t uid;

	if (h->state != STATE_LINES || h->scan || h->drains == 0 ||
	    !rst_str_to_u64(fields[1], &uid) || !rst_id_valid(fields[2]))
		return RST_EPROTO;
	set_event(h, RST_HOLD_MESSAGE);
	h->event.id = fields[2];
	h->event.mail_from = fields[5];
	h->event.rcpt_to = fields[6];
	if (!rst_str_to_u64(fields[3], &h->event.size) ||
	    !read_time(fields[4], &h->event.arrived))
		return RST_EPROTO;
	h->body_left = h->event.size;
	h->message_end = h->body_left == 0;
	if (h->body_left > 0)
		h->state = STATE_BODY;
	return 0;
}

static int on_end(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_LINES)
		return RST_EPROTO;
	if (h->scan) {
		set_event(h, RST_HOLD_SCANNED);
		h->state = STATE_ENDED;
		/* an older service does not count these users */
		if (fields[2].n > 0 &&
		    !rst_str_to_u64(fields[2], &h->event.failed))
			return RST_EPROTO;
	} else if (h->drains > 0) {
		set_event(h, RST_HOLD_DRAINED);
		h->drains--;
	} else {
		return RST_EPROTO;
	}
	return rst_str_to_u64(fields[1], &h->event.messages) ? 0 : RST_EPROTO;
}

/* @param text KEPT's, or empty */
static int on_decided(struct rst_hold_dialler *h, enum rst_hold_event_type type,
		      struct rst_str id, struct rst_str text)
{
	if (h->state != STATE_LINES || h->marks == 0 || !rst_id_valid(id))
		return RST_EPROTO;
	h->marks--;
	set_event(h, type);
	h->event.id = id;
	h->event.text = text;
	return 0;
}

static int on_gone(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	return on_decided(h, RST_HOLD_GONE, fields[1], RST_STR(""));
}

static int on_kept(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	return on_decided(h, RST_HOLD_KEPT, fields[1], fields[2]);
}

static int on_done(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	(void)fields;
	if (h->state != STATE_LINES || h->commits == 0)
		return RST_EPROTO;
	h->commits--;
	set_event(h, RST_HOLD_COMMITTED);
	return 0;
}

static int on_released(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_LINES || h->releases == 0)
		return RST_EPROTO;
	h->releases--;
	set_event(h, RST_HOLD_RELEASED);
	if (!rst_str_to_u64(fields[1], &h->event.messages) ||
	    !rst_str_to_u64(fields[2], &h->event.failed) ||
	    !read_time(fields[3], &h->event.due))
		return RST_EPROTO;
	return 0;
}

static int on_holds(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_LINES || !h->scan || fields[1].n == 0)
		return RST_EPROTO;
	set_event(h, RST_HOLD_USER);
	h->event.user = fields[1];
	if (!rst_str_to_u64(fields[2], &h->event.messages) ||
	    !rst_str_to_u64(fields[3], &h->event.octets) ||
	    !read_time(fields[4], &h->event.due))
		return RST_EPROTO;
	return 0;
}

static int on_bye(struct rst_hold_dialler *h, const struct rst_str *fields)
{
	if (h->state != STATE_LINES || !h->bye)
		return RST_EPROTO;
	h->state = STATE_ENDED;
	set_event(h, RST_HOLD_CLOSED);
	h->event.due = -1;
	/* an older service does not say when */
	return fields[1].n == 0 || read_time(fields[1], &h->event.due)
		       ? 0
		       : RST_EPROTO;
}

static const struct {
	const char *word;
	ssize_t fields; /* at least; more are a later minor version's */
	answer_func *handle;
} answers[] = {
	{"VERSION", 4, on_version},
	{"OK", 4, on_ok},
	{"NO", 2, on_no},
	{"MSG", 7, on_msg},
	{"END", 2, on_end},
	{"GONE", 2, on_gone},
	{"KEPT", 2, on_kept},
	{"DONE", 1, on_done},
	{"RELEASED", 4, on_released},
	{"HOLDS", 5, on_holds},
	{"BYE", 1, on_bye},
};

static int read_line(struct rst_hold_dialler *h, size_t len)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	ssize_t count = rst_hold_split(h->line, len, fields);
	size_t i;

	if (count < 0)
		return RST_EPROTO;
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		if (rst_str_eq(fields[0], rst_str(answers[i].word)))
			return count < answers[i].fields
				       ? RST_EPROTO
				       : answers[i].handle(h, fields);
	}
	return RST_EPROTO;
}

/* ---- input */

static ssize_t take_line(struct rst_hold_dialler *h, const char *buf,
			 size_t len)
{
	size_t max = len < sizeof(h->line) ? len : sizeof(h->line);
	const char *lf = memchr(buf, '\n', max);

	if (lf == NULL)
		return len >= sizeof(h->line) ? RST_ELIMIT : 0;
	memcpy(h->line, buf, (size_t)(lf - buf));
	if (read_line(h, (size_t)(lf - buf)) < 0) {
		h->have_event = false;
		h->state = STATE_ENDED;
		return RST_EPROTO;
	}
	return lf - buf + 1;
}

static ssize_t take_body(struct rst_hold_dialler *h, const char *buf,
			 size_t len)
{
	size_t n = len < sizeof(h->line) ? len : sizeof(h->line);

	if (n > h->body_left)
		n = (size_t)h->body_left;
	if (n == 0)
		return 0;
	/* a copy, so that the caller may drop its buffer before _next */
	memcpy(h->line, buf, n);
	h->body_left -= n;
	set_event(h, RST_HOLD_OCTETS);
	h->event.octets_view = (struct rst_str){h->line, n};
	if (h->body_left == 0) {
		h->message_end = true;
		h->state = STATE_LINES;
	}
	return (ssize_t)n;
}

ssize_t rst_hold_dialler_recv(struct rst_hold_dialler *h, const char *buf,
			      size_t len, int64_t now_ms)
{
	ssize_t taken;

	if (h->have_event || h->message_end || h->state == STATE_ENDED ||
	    len == 0)
		return 0;
	taken = h->state == STATE_BODY ? take_body(h, buf, len)
				       : take_line(h, buf, len);
	if (taken > 0)
		h->progress_ms = now_ms;
	return taken;
}

bool rst_hold_dialler_next(struct rst_hold_dialler *h,
			   struct rst_hold_event *ev_r)
{
	if (!h->have_event && h->message_end) {
		h->message_end = false;
		set_event(h, RST_HOLD_MESSAGE_END);
	}
	if (!h->have_event)
		return false;
	*ev_r = h->event;
	h->have_event = false;
	return true;
}

uint64_t rst_hold_dialler_body_left(const struct rst_hold_dialler *h)
{
	return h->body_left;
}

bool rst_hold_dialler_draining(const struct rst_hold_dialler *h)
{
	return h->drains > 0;
}

/* ---- output */

/* The time of this answer begins, unless an earlier one is awaited. */
static void expect(struct rst_hold_dialler *h, int64_t now_ms)
{
	if (!awaiting(h))
		h->progress_ms = now_ms;
}

static void say_word(struct rst_hold_dialler *h, const char *word)
{
	struct rst_str field = rst_str(word);

	rst_hold_put_line(&h->output, &field, 1);
}

void rst_hold_dialler_drain(struct rst_hold_dialler *h, int64_t now_ms)
{
	expect(h, now_ms);
	h->drains++;
	say_word(h, "DRAIN");
}

void rst_hold_dialler_more(struct rst_hold_dialler *h, int64_t now_ms)
{
	expect(h, now_ms);
	h->drains++;
	say_word(h, "MORE");
}

void rst_hold_dialler_ack(struct rst_hold_dialler *h, struct rst_str id)
{
	struct rst_str fields[] = {RST_STR("ACK"), id};

	h->marks++;
	rst_hold_put_line(&h->output, fields, 2);
}

void rst_hold_dialler_fallback(struct rst_hold_dialler *h, struct rst_str id,
			       struct rst_str reply)
{
	struct rst_str fields[] = {RST_STR("FALLBACK"), id, reply};

	/* a person reads it, and the line has a bound */
	if (reply.n > REPLY_MAX)
		fields[2].n = REPLY_MAX;
	h->marks++;
	rst_hold_put_line(&h->output, fields, 3);
}

void rst_hold_dialler_commit(struct rst_hold_dialler *h, int64_t now_ms)
{
	expect(h, now_ms);
	h->commits++;
	say_word(h, "COMMIT");
}

void rst_hold_dialler_release(struct rst_hold_dialler *h, struct rst_str what,
			      int64_t now_ms)
{
	struct rst_str fields[] = {RST_STR("RELEASE"), what};

	expect(h, now_ms);
	h->releases++;
	rst_hold_put_line(&h->output, fields, 2);
}

void rst_hold_dialler_bye(struct rst_hold_dialler *h, int64_t now_ms)
{
	expect(h, now_ms);
	h->bye = true;
	say_word(h, "BYE");
}

const char *rst_hold_dialler_output(const struct rst_hold_dialler *h,
				    size_t *len_r)
{
	struct rst_str view = rst_buf_view(&h->output);

	*len_r = view.n;
	return view.p;
}

void rst_hold_dialler_sent(struct rst_hold_dialler *h, size_t n)
{
	rst_buf_take(&h->output, n);
}

int64_t rst_hold_dialler_deadline(const struct rst_hold_dialler *h)
{
	return awaiting(h) ? h->progress_ms + h->limits.reply_timeout_ms : -1;
}
