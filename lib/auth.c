/* SPDX-License-Identifier: MIT */
/*
 * The connection: handshake -> (DONE) ready -> (fault, time-out) failed.
 * Both sides speak at once, so VERSION and CPID go out before anything came.
 *
 * An exchange:
 *
 *   QUEUED --AUTH sent--> WITH_AUTH --OK, FAIL, time-out--> ANSWERED --> gone
 *                            ^  `--CONT--> ANSWERED --pulled--> WITH_CLIENT
 *                            `---------------rst_auth_continue()----'
 *
 *   QUEUED       started before the connection is ready, or while Dovecot has
 *                max_slow exchanges: its AUTH line waits, a timer runs
 *   WITH_AUTH    Dovecot has to answer, a timer runs
 *   WITH_CLIENT  the client has to answer a challenge; the caller bounds that
 *   ANSWERED     its event waits to be pulled
 *
 * A QUEUED exchange stands in the list `queued`, a WITH_AUTH one in `waiting`.
 * Each step has the same time, so the first of a list is the first to run out.
 *
 * Dovecot's auth process verifies one expensive password after the other, and
 * IMAP logins wait behind them. It verifies a password it was sent also when
 * the client has gone. So while a right password takes long, at most max_slow
 * exchanges are with Dovecot; others run out of time here, which costs nothing.
 * While Dovecot is quick there is no such limit: Dovecot delays the answer to a
 * wrong password by some seconds, and a guesser could fill all places.
 */
#include "restante/auth.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "auth-private.h"
#include "base64.h"
#include "table.h"

/* Octets of all mechanism names on offer; some twenty mechanisms exist. */
#define MECHANISMS_MAX 1024

enum exchange_state {
	QUEUED,
	WITH_AUTH,
	WITH_CLIENT,
	ANSWERED,
};

struct exchange {
	struct rst_table_entry entry; /* its key is id */
	TAILQ_ENTRY(exchange) link;   /* in the list of its state */
	uint32_t id;
	enum exchange_state state;
	int64_t deadline, sent_ms;
	struct rst_buf command; /* QUEUED: the AUTH line */
	char mechanism[RST_AUTH_MECHANISM_MAX + 1];
	/* ANSWERED: the event, whose views are of text and reason */
	struct rst_auth_event event;
	char *text, *reason;
};
TAILQ_HEAD(exchange_list, exchange);

struct rst_auth {
	struct rst_auth_limits limits;
	struct rst_table exchanges;
	struct exchange_list queued, waiting, answered;
	unsigned int with_auth; /* in `waiting` */
	bool slow;              /* the last OK took slow_ms or longer */
	int64_t now_ms;
	struct rst_buf output;
	char *mechanisms; /* blank separated */
	uint32_t last_id;
	int64_t handshake_deadline;
	bool version_seen;
	bool ready, ready_untold;
	bool failed;
	char *shown_text, *shown_reason; /* of the last pulled event */
};

/* Queued octets may be a password. Best effort: copies that an earlier growth
   of the queue left behind are not reached. */
static void wipe(struct rst_buf *buf, size_t n)
{
	if (n > 0)
		explicit_bzero(buf->data + buf->start, n);
	rst_buf_take(buf, n);
}

struct rst_auth *rst_auth_new(const struct rst_auth_limits *limits,
			      int64_t now_ms)
{
	struct rst_auth *a = rst_calloc(1, sizeof(*a));

	a->limits = *limits;
	a->handshake_deadline = now_ms + limits->handshake_timeout_ms;
	a->mechanisms = rst_strdup("");
	TAILQ_INIT(&a->queued);
	TAILQ_INIT(&a->waiting);
	TAILQ_INIT(&a->answered);
	rst_buf_printf(&a->output, "VERSION\t1\t2\nCPID\t%u\n", limits->pid);
	return a;
}

static void exchange_free(struct exchange *x)
{
	wipe(&x->command, x->command.used);
	free(x->text);
	free(x->reason);
	free(x);
}

static void exchange_free_entry(struct rst_table_entry *entry)
{
	exchange_free((struct exchange *)entry);
}

static void forget_shown(struct rst_auth *a)
{
	free(a->shown_text);
	free(a->shown_reason);
	a->shown_text = NULL;
	a->shown_reason = NULL;
}

void rst_auth_free(struct rst_auth **_a)
{
	struct rst_auth *a = *_a;

	if (a == NULL)
		return;
	*_a = NULL;
	rst_table_clear(&a->exchanges, exchange_free_entry);
	wipe(&a->output, a->output.used);
	forget_shown(a);
	free(a->mechanisms);
	free(a);
}

static struct exchange *exchange_find(const struct rst_auth *a, uint32_t id)
{
	return rst_table_find(&a->exchanges,
			      (struct rst_str){(char *)&id, sizeof(id)});
}

/* Take it out of the list of its state. */
static void exchange_unlist(struct rst_auth *a, struct exchange *x)
{
	switch (x->state) {
	case QUEUED:
		TAILQ_REMOVE(&a->queued, x, link);
		break;
	case WITH_AUTH:
		TAILQ_REMOVE(&a->waiting, x, link);
		a->with_auth--;
		break;
	case ANSWERED:
		TAILQ_REMOVE(&a->answered, x, link);
		break;
	case WITH_CLIENT:
		break;
	}
}

static void exchange_queue(struct rst_auth *a, struct exchange *x,
			   int64_t now_ms)
{
	x->state = QUEUED;
	x->deadline = now_ms + a->limits.request_timeout_ms;
	TAILQ_INSERT_TAIL(&a->queued, x, link);
}

static void exchange_wait(struct rst_auth *a, struct exchange *x,
			  int64_t now_ms)
{
	x->state = WITH_AUTH;
	x->sent_ms = now_ms;
	x->deadline = now_ms + a->limits.request_timeout_ms;
	TAILQ_INSERT_TAIL(&a->waiting, x, link);
	a->with_auth++;
}

static void exchange_answer(struct rst_auth *a, struct exchange *x,
			    enum rst_auth_event_type type)
{
	exchange_unlist(a, x);
	wipe(&x->command, x->command.used);
	x->state = ANSWERED;
	x->event.type = type;
	x->event.id = x->id;
	TAILQ_INSERT_TAIL(&a->answered, x, link);
}

static void exchange_fail(struct rst_auth *a, struct exchange *x,
			  bool temporary, const char *reason)
{
	if (x->reason == NULL) {
		x->reason = rst_strdup(reason);
		x->event.reason = rst_str(x->reason);
	}
	x->event.temporary = temporary;
	exchange_answer(a, x, RST_AUTH_FAILED);
}

static void exchange_remove(struct rst_auth *a, struct exchange *x)
{
	exchange_unlist(a, x);
	rst_table_remove(&a->exchanges, &x->entry);
	exchange_free(x);
}

/* ---- the handshake */

/* VERSION <TAB> major <TAB> minor: any minor number will do. */
static int handshake_version(struct rst_auth *a, struct rst_str rest)
{
	struct rst_str major, minor;
	uint64_t number;

	if (!rst_auth_field(&rest, &major) || !rst_auth_field(&rest, &minor) ||
	    !rst_str_eq(major, RST_STR("1")) || !rst_str_to_u64(minor, &number))
		return RST_EPROTO;
	a->version_seen = true;
	return 0;
}

static bool mechanism_offered(const struct rst_auth *a, struct rst_str name)
{
	struct rst_str found;

	/* all names are upper case: rst_auth_mechanism_valid() */
	return rst_str_find_word(rst_str(a->mechanisms), name, &found);
}

/* MECH <TAB> name <TAB> flag <TAB> flag ... */
static int handshake_mech(struct rst_auth *a, struct rst_str rest)
{
	size_t used = strlen(a->mechanisms);
	struct rst_str name;
	char *end;

	if (!rst_auth_field(&rest, &name))
		return RST_EPROTO;
	if (!rst_auth_mechanism_usable(name, rest) ||
	    mechanism_offered(a, name))
		return 0;
	if (used + 1 + name.n > MECHANISMS_MAX)
		return RST_ELIMIT;
	a->mechanisms = rst_realloc(a->mechanisms, used + name.n + 2);
	end = a->mechanisms + used;
	if (used > 0)
		*end++ = ' ';
	memcpy(end, name.p, name.n);
	end[name.n] = '\0';
	return 0;
}

/* Dovecot closes the connection, with every exchange on it, when AUTH names a
   mechanism that it does not have. */
static void send_auth(struct rst_auth *a, struct exchange *x, int64_t now_ms)
{
	exchange_wait(a, x, now_ms);
	if (mechanism_offered(a, rst_str(x->mechanism))) {
		rst_buf_str(&a->output, rst_buf_view(&x->command));
		wipe(&x->command, x->command.used);
	} else {
		exchange_fail(a, x, false, "mechanism not offered");
	}
}

static bool may_send(const struct rst_auth *a)
{
	return a->ready && !TAILQ_EMPTY(&a->queued) &&
	       (!a->slow || a->with_auth < a->limits.max_slow);
}

static void send_queued(struct rst_auth *a, int64_t now_ms)
{
	a->now_ms = now_ms;
	while (may_send(a)) {
		struct exchange *x = TAILQ_FIRST(&a->queued);

		TAILQ_REMOVE(&a->queued, x, link);
		send_auth(a, x, now_ms);
	}
}

/* SPID, CUID and COOKIE are for login processes, which pass a user on to other
   processes of Dovecot; an unknown word belongs to a later minor version. */
static int handshake_line(struct rst_auth *a, struct rst_str line)
{
	struct rst_str word = RST_STR("");

	(void)rst_auth_field(&line, &word);
	if (!a->version_seen) {
		if (!rst_str_eq(word, RST_STR("VERSION")))
			return RST_EPROTO;
		return handshake_version(a, line);
	}
	if (rst_str_eq(word, RST_STR("MECH")))
		return handshake_mech(a, line);
	if (rst_str_eq(word, RST_STR("DONE"))) {
		a->ready = true;
		a->ready_untold = true;
		send_queued(a, a->now_ms);
	}
	return 0;
}

/* ---- Dovecot's answers */

/* Keep a field's text in one of the exchange's two places. */
static void keep(char **place, struct rst_str *view, struct rst_str field)
{
	free(*place);
	*place = rst_auth_unescape(field, view);
}

static void parse_answer(struct exchange *x, struct rst_str rest,
			 struct rst_auth_answer *answer_r)
{
	rst_auth_answer_parse(rest, answer_r);
	keep(&x->text, &x->event.user, answer_r->user);
	if (answer_r->reason.n > 0)
		keep(&x->reason, &x->event.reason, answer_r->reason);
}

/* An OK is not always a yes. With proxy Dovecot may not have looked at the
   password (passdb nopassword=y): the server behind the proxy would do that. */
static int answer_ok(struct rst_auth *a, struct exchange *x,
		     struct rst_str rest)
{
	struct rst_auth_answer answer;

	if (x->state != WITH_AUTH)
		return RST_EPROTO;
	a->slow = a->now_ms - x->sent_ms >= a->limits.slow_ms;
	parse_answer(x, rest, &answer);
	if (answer.proxy)
		exchange_fail(a, x, true, "account is on another server");
	else if (answer.nologin)
		exchange_fail(a, x, false, "account may not log in");
	else if (answer.anonymous)
		exchange_fail(a, x, false, "anonymous login");
	else if (!rst_auth_user_usable(x->event.user))
		exchange_fail(a, x, true, "no usable user name from auth");
	else
		exchange_answer(a, x, RST_AUTH_OK);
	return 0;
}

static int answer_fail(struct rst_auth *a, struct exchange *x,
		       struct rst_str rest)
{
	struct rst_auth_answer answer;
	struct rst_str code;
	char *copy;

	parse_answer(x, rest, &answer);
	copy = rst_auth_unescape(answer.code, &code);
	exchange_fail(a, x, answer.temporary, copy);
	free(copy);
	return 0;
}

static int answer_cont(struct rst_auth *a, struct exchange *x,
		       struct rst_str rest)
{
	struct rst_str challenge;

	if (x->state != WITH_AUTH || !rst_auth_field(&rest, &challenge) ||
	    !rst_base64_valid(challenge))
		return RST_EPROTO;
	keep(&x->text, &x->event.challenge, challenge);
	exchange_answer(a, x, RST_AUTH_CONTINUE);
	return 0;
}

static const struct {
	struct rst_str word;
	int (*handle)(struct rst_auth *a, struct exchange *x,
		      struct rst_str rest);
} answers[] = {
	{{"OK", 2}, answer_ok},
	{{"FAIL", 4}, answer_fail},
	{{"CONT", 4}, answer_cont},
};

/* take_line() returns this for a line that is to be offered again. */
#define NOT_YET 1

/*
 * word <TAB> id <TAB> fields. An unknown exchange was cancelled or timed out,
 * and an ANSWERED one timed out, unless its event is a challenge: then the line
 * may answer a response for which the event has to be pulled first.
 */
static int answer_line(struct rst_auth *a, struct rst_str line)
{
	struct rst_str word = RST_STR(""), number;
	struct exchange *x;
	uint64_t id;
	size_t i;

	(void)rst_auth_field(&line, &word);
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		if (!rst_str_eq(answers[i].word, word))
			continue;
		if (!rst_auth_field(&line, &number) ||
		    !rst_str_to_u64(number, &id) || id == 0 || id > UINT32_MAX)
			return RST_EPROTO;
		x = exchange_find(a, (uint32_t)id);
		if (x == NULL)
			return 0;
		if (x->state == ANSWERED)
			return x->event.type == RST_AUTH_CONTINUE ? NOT_YET : 0;
		return answers[i].handle(a, x, line);
	}
	return 0;
}

static int take_line(struct rst_auth *a, struct rst_str line)
{
	if (line.n > RST_AUTH_LINE_MAX)
		return RST_ELIMIT;
	return a->ready ? answer_line(a, line) : handshake_line(a, line);
}

ssize_t rst_auth_recv(struct rst_auth *a, const char *buf, size_t len,
		      int64_t now_ms)
{
	size_t used = 0;
	const char *lf;
	int ret = 0;

	forget_shown(a);
	a->now_ms = now_ms;
	if (a->failed)
		return RST_EPROTO;
	while (ret == 0 && used < len &&
	       (lf = memchr(buf + used, '\n', len - used)) != NULL) {
		struct rst_str line = {buf + used, (size_t)(lf - buf) - used};

		ret = take_line(a, line);
		if (ret == 0)
			used += line.n + 1;
	}
	if (ret == 0 && len - used > RST_AUTH_LINE_MAX)
		ret = RST_ELIMIT;
	a->failed = ret < 0;
	send_queued(a, now_ms);
	return ret < 0 ? ret : (ssize_t)used;
}

bool rst_auth_next(struct rst_auth *a, struct rst_auth_event *ev_r)
{
	struct exchange *x = TAILQ_FIRST(&a->answered);

	forget_shown(a);
	if (a->ready_untold) {
		a->ready_untold = false;
		*ev_r = (struct rst_auth_event){.type = RST_AUTH_READY,
						.challenge = RST_STR(""),
						.user = RST_STR(""),
						.reason = RST_STR("")};
		return true;
	}
	if (x == NULL)
		return false;
	*ev_r = x->event;
	a->shown_text = x->text;
	a->shown_reason = x->reason;
	x->text = NULL;
	x->reason = NULL;
	if (x->event.type != RST_AUTH_CONTINUE) {
		exchange_remove(a, x);
		return true;
	}
	exchange_unlist(a, x);
	x->state = WITH_CLIENT;
	x->event.challenge = RST_STR("");
	return true;
}

/* ---- exchanges */

/* Ids fit a positive ssize_t, also of 32 bits, and an id is used again after
   two thousand million others at the earliest. */
static uint32_t next_id(struct rst_auth *a)
{
	do {
		a->last_id = a->last_id >= INT32_MAX ? 1 : a->last_id + 1;
	} while (exchange_find(a, a->last_id) != NULL);
	return a->last_id;
}

static struct exchange *exchange_new(struct rst_auth *a,
				     struct rst_str mechanism)
{
	struct exchange *x = rst_calloc(1, sizeof(*x));

	x->id = next_id(a);
	x->entry.key = (struct rst_str){(char *)&x->id, sizeof(x->id)};
	x->event.challenge = RST_STR("");
	x->event.user = RST_STR("");
	x->event.reason = RST_STR("");
	memcpy(x->mechanism, mechanism.p, mechanism.n);
	return x;
}

ssize_t rst_auth_start(struct rst_auth *a, const struct rst_auth_request *req,
		       int64_t now_ms)
{
	struct exchange *x;

	if (!rst_auth_mechanism_valid(req->mechanism) ||
	    (a->ready && !mechanism_offered(a, req->mechanism)))
		return RST_EPERM;
	if (a->failed || a->exchanges.count >= a->limits.max_requests)
		return RST_ETEMP;
	x = exchange_new(a, req->mechanism);
	if (rst_auth_format(&x->command, x->id, req) < 0) {
		exchange_free(x);
		return RST_EPERM;
	}
	rst_table_insert(&a->exchanges, &x->entry);
	exchange_queue(a, x, now_ms);
	send_queued(a, now_ms);
	return (ssize_t)x->id;
}

int rst_auth_continue(struct rst_auth *a, uint32_t id, struct rst_str response,
		      int64_t now_ms)
{
	struct exchange *x = exchange_find(a, id);

	if (x == NULL || x->state != WITH_CLIENT ||
	    response.n > RST_AUTH_LINE_MAX - sizeof("CONT\t4294967295\t\n") ||
	    !rst_base64_valid(response))
		return RST_EPERM;
	rst_buf_printf(&a->output, "CONT\t%u\t", id);
	rst_buf_str(&a->output, response);
	rst_buf_puts(&a->output, "\n");
	exchange_wait(a, x, now_ms);
	return 0;
}

/* Tell Dovecot where it knows the exchange and has not decided. */
static void send_cancel(struct rst_auth *a, const struct exchange *x)
{
	if (x->state == WITH_AUTH || x->state == WITH_CLIENT ||
	    (x->state == ANSWERED && x->event.type == RST_AUTH_CONTINUE))
		rst_buf_printf(&a->output, "CANCEL\t%u\n", x->id);
}

void rst_auth_cancel(struct rst_auth *a, uint32_t id)
{
	struct exchange *x = exchange_find(a, id);

	if (x == NULL)
		return;
	send_cancel(a, x);
	exchange_remove(a, x);
}

const char *rst_auth_mechanisms(const struct rst_auth *a)
{
	return a->ready ? a->mechanisms : "";
}

const char *rst_auth_output(const struct rst_auth *a, size_t *len_r)
{
	struct rst_str view = rst_buf_view(&a->output);

	*len_r = view.n;
	return view.p;
}

void rst_auth_sent(struct rst_auth *a, size_t n)
{
	wipe(&a->output, n);
}

static int64_t earlier(int64_t deadline, const struct exchange *x)
{
	return x != NULL && (deadline < 0 || x->deadline < deadline)
		       ? x->deadline
		       : deadline;
}

int64_t rst_auth_deadline(const struct rst_auth *a)
{
	bool handshaking = !a->ready && !a->failed;
	int64_t deadline = handshaking ? a->handshake_deadline : -1;

	if (may_send(a)) /* a cancelled exchange has left its place */
		return a->now_ms;
	deadline = earlier(deadline, TAILQ_FIRST(&a->queued));
	return earlier(deadline, TAILQ_FIRST(&a->waiting));
}

static void run_out(struct rst_auth *a, const struct exchange_list *list,
		    int64_t now_ms)
{
	struct exchange *x;

	while ((x = TAILQ_FIRST(list)) != NULL && x->deadline <= now_ms) {
		send_cancel(a, x);
		exchange_fail(a, x, true, "no answer from auth in time");
	}
}

void rst_auth_tick(struct rst_auth *a, int64_t now_ms)
{
	if (!a->ready && now_ms >= a->handshake_deadline)
		a->failed = true;
	run_out(a, &a->queued, now_ms);
	run_out(a, &a->waiting, now_ms);
	send_queued(a, now_ms);
}
