/* SPDX-License-Identifier: MIT */
/*
 * The handshake is VERSION and SPID, of which each side says its VERSION at
 * once. Then:
 *
 *   PASS|USER <id> <user> service=restante ...  ->
 *     PASS <id> user=... <fields>   USER <id> <user> <fields>
 *     NOTFOUND <id>   FAIL <id> ...
 *
 * The open questions stand in the order in which they were asked, and each has
 * the same time, so the first is the first to run out.
 */
#include "restante/lookup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "auth-private.h"

/** MAX_INBUF_SIZE of auth-master-connection.c: Dovecot closes the connection
    when it gets a longer line. */
#define QUESTION_MAX 1023
#define ANSWER_MAX 65536

struct question {
	TAILQ_ENTRY(question) link;
	uint32_t id;
	int64_t deadline;
};
TAILQ_HEAD(question_list, question);

struct rst_lookup {
	struct rst_lookup_limits limits;
	struct question_list open;
	unsigned int count;
	uint32_t last_id;
	struct rst_buf output;
	bool version_seen;
	uint64_t server; /* 0: the handshake is not done */
	int64_t handshake_deadline;
	bool failed;
	/* the answer that waits to be pulled */
	bool answered;
	struct rst_lookup_answer answer;
	char *fields;
	int64_t tick_ms; /* questions with an earlier deadline are over */
};

struct rst_lookup *rst_lookup_new(const struct rst_lookup_limits *limits,
				  int64_t now_ms)
{
	struct rst_lookup *l = rst_calloc(1, sizeof(*l));

	l->limits = *limits;
	l->handshake_deadline = now_ms + limits->handshake_timeout_ms;
	l->tick_ms = now_ms - 1;
	TAILQ_INIT(&l->open);
	rst_buf_puts(&l->output, "VERSION\t1\t1\n");
	return l;
}

static void question_free(struct rst_lookup *l, struct question *question)
{
	TAILQ_REMOVE(&l->open, question, link);
	l->count--;
	free(question);
}

void rst_lookup_free(struct rst_lookup **_l)
{
	struct rst_lookup *l = *_l;
	struct question *question;

	*_l = NULL;
	if (l == NULL)
		return;
	while ((question = TAILQ_FIRST(&l->open)) != NULL)
		question_free(l, question);
	rst_buf_clear(&l->output);
	free(l->fields);
	free(l);
}

/* ---- what Dovecot says */

static int handshake_line(struct rst_lookup *l, struct rst_str word,
			  struct rst_str rest)
{
	struct rst_str value;
	bool version = rst_str_eq(word, RST_STR("VERSION"));

	if (version != !l->version_seen)
		return RST_EPROTO;
	if (!rst_auth_field(&rest, &value))
		return RST_EPROTO;
	if (version) {
		l->version_seen = true;
		return rst_str_eq(value, RST_STR("1")) ? 0 : RST_EPROTO;
	}
	if (!rst_str_eq(word, RST_STR("SPID")) ||
	    !rst_str_to_u64(value, &l->server) || l->server == 0)
		return RST_EPROTO;
	return 0;
}

static struct question *find_question(const struct rst_lookup *l, uint64_t id)
{
	struct question *question;

	TAILQ_FOREACH(question, &l->open, link)
	{
		if (question->id == id)
			return question;
	}
	return NULL;
}

static bool result_of(struct rst_str word, enum rst_lookup_result *result_r)
{
	if (rst_str_eq(word, RST_STR("PASS")) ||
	    rst_str_eq(word, RST_STR("USER")))
		*result_r = RST_LOOKUP_FOUND;
	else if (rst_str_eq(word, RST_STR("NOTFOUND")))
		*result_r = RST_LOOKUP_NONE;
	else if (rst_str_eq(word, RST_STR("FAIL")))
		*result_r = RST_LOOKUP_UNKNOWN;
	else
		return false;
	return true;
}

static void answer_now(struct rst_lookup *l, struct question *question,
		       enum rst_lookup_result result, struct rst_str fields)
{
	free(l->fields);
	l->fields = rst_str_dup(fields);
	l->answer = (struct rst_lookup_answer){question->id, result,
					       rst_str(l->fields)};
	l->answered = true;
	question_free(l, question);
}

/* An unknown word belongs to a later version. The answer to a question whose
   time is over comes for an unknown id. */
static int answer_line(struct rst_lookup *l, struct rst_str word,
		       struct rst_str rest)
{
	enum rst_lookup_result result;
	struct question *question;
	struct rst_str number;
	uint64_t id;

	if (!result_of(word, &result))
		return 0;
	if (!rst_auth_field(&rest, &number) || !rst_str_to_u64(number, &id))
		return RST_EPROTO;
	question = find_question(l, id);
	if (question == NULL)
		return 0;
	/* the name comes first: "user=name" of PASS, "name" of USER */
	if (!rst_auth_field(&rest, &number) || rest.p == NULL ||
	    result != RST_LOOKUP_FOUND)
		rest = RST_STR("");
	answer_now(l, question, result, rest);
	return 0;
}

static int take_line(struct rst_lookup *l, struct rst_str line)
{
	struct rst_str word = RST_STR("");

	if (line.n > ANSWER_MAX)
		return RST_ELIMIT;
	(void)rst_auth_field(&line, &word);
	return l->server == 0 ? handshake_line(l, word, line)
			      : answer_line(l, word, line);
}

ssize_t rst_lookup_recv(struct rst_lookup *l, const char *buf, size_t len)
{
	size_t used = 0;
	const char *lf;
	int ret = 0;

	if (l->failed)
		return RST_EPROTO;
	while (ret == 0 && !l->answered && used < len &&
	       (lf = memchr(buf + used, '\n', len - used)) != NULL) {
		struct rst_str line = {buf + used, (size_t)(lf - buf) - used};

		ret = take_line(l, line);
		used += line.n + 1;
	}
	if (ret == 0 && !l->answered && len - used > ANSWER_MAX)
		ret = RST_ELIMIT;
	l->failed = ret < 0;
	return ret < 0 ? ret : (ssize_t)used;
}

bool rst_lookup_next(struct rst_lookup *l, struct rst_lookup_answer *answer_r)
{
	struct question *first = TAILQ_FIRST(&l->open);

	if (!l->answered && first != NULL && first->deadline <= l->tick_ms)
		answer_now(l, first, RST_LOOKUP_UNKNOWN, RST_STR(""));
	if (!l->answered)
		return false;
	l->answered = false;
	*answer_r = l->answer;
	return true;
}

uint64_t rst_lookup_server(const struct rst_lookup *l)
{
	return l->failed ? 0 : l->server;
}

/* ---- questions */

/* Names are Dovecot's own, without control characters; they are escaped all
   the same. */
static ssize_t write_question(struct rst_lookup *l, uint32_t id,
			      enum rst_lookup_question question,
			      struct rst_str user, struct rst_str remote_ip)
{
	struct rst_buf line = {0};
	bool fits;

	rst_buf_printf(&line, "%s\t%u\t",
		       question == RST_LOOKUP_PASS ? "PASS" : "USER", id);
	rst_auth_append_escaped(&line, user);
	rst_buf_puts(&line, "\tservice=restante");
	if (remote_ip.n > 0) {
		rst_buf_puts(&line, "\trip=");
		rst_auth_append_escaped(&line, remote_ip);
	}
	rst_buf_puts(&line, "\n");
	fits = line.used <= QUESTION_MAX;
	if (fits)
		rst_buf_str(&l->output, rst_buf_view(&line));
	rst_buf_clear(&line);
	return fits ? (ssize_t)id : RST_EPERM;
}

ssize_t rst_lookup_ask(struct rst_lookup *l, enum rst_lookup_question question,
		       struct rst_str user, struct rst_str remote_ip,
		       int64_t now_ms)
{
	struct question *asked;
	ssize_t id;

	if (rst_lookup_server(l) == 0 || l->count >= l->limits.max_requests)
		return RST_ETEMP;
	l->last_id = l->last_id >= INT32_MAX ? 1 : l->last_id + 1;
	id = write_question(l, l->last_id, question, user, remote_ip);
	if (id < 0)
		return id;
	asked = rst_calloc(1, sizeof(*asked));
	asked->id = l->last_id;
	asked->deadline = now_ms + l->limits.request_timeout_ms;
	TAILQ_INSERT_TAIL(&l->open, asked, link);
	l->count++;
	return id;
}

const char *rst_lookup_output(const struct rst_lookup *l, size_t *len_r)
{
	struct rst_str view = rst_buf_view(&l->output);

	*len_r = view.n;
	return view.p;
}

void rst_lookup_sent(struct rst_lookup *l, size_t n)
{
	rst_buf_take(&l->output, n);
}

int64_t rst_lookup_deadline(const struct rst_lookup *l)
{
	const struct question *first = TAILQ_FIRST(&l->open);

	if (l->failed)
		return -1;
	if (l->server == 0)
		return l->handshake_deadline;
	return first == NULL ? -1 : first->deadline;
}

void rst_lookup_tick(struct rst_lookup *l, int64_t now_ms)
{
	if (l->server == 0 && now_ms >= l->handshake_deadline)
		l->failed = true;
	l->tick_ms = now_ms;
}

bool rst_lookup_field(struct rst_str fields, const char *name,
		      struct rst_str *value_r)
{
	struct rst_str field;

	while (rst_auth_field(&fields, &field)) {
		if (rst_auth_field_is(field, name, value_r))
			return true;
	}
	return false;
}
