/* SPDX-License-Identifier: MIT */
/*
 * COMMAND      a command is awaited
 *   AUTH         -> AUTH_ASKED
 *   ATRN         -> ATRN_ASKED
 *   QUIT         -> CLOSED
 * AUTH_ASKED   the caller decides about AUTH or a response of the client's
 *   continue     -> AUTH_DATA
 *   done         -> COMMAND
 * AUTH_DATA    the client's response to a challenge is awaited
 *   base64       -> AUTH_ASKED
 *   "*", other   -> COMMAND
 * ATRN_ASKED   the caller decides about ATRN
 *   OK           -> TURNED
 *   else         -> COMMAND
 * TURNED       the connection belongs to rst_push
 * CLOSED       no octet is read, no reply is said any more
 *
 * A time-out, a limit, or octets that are no SMTP line lead from every state
 * but TURNED to CLOSED. While a question is open no octet is taken, so a client
 * gains nothing by not awaiting its replies.
 */
#include "restante/provider.h"

#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "buf.h"

/* A sign-in takes five lines. A client that sends lines without end, and
   perhaps reads no reply, is cut off at this limit: so it bounds the output
   too. */
#define MAX_LINES 100

enum state {
	COMMAND,
	AUTH_ASKED,
	AUTH_DATA,
	ATRN_ASKED,
	TURNED,
	CLOSED,
};

struct rst_provider {
	struct rst_provider_limits limits;
	enum state state;
	int status; /* what _recv says when CLOSED */
	int64_t started_ms;
	int64_t heard_ms; /* the client's silence counts from here */
	unsigned int lines, bad_commands, auth_failures;
	bool esmtp; /* EHLO was said */
	bool signed_in;
	uint32_t id; /* of the last question */
	struct rst_buf out;

	struct rst_provider_event event;
	bool has_event;
	bool close_event; /* comes after `event` */
	char *argument;   /* octets of event's views; may be secret */
	size_t argument_size;
};

static void reply(struct rst_provider *p, const char *text)
{
	rst_buf_puts(&p->out, text);
	rst_buf_puts(&p->out, "\r\n");
}

static void finish(struct rst_provider *p)
{
	p->state = CLOSED;
	p->close_event = true;
}

/* @param text enhanced status code and words */
static void hang_up(struct rst_provider *p, const char *text)
{
	rst_buf_puts(&p->out, "421 ");
	reply(p, text);
	finish(p);
}

static void reply_bad(struct rst_provider *p, const char *text)
{
	reply(p, text);
	if (++p->bad_commands >= p->limits.max_bad_commands)
		hang_up(p, "4.7.0 Too many errors");
}

static void forget_argument(struct rst_provider *p)
{
	if (p->argument == NULL)
		return;
	explicit_bzero(p->argument, p->argument_size);
	free(p->argument);
	p->argument = NULL;
}

static struct rst_str keep_argument(struct rst_provider *p, struct rst_str s)
{
	forget_argument(p);
	p->argument = rst_str_dup(s);
	p->argument_size = s.n;
	return (struct rst_str){p->argument, s.n};
}

static struct rst_provider_event *queue_event(struct rst_provider *p,
					      enum rst_provider_event_type type)
{
	p->event = (struct rst_provider_event){
		.type = type,
		.id = p->id,
		.mechanism = RST_STR(""),
		.initial = RST_STR(""),
		.domains = RST_STR(""),
	};
	p->has_event = true;
	return &p->event;
}

/* All steps of an exchange have one id. */
static void new_question(struct rst_provider *p)
{
	if (++p->id == 0)
		p->id = 1;
}

static void cmd_ehlo(struct rst_provider *p, struct rst_str args)
{
	if (args.n == 0) {
		reply_bad(p, "501 5.5.4 Hostname missing");
		return;
	}
	p->esmtp = true;
	rst_buf_printf(&p->out, "250-%s\r\n", p->limits.hostname);
	if (p->limits.mechanisms[0] != '\0')
		rst_buf_printf(&p->out, "250-AUTH %s\r\n",
			       p->limits.mechanisms);
	reply(p, "250-ATRN");
	reply(p, "250 ENHANCEDSTATUSCODES");
}

static void cmd_helo(struct rst_provider *p, struct rst_str args)
{
	if (args.n == 0) {
		reply_bad(p, "501 5.5.4 Hostname missing");
		return;
	}
	p->esmtp = false;
	rst_buf_printf(&p->out, "250 %s\r\n", p->limits.hostname);
}

/*
 * The data must be base64 in its canonical form. Decoding and encoding it would
 * give the same octets, so nothing else can travel in it to Dovecot's auth.
 */
static void ask_auth(struct rst_provider *p, enum rst_provider_event_type type,
		     struct rst_str mechanism, const struct rst_str *data)
{
	struct rst_provider_event *event = queue_event(p, type);

	event->mechanism = mechanism;
	if (data != NULL) {
		event->has_initial = true;
		event->initial = keep_argument(p, *data);
	}
	p->state = AUTH_ASKED;
}

static void start_auth(struct rst_provider *p, struct rst_str args)
{
	struct rst_str name, mechanism;

	if (!rst_str_split(&args, ' ', &name)) {
		reply_bad(p, "501 5.5.4 Mechanism missing");
		return;
	}
	while (args.n > 0 && *args.p == ' ') {
		args.p++;
		args.n--;
	}
	if (!rst_str_find_word(rst_str(p->limits.mechanisms), name,
			       &mechanism)) {
		reply_bad(p, "504 5.5.4 Mechanism not supported");
		return;
	}
	new_question(p);
	if (args.n == 0) {
		ask_auth(p, RST_PROVIDER_AUTH, mechanism, NULL);
		return;
	}
	/* RFC 4954 section 4: "=" is an empty response */
	if (rst_str_eq(args, RST_STR("=")))
		args = RST_STR("");
	if (rst_base64_valid(args))
		ask_auth(p, RST_PROVIDER_AUTH, mechanism, &args);
	else
		reply_bad(p, "501 5.5.2 Cannot decode");
}

static void cmd_auth(struct rst_provider *p, struct rst_str args)
{
	if (!p->esmtp)
		reply_bad(p, "503 5.5.1 Say EHLO first");
	else if (p->signed_in)
		reply_bad(p, "503 5.5.1 Already authenticated");
	else if (p->limits.mechanisms[0] == '\0')
		/* Dovecot is away */
		reply_bad(p, "454 4.7.0 Temporary authentication failure");
	else
		start_auth(p, args);
}

static bool is_printable(struct rst_str s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] < 32 || s.p[i] > 126)
			return false;
	}
	return true;
}

static void cmd_atrn(struct rst_provider *p, struct rst_str args)
{
	struct rst_provider_event *event;

	if (!p->signed_in) {
		reply_bad(p, "530 5.7.0 Authentication required");
		return;
	}
	if (!is_printable(args)) {
		reply_bad(p, "501 5.5.4 Bad domain");
		return;
	}
	new_question(p);
	event = queue_event(p, RST_PROVIDER_ATRN);
	event->domains = keep_argument(p, args);
	p->state = ATRN_ASKED;
}

static void cmd_ok(struct rst_provider *p, struct rst_str args)
{
	(void)args;
	reply(p, "250 2.0.0 OK");
}

static void cmd_quit(struct rst_provider *p, struct rst_str args)
{
	(void)args;
	reply(p, "221 2.0.0 Bye");
	finish(p);
}

static void cmd_not_here(struct rst_provider *p, struct rst_str args)
{
	(void)args;
	reply_bad(p, "502 5.5.1 Command not implemented");
}

static const struct {
	struct rst_str verb;
	void (*run)(struct rst_provider *p, struct rst_str args);
} commands[] = {
	{RST_STR("EHLO"), cmd_ehlo},         {RST_STR("HELO"), cmd_helo},
	{RST_STR("AUTH"), cmd_auth},         {RST_STR("ATRN"), cmd_atrn},
	{RST_STR("NOOP"), cmd_ok},           {RST_STR("RSET"), cmd_ok},
	{RST_STR("QUIT"), cmd_quit},         {RST_STR("MAIL"), cmd_not_here},
	{RST_STR("RCPT"), cmd_not_here},     {RST_STR("DATA"), cmd_not_here},
	{RST_STR("BDAT"), cmd_not_here},     {RST_STR("VRFY"), cmd_not_here},
	{RST_STR("EXPN"), cmd_not_here},     {RST_STR("HELP"), cmd_not_here},
	{RST_STR("ETRN"), cmd_not_here},     {RST_STR("TURN"), cmd_not_here},
	{RST_STR("STARTTLS"), cmd_not_here},
};

/* A client may say its replies ahead, for after its sign-in. It is not signed
   in: they are passed over. */
static bool is_reply(struct rst_str line)
{
	return line.n >= 4 && line.p[0] >= '2' && line.p[0] <= '5' &&
	       line.p[1] >= '0' && line.p[1] <= '9' && line.p[2] >= '0' &&
	       line.p[2] <= '9' && (line.p[3] == ' ' || line.p[3] == '-');
}

static void take_command(struct rst_provider *p, struct rst_str line)
{
	struct rst_smtp_command command;
	size_t i;

	if (is_reply(line))
		return;
	if (rst_smtp_command_parse(line, &command) < 0) {
		reply_bad(p, "500 5.5.2 Syntax error");
		return;
	}
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (rst_str_case_eq(command.verb, commands[i].verb)) {
			commands[i].run(p, command.args);
			return;
		}
	}
	reply_bad(p, "500 5.5.2 Unknown command");
}

static void take_auth_data(struct rst_provider *p, struct rst_str line)
{
	if (rst_base64_valid(line)) {
		ask_auth(p, RST_PROVIDER_AUTH_CONTINUE, RST_STR(""), &line);
		return;
	}
	p->state = COMMAND;
	queue_event(p, RST_PROVIDER_AUTH_CANCEL);
	reply_bad(p, rst_str_eq(line, RST_STR("*"))
			     ? "501 5.7.0 Authentication cancelled"
			     : "501 5.5.2 Cannot decode");
}

static void take_line(struct rst_provider *p, struct rst_str line,
		      int64_t now_ms)
{
	p->heard_ms = now_ms;
	if (++p->lines > MAX_LINES)
		hang_up(p, "4.7.0 Too many commands");
	else if (p->state == AUTH_DATA)
		take_auth_data(p, line);
	else
		take_command(p, line);
}

static void refuse_octets(struct rst_provider *p, int status)
{
	reply(p, status == RST_ELIMIT
			 ? "500 5.5.6 Line too long"
			 : "500 5.5.2 CR and LF only together, and no NUL");
	p->status = status;
	finish(p);
}

static size_t line_max(const struct rst_provider *p, struct rst_str input)
{
	return p->state == AUTH_DATA ||
			       rst_str_case_starts(input, RST_STR("AUTH "))
		       ? RST_SMTP_AUTH_LINE_MAX
		       : RST_SMTP_LINE_MAX;
}

/* An event that was not pulled must keep its views: nothing is read. */
static bool reading(const struct rst_provider *p)
{
	return (p->state == COMMAND || p->state == AUTH_DATA) && !p->has_event;
}

ssize_t rst_provider_recv(struct rst_provider *p, const char *buf, size_t len,
			  int64_t now_ms)
{
	struct rst_str rest = {buf, len}, line;

	if (p->has_event)
		return 0;
	forget_argument(p);
	while (reading(p)) {
		ssize_t n =
			rst_smtp_line(rest.p, rest.n, line_max(p, rest), &line);

		if (n == 0)
			break;
		if (n < 0) {
			refuse_octets(p, (int)n);
			break;
		}
		take_line(p, line, now_ms);
		rest.p += n;
		rest.n -= (size_t)n;
	}
	if (p->state == CLOSED && rest.n == len)
		return p->status;
	return (ssize_t)(len - rest.n);
}

bool rst_provider_next(struct rst_provider *p, struct rst_provider_event *ev_r)
{
	if (!p->has_event && p->close_event) {
		p->close_event = false;
		queue_event(p, RST_PROVIDER_CLOSE);
	}
	if (!p->has_event)
		return false;
	p->has_event = false;
	*ev_r = p->event;
	return true;
}

static bool is_answer(const struct rst_provider *p, enum state state,
		      uint32_t id)
{
	return p->state == state && p->id == id;
}

void rst_provider_auth_continue(struct rst_provider *p, uint32_t id,
				struct rst_str challenge, int64_t now_ms)
{
	if (!is_answer(p, AUTH_ASKED, id))
		return;
	/* Dovecot's octets must not bring a second reply line with them */
	if (!rst_base64_valid(challenge)) {
		rst_provider_auth_done(p, id, RST_VERDICT_TEMPFAIL, now_ms);
		return;
	}
	rst_buf_puts(&p->out, "334 ");
	rst_buf_str(&p->out, challenge);
	rst_buf_puts(&p->out, "\r\n");
	forget_argument(p);
	p->state = AUTH_DATA;
	p->heard_ms = now_ms;
}

void rst_provider_auth_done(struct rst_provider *p, uint32_t id,
			    enum rst_verdict verdict, int64_t now_ms)
{
	if (!is_answer(p, AUTH_ASKED, id))
		return;
	forget_argument(p);
	p->state = COMMAND;
	p->heard_ms = now_ms;
	if (verdict == RST_VERDICT_OK) {
		p->signed_in = true;
		reply(p, "235 2.7.0 Authentication succeeded");
		return;
	}
	reply(p, verdict == RST_VERDICT_TEMPFAIL
			 ? "454 4.7.0 Temporary authentication failure"
			 : "535 5.7.8 Authentication credentials invalid");
	if (++p->auth_failures >= p->limits.max_auth_failures)
		hang_up(p, "4.7.0 Too many authentication failures");
}

void rst_provider_atrn_done(struct rst_provider *p, uint32_t id,
			    enum rst_verdict verdict, int64_t now_ms)
{
	if (!is_answer(p, ATRN_ASKED, id))
		return;
	forget_argument(p);
	p->state = COMMAND;
	p->heard_ms = now_ms;
	if (verdict == RST_VERDICT_OK) {
		p->state = TURNED;
		reply(p, "250 2.0.0 OK, now reversing the connection");
	} else if (verdict == RST_VERDICT_TEMPFAIL) {
		reply(p, "451 4.3.0 Unable to process ATRN request now");
	} else {
		reply(p, "450 4.7.1 ATRN request refused");
	}
}

void rst_provider_close(struct rst_provider *p, const char *text)
{
	/* after the turnaround 421 would be a command from a client */
	if (p->state != TURNED && p->state != CLOSED) {
		rst_buf_puts(&p->out, "421 4.3.2 ");
		reply(p, text);
		finish(p);
	}
}

struct rst_provider *rst_provider_new(const struct rst_provider_limits *limits,
				      int64_t now_ms)
{
	struct rst_provider *p = rst_calloc(1, sizeof(*p));

	p->limits = *limits;
	p->started_ms = p->heard_ms = now_ms;
	rst_buf_printf(&p->out, "220 %s ESMTP Restante\r\n", limits->hostname);
	return p;
}

void rst_provider_free(struct rst_provider **_p)
{
	struct rst_provider *p = *_p;

	if (p == NULL)
		return;
	*_p = NULL;
	forget_argument(p);
	rst_buf_clear(&p->out);
	free(p);
}

const char *rst_provider_output(const struct rst_provider *p, size_t *len_r)
{
	struct rst_str out = rst_buf_view(&p->out);

	*len_r = out.n;
	return out.p;
}

void rst_provider_sent(struct rst_provider *p, size_t n)
{
	rst_buf_take(&p->out, n);
}

bool rst_provider_turned(const struct rst_provider *p)
{
	return p->state == TURNED;
}

int64_t rst_provider_deadline(const struct rst_provider *p)
{
	int64_t session = p->started_ms + p->limits.session_timeout_ms;
	int64_t command = p->heard_ms + p->limits.command_timeout_ms;

	switch (p->state) {
	case COMMAND:
	case AUTH_DATA:
		return command < session ? command : session;
	case AUTH_ASKED:
	case ATRN_ASKED:
		/* the silence is ours */
		return session;
	case TURNED:
	case CLOSED:
		break;
	}
	return -1;
}

void rst_provider_tick(struct rst_provider *p, int64_t now_ms)
{
	int64_t deadline = rst_provider_deadline(p);

	if (deadline >= 0 && now_ms >= deadline)
		hang_up(p, "4.4.2 Time-out");
}
