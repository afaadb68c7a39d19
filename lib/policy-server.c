/* SPDX-License-Identifier: MIT */
/*
 * idle --a whole request came--> asked --answer or time-out--> idle
 *
 * _next reports a question once. Postfix sends its next request only when it
 * has the answer.
 */
#include "restante/policy.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"

struct rst_policy_server {
	struct rst_policy_server_limits limits;
	struct rst_policy_request request; /* views into the caller's octets */
	/* A single answer is sent from the static string. `output` has the
	   answers when there are several. */
	struct rst_str answer;
	struct rst_buf output;
	int64_t deadline;
	uint32_t id;
	bool asked; /* a question is open */
	bool told;  /* _next has reported it */
};

struct rst_policy_server *
rst_policy_server_new(const struct rst_policy_server_limits *limits)
{
	struct rst_policy_server *s = rst_calloc(1, sizeof(*s));

	s->limits = *limits;
	s->answer = RST_STR("");
	return s;
}

void rst_policy_server_free(struct rst_policy_server **_s)
{
	struct rst_policy_server *s = *_s;

	if (s == NULL)
		return;
	*_s = NULL;
	rst_buf_clear(&s->output);
	free(s);
}

ssize_t rst_policy_server_recv(struct rst_policy_server *s, const char *buf,
			       size_t len, int64_t now_ms)
{
	ssize_t used;

	if (s->asked)
		return 0;
	if (s->output.used > RST_POLICY_OUTPUT_MAX)
		return RST_ELIMIT;
	used = rst_policy_parse(buf, len, &s->request);
	if (used <= 0)
		return used;
	if (++s->id == 0)
		s->id = 1;
	s->deadline = now_ms + s->limits.answer_timeout_ms;
	s->asked = true;
	s->told = false;
	return used;
}

bool rst_policy_server_next(struct rst_policy_server *s,
			    struct rst_policy_ask *ask_r)
{
	if (!s->asked || s->told)
		return false;
	s->told = true;
	*ask_r = (struct rst_policy_ask){.id = s->id, .request = &s->request};
	return true;
}

static void append_answer(struct rst_policy_server *s, struct rst_str answer)
{
	if (s->answer.n == 0 && s->output.used == 0) {
		s->answer = answer;
		return;
	}
	rst_buf_str(&s->output, s->answer);
	s->answer = RST_STR("");
	rst_buf_str(&s->output, answer);
}

void rst_policy_server_answer(struct rst_policy_server *s, uint32_t id,
			      enum rst_policy_action action)
{
	if (!s->asked || id != s->id)
		return;
	s->asked = false;
	append_answer(s, rst_policy_answer(action));
}

const char *rst_policy_server_output(const struct rst_policy_server *s,
				     size_t *len_r)
{
	struct rst_str view =
		s->answer.n > 0 ? s->answer : rst_buf_view(&s->output);

	*len_r = view.n;
	return view.p;
}

void rst_policy_server_sent(struct rst_policy_server *s, size_t n)
{
	if (s->answer.n > 0) {
		s->answer.p += n;
		s->answer.n -= n;
	} else {
		rst_buf_take(&s->output, n);
	}
}

int64_t rst_policy_server_deadline(const struct rst_policy_server *s)
{
	return s->asked ? s->deadline : -1;
}

void rst_policy_server_tick(struct rst_policy_server *s, int64_t now_ms)
{
	if (s->asked && now_ms >= s->deadline)
		rst_policy_server_answer(s, s->id, RST_POLICY_DUNNO);
}
