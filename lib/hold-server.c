/* SPDX-License-Identifier: MIT */
/*
 * VERSION   waits for the handshake
 *   VERSION      -> WHO
 * WHO       waits for whom the connection is
 *   USER         asks; _ok() -> OPEN
 *   SCAN         -> SCAN
 * OPEN      takes commands; see below
 *   _bye()       -> ENDED
 * SCAN      takes nothing; the caller lists users
 *   _scanned()   -> ENDED
 * ENDED     takes and says nothing
 *
 * From everywhere _no() and a protocol error lead to ENDED.
 *
 * In OPEN a listing may be going on, from DRAIN or MORE to END, and in it a
 * message, from MSG to its last octet. The machine takes commands meanwhile;
 * when it acts on them:
 *
 *                     no listing    between messages   inside a message
 *   ACK, FALLBACK     marked        marked             marked
 *   COMMIT            carried out   carried out        after the message
 *   BYE               ends          ends               after the message
 *   DRAIN, MORE       begins        after END          after END
 *   RELEASE           carried out   after END          after END
 *
 * A command that has to wait is not taken, nor is anything behind it; but
 * COMMIT and BYE inside a message are taken and remembered, so that the marks
 * behind a COMMIT are heard too.
 *
 * One line makes at most one event, and none is taken before that event is
 * pulled and answered. So the answers do not depend on how the network cuts
 * the commands.
 */
#include "restante/hold-server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "hold-private.h"

/* Octets of a line that an error repeats. */
#define QUOTE_MAX 32
#define ERROR_MAX 80

enum state {
	STATE_VERSION,
	STATE_WHO,
	STATE_OPEN,
	STATE_SCAN,
	STATE_ENDED
};

/* The event whose answer is awaited. Marks and listings have none. */
enum question {
	ASKED_NOTHING,
	ASKED_USER,
	ASKED_COMMIT,
	ASKED_RELEASE,
	ASKED_BYE
};

struct rst_hold_server {
	struct rst_hold_server_limits limits;
	enum state state;
	enum question asked;
	struct rst_buf output;

	bool drained; /* DRAIN was taken once */
	bool listing;
	bool input_waits; /* a whole line was offered and not taken */
	bool bye;         /* was taken and is not answered */
	bool hung_up;
	unsigned int commits; /* taken and not asked of the caller */
	unsigned int marks;   /* taken and not answered */
	uint64_t listed;      /* messages of this listing */
	uint64_t body_left;

	bool have_event;
	struct rst_hold_server_event event;
	char error[ERROR_MAX];
	char line[RST_HOLD_LINE_MAX]; /* what the event's views point into */
};

struct rst_hold_server *
rst_hold_server_new(const struct rst_hold_server_limits *limits)
{
	struct rst_hold_server *s = rst_calloc(1, sizeof(*s));

	s->limits = *limits;
	return s;
}

void rst_hold_server_free(struct rst_hold_server **s)
{
	if (*s == NULL)
		return;
	rst_buf_clear(&(*s)->output);
	free(*s);
	*s = NULL;
}

/* ---- output */

static void say(struct rst_hold_server *s, const struct rst_str *fields,
		size_t count)
{
	if (!s->hung_up)
		rst_hold_put_line(&s->output, fields, count);
}

/* Three fields. @param text theirs, for as long as they are used */
static void put_numbers(struct rst_str *fields, char text[3][24], uint64_t a,
			uint64_t b, int64_t c)
{
	unsigned int i;

	(void)snprintf(text[0], sizeof(text[0]), "%llu", (unsigned long long)a);
	(void)snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)b);
	(void)snprintf(text[2], sizeof(text[2]), "%lld", (long long)c);
	for (i = 0; i < 3; i++)
		fields[i] = rst_str(text[i]);
}

static void set_event(struct rst_hold_server *s,
		      enum rst_hold_server_event_type type)
{
	s->have_event = true;
	s->event = (struct rst_hold_server_event){
		.type = type,
		.user = RST_STR(""),
		.id = RST_STR(""),
		.text = RST_STR(""),
		.listed = s->drained && !s->listing,
	};
}

static void ask(struct rst_hold_server *s, enum question question,
		enum rst_hold_server_event_type type)
{
	s->asked = question;
	set_event(s, type);
}

/* @return true, as the line was taken */
static bool fail(struct rst_hold_server *s, const char *text)
{
	set_event(s, RST_HOLD_SERVER_ERROR);
	s->event.text = rst_str(text);
	rst_hold_server_no(s, RST_HOLD_NO_PROTO, text);
	return true;
}

/* ---- commands. They return false: it has to wait, and is not taken. */

typedef bool command_func(struct rst_hold_server *s,
			  const struct rst_str *fields);

static bool cmd_version(struct rst_hold_server *s, const struct rst_str *fields)
{
	if (!rst_hold_version_matches(fields))
		return fail(s, "another protocol or version");
	s->state = STATE_WHO;
	rst_hold_put_version(&s->output);
	return true;
}

static bool cmd_user(struct rst_hold_server *s, const struct rst_str *fields)
{
	ask(s, ASKED_USER, RST_HOLD_SERVER_USER);
	s->event.user = fields[1];
	return true;
}

static bool cmd_scan(struct rst_hold_server *s, const struct rst_str *fields)
{
	(void)fields;
	s->state = STATE_SCAN;
	set_event(s, RST_HOLD_SERVER_SCAN);
	return true;
}

static bool start_listing(struct rst_hold_server *s,
			  enum rst_hold_server_event_type type)
{
	if (s->listing)
		return false;
	s->drained = true;
	if (s->hung_up)
		return true;
	s->listing = true;
	s->listed = 0;
	set_event(s, type);
	return true;
}

static bool cmd_drain(struct rst_hold_server *s, const struct rst_str *fields)
{
	(void)fields;
	return start_listing(s, RST_HOLD_SERVER_DRAIN);
}

static bool cmd_more(struct rst_hold_server *s, const struct rst_str *fields)
{
	(void)fields;
	if (!s->drained)
		return fail(s, "MORE before DRAIN");
	return start_listing(s, RST_HOLD_SERVER_MORE);
}

static bool add_mark(struct rst_hold_server *s,
		     enum rst_hold_server_event_type type,
		     const struct rst_str *fields)
{
	if (!s->drained || !rst_id_valid(fields[1]))
		return fail(s, "a mark before DRAIN, or of a bad id");
	if (s->marks >= s->limits.max_marks)
		return fail(s, "too many marks without COMMIT");
	s->marks++;
	set_event(s, type);
	s->event.id = fields[1];
	s->event.text = fields[2];
	return true;
}

static bool cmd_ack(struct rst_hold_server *s, const struct rst_str *fields)
{
	return add_mark(s, RST_HOLD_SERVER_ACK, fields);
}

static bool cmd_fallback(struct rst_hold_server *s,
			 const struct rst_str *fields)
{
	return add_mark(s, RST_HOLD_SERVER_FALLBACK, fields);
}

static bool cmd_commit(struct rst_hold_server *s, const struct rst_str *fields)
{
	(void)fields;
	if (!s->drained)
		return fail(s, "COMMIT before DRAIN");
	s->commits++;
	return true;
}

static bool cmd_release(struct rst_hold_server *s, const struct rst_str *fields)
{
	struct rst_str what = fields[1];

	if (s->listing)
		return false;
	if (rst_str_eq(what, RST_STR("ALL"))) {
		ask(s, ASKED_RELEASE, RST_HOLD_SERVER_RELEASE_ALL);
	} else if (rst_str_eq(what, RST_STR("EXPIRED"))) {
		ask(s, ASKED_RELEASE, RST_HOLD_SERVER_RELEASE_EXPIRED);
	} else if (rst_id_valid(what)) {
		ask(s, ASKED_RELEASE, RST_HOLD_SERVER_RELEASE_ONE);
		s->event.id = what;
	} else {
		return fail(s, "RELEASE of what?");
	}
	return true;
}

static bool cmd_bye(struct rst_hold_server *s, const struct rst_str *fields)
{
	(void)fields;
	s->bye = true;
	return true;
}

static const struct {
	const char *word;
	ssize_t fields; /* at least; more are a later minor version's */
	enum state state;
	command_func *handle;
} commands[] = {
	{"VERSION", 4, STATE_VERSION, cmd_version},
	{"USER", 2, STATE_WHO, cmd_user},
	{"SCAN", 1, STATE_WHO, cmd_scan},
	{"DRAIN", 1, STATE_OPEN, cmd_drain},
	{"MORE", 1, STATE_OPEN, cmd_more},
	{"ACK", 2, STATE_OPEN, cmd_ack},
	{"FALLBACK", 3, STATE_OPEN, cmd_fallback},
	{"COMMIT", 1, STATE_OPEN, cmd_commit},
	{"RELEASE", 2, STATE_OPEN, cmd_release},
	{"BYE", 1, STATE_OPEN, cmd_bye},
};

static command_func *find_command(const struct rst_hold_server *s,
				  struct rst_str word, ssize_t count)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].state == s->state &&
		    count >= commands[i].fields &&
		    rst_str_eq(word, rst_str(commands[i].word)))
			return commands[i].handle;
	}
	return NULL;
}

/* The error's text quotes the line, made harmless for a log. */
static bool fail_unknown(struct rst_hold_server *s, size_t len)
{
	size_t n = strnlen(s->line, len), i;
	bool whole = n <= QUOTE_MAX;

	if (!whole)
		n = QUOTE_MAX - 3;
	for (i = 0; i < n; i++)
		if ((unsigned char)s->line[i] < 32 ||
		    (unsigned char)s->line[i] >= 127)
			s->line[i] = '?';
	(void)snprintf(s->error, sizeof(s->error),
		       "%.*s%s: not now, or not at all", (int)n, s->line,
		       whole ? "" : "...");
	return fail(s, s->error);
}

static bool read_line(struct rst_hold_server *s, size_t len)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	ssize_t count = rst_hold_split(s->line, len, fields);
	command_func *handle;

	if (count < 0)
		return fail(s, "malformed line");
	handle = find_command(s, fields[0], count);
	return handle == NULL ? fail_unknown(s, len) : handle(s, fields);
}

/* ---- input */

/* No message is going out, and the caller has no event to pull or answer. */
static bool at_boundary(const struct rst_hold_server *s)
{
	return s->state == STATE_OPEN && s->body_left == 0 && !s->hung_up &&
	       s->asked == ASKED_NOTHING && !s->have_event;
}

static bool has_question(const struct rst_hold_server *s)
{
	return at_boundary(s) && (s->commits > 0 || s->bye);
}

static bool takes_lines(const struct rst_hold_server *s)
{
	return s->state != STATE_ENDED && s->state != STATE_SCAN && !s->bye &&
	       s->asked == ASKED_NOTHING && !s->have_event && !has_question(s);
}

size_t rst_hold_server_recv(struct rst_hold_server *s, const char *buf,
			    size_t len)
{
	size_t max = len < sizeof(s->line) ? len : sizeof(s->line);
	const char *lf = max == 0 ? NULL : memchr(buf, '\n', max);

	s->input_waits = false;
	if (lf == NULL && len < sizeof(s->line))
		return 0;
	s->input_waits = true;
	if (!takes_lines(s))
		return 0;
	if (lf == NULL) {
		(void)fail(s, "line too long");
		return 0;
	}
	memcpy(s->line, buf, (size_t)(lf - buf));
	if (!read_line(s, (size_t)(lf - buf)))
		return 0;
	s->input_waits = false;
	return (size_t)(lf - buf) + 1;
}

static void ask_about_marks(struct rst_hold_server *s)
{
	if (s->commits == 0) {
		ask(s, ASKED_BYE, RST_HOLD_SERVER_BYE);
		return;
	}
	s->commits--;
	ask(s, ASKED_COMMIT, RST_HOLD_SERVER_COMMIT);
}

bool rst_hold_server_next(struct rst_hold_server *s,
			  struct rst_hold_server_event *ev_r)
{
	if (has_question(s))
		ask_about_marks(s);
	if (!s->have_event)
		return false;
	*ev_r = s->event;
	s->have_event = false;
	return true;
}

bool rst_hold_server_wants_input(const struct rst_hold_server *s)
{
	return s->state != STATE_ENDED && !s->bye && !s->input_waits;
}

bool rst_hold_server_ended(const struct rst_hold_server *s)
{
	return s->state == STATE_ENDED;
}

void rst_hold_server_hang_up(struct rst_hold_server *s)
{
	s->hung_up = true;
	s->listing = false;
	s->body_left = 0;
	s->asked = ASKED_NOTHING;
	rst_buf_clear(&s->output);
	if (s->state != STATE_OPEN)
		s->state = STATE_ENDED;
}

/* ---- answers */

static bool answers(struct rst_hold_server *s, enum question question)
{
	if (s->state == STATE_ENDED || s->asked != question)
		return false;
	s->asked = ASKED_NOTHING;
	return true;
}

void rst_hold_server_ok(struct rst_hold_server *s, struct rst_str user,
			const struct rst_hold_server_held *held)
{
	char numbers[3][24];
	struct rst_str fields[6] = {RST_STR("OK")};

	if (!answers(s, ASKED_USER))
		return;
	s->state = STATE_OPEN;
	put_numbers(fields + 1, numbers, held->messages, held->octets,
		    held->due);
	fields[4] = user;
	fields[5] = RST_STR("full");
	say(s, fields, held->full ? 6 : 5);
}

void rst_hold_server_no(struct rst_hold_server *s, const char *code,
			const char *text)
{
	const struct rst_str fields[] = {RST_STR("NO"), rst_str(code),
					 rst_str(text)};

	if (s->state != STATE_ENDED && s->body_left == 0)
		say(s, fields, 3);
	s->state = STATE_ENDED;
}

/* A mark is answered only while COMMIT or BYE asks for it. */
static bool takes_marks(const struct rst_hold_server *s)
{
	return s->state == STATE_OPEN &&
	       (s->asked == ASKED_COMMIT || s->asked == ASKED_BYE);
}

void rst_hold_server_gone(struct rst_hold_server *s, struct rst_str id)
{
	const struct rst_str fields[] = {RST_STR("GONE"), id};

	if (takes_marks(s))
		say(s, fields, 2);
}

void rst_hold_server_kept(struct rst_hold_server *s, struct rst_str id,
			  const char *text)
{
	const struct rst_str fields[] = {RST_STR("KEPT"), id, rst_str(text)};

	if (takes_marks(s))
		say(s, fields, 3);
}

void rst_hold_server_done(struct rst_hold_server *s)
{
	const struct rst_str word = RST_STR("DONE");

	if (!answers(s, ASKED_COMMIT))
		return;
	s->marks = 0;
	say(s, &word, 1);
}

void rst_hold_server_released(struct rst_hold_server *s, uint64_t delivered,
			      uint64_t failed, int64_t due)
{
	char numbers[3][24];
	struct rst_str fields[4] = {RST_STR("RELEASED")};

	if (!answers(s, ASKED_RELEASE))
		return;
	put_numbers(fields + 1, numbers, delivered, failed, due);
	say(s, fields, 4);
}

void rst_hold_server_bye(struct rst_hold_server *s, int64_t due)
{
	if (!answers(s, ASKED_BYE))
		return;
	s->state = STATE_ENDED;
	if (due >= 0 && s->drained && !s->listing)
		rst_buf_printf(&s->output, "BYE\t%lld\n", (long long)due);
	else
		rst_buf_puts(&s->output, "BYE\n");
}

void rst_hold_server_holds(struct rst_hold_server *s, struct rst_str user,
			   uint64_t messages, uint64_t octets, int64_t due)
{
	char numbers[3][24];
	struct rst_str fields[5] = {RST_STR("HOLDS"), user};

	if (s->state != STATE_SCAN)
		return;
	put_numbers(fields + 2, numbers, messages, octets, due);
	say(s, fields, 5);
}

void rst_hold_server_scanned(struct rst_hold_server *s, uint64_t users,
			     uint64_t failed)
{
	if (s->state != STATE_SCAN)
		return;
	s->state = STATE_ENDED;
	rst_buf_printf(&s->output, "END\t%llu\t%llu\n",
		       (unsigned long long)users, (unsigned long long)failed);
}

/* ---- the listing */

bool rst_hold_server_may_list(const struct rst_hold_server *s)
{
	return s->listing && at_boundary(s) && !has_question(s);
}

void rst_hold_server_message(struct rst_hold_server *s,
			     const struct rst_hold_server_message *msg)
{
	char uid[24], size[24], arrived[24];
	struct rst_str fields[7] = {RST_STR("MSG")};

	/* the dialler would read the caller's octets as lines */
	if (!rst_hold_server_may_list(s))
		abort();
	(void)snprintf(uid, sizeof(uid), "%lu", (unsigned long)msg->uid);
	(void)snprintf(size, sizeof(size), "%llu",
		       (unsigned long long)msg->size);
	(void)snprintf(arrived, sizeof(arrived), "%lld",
		       (long long)msg->arrived);
	fields[1] = rst_str(uid);
	fields[2] = msg->id;
	fields[3] = rst_str(size);
	fields[4] = rst_str(arrived);
	fields[5] = msg->mail_from;
	fields[6] = msg->rcpt_to;
	say(s, fields, 7);
	s->body_left = msg->size;
	s->listed++;
}

uint64_t rst_hold_server_body_left(const struct rst_hold_server *s)
{
	return s->body_left;
}

void rst_hold_server_body_sent(struct rst_hold_server *s, uint64_t n)
{
	/* the caller has written them before the MSG line, or too many */
	if (s->output.used > 0 || n > s->body_left)
		abort();
	s->body_left -= n;
}

void rst_hold_server_end(struct rst_hold_server *s)
{
	if (!rst_hold_server_may_list(s))
		abort();
	s->listing = false;
	rst_buf_printf(&s->output, "END\t%llu\n",
		       (unsigned long long)s->listed);
}

const char *rst_hold_server_output(const struct rst_hold_server *s,
				   size_t *len_r)
{
	struct rst_str view = rst_buf_view(&s->output);

	*len_r = view.n;
	return view.p;
}

void rst_hold_server_sent(struct rst_hold_server *s, size_t n)
{
	rst_buf_take(&s->output, n);
}
