/* SPDX-License-Identifier: MIT */
/*
 * HELLO --VERSION--> READY --KICK, WHO, HOLDERS--> DUE --the answer--> READY
 *
 * A line that may not stand where it stands leads to ENDED.
 */
#include "restante/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "auth-private.h"

#define VERSION "VERSION\trestante-control\t1\t1\n"

enum control_state {
	HELLO,
	READY,
	DUE,
	ENDED
};

struct rst_control {
	enum control_state state;
	struct rst_buf output;
	bool asked; /* event waits to be pulled */
	struct rst_control_event event;
	char *user;
	uint64_t listed;
};

struct rst_control *rst_control_new(void)
{
	struct rst_control *c = rst_calloc(1, sizeof(*c));

	rst_buf_puts(&c->output, VERSION);
	return c;
}

void rst_control_free(struct rst_control **_c)
{
	struct rst_control *c = *_c;

	*_c = NULL;
	if (c == NULL)
		return;
	rst_buf_clear(&c->output);
	free(c->user);
	free(c);
}

static void refuse(struct rst_control *c, const char *text)
{
	rst_buf_printf(&c->output, "NO\t%s\n", text);
	c->state = ENDED;
}

static void hello(struct rst_control *c, struct rst_str rest)
{
	struct rst_str name, major;

	if (rst_auth_field(&rest, &name) && rst_auth_field(&rest, &major) &&
	    rst_str_eq(name, RST_STR("restante-control")) &&
	    rst_str_eq(major, RST_STR("1")))
		c->state = READY;
	else
		refuse(c, "another protocol or version");
}

static void kick(struct rst_control *c, struct rst_str rest)
{
	struct rst_str user;

	if (!rst_auth_field(&rest, &user) || user.n == 0) {
		refuse(c, "KICK needs a user");
		return;
	}
	free(c->user);
	c->user = rst_auth_unescape(user, &c->event.user);
	c->event.type = RST_CONTROL_KICK;
	c->asked = true;
	c->state = DUE;
}

static void ask(struct rst_control *c, enum rst_control_event_type type)
{
	c->event =
		(struct rst_control_event){.type = type, .user = RST_STR("")};
	c->asked = true;
	c->listed = 0;
	c->state = DUE;
}

static void take_line(struct rst_control *c, struct rst_str rest)
{
	struct rst_str word = RST_STR("");
	bool version;

	(void)rst_auth_field(&rest, &word);
	version = rst_str_eq(word, RST_STR("VERSION"));
	if (c->state == HELLO && version)
		hello(c, rest);
	else if (c->state == READY && rst_str_eq(word, RST_STR("KICK")))
		kick(c, rest);
	else if (c->state == READY && rst_str_eq(word, RST_STR("WHO")))
		ask(c, RST_CONTROL_WHO);
	else if (c->state == READY && rst_str_eq(word, RST_STR("HOLDERS")))
		ask(c, RST_CONTROL_HOLDERS);
	else
		refuse(c, c->state == HELLO || version
				  ? "VERSION comes first, and once"
				  : "no such command");
}

size_t rst_control_recv(struct rst_control *c, const char *buf, size_t len)
{
	const char *lf;

	if (c->state == DUE || c->state == ENDED || len == 0)
		return 0;
	lf = memchr(buf, '\n', len);
	if ((lf == NULL && len >= RST_CONTROL_LINE_MAX) ||
	    (lf != NULL && lf - buf >= RST_CONTROL_LINE_MAX)) {
		refuse(c, "the line is too long");
		return 0;
	}
	if (lf == NULL)
		return 0;
	take_line(c, (struct rst_str){buf, (size_t)(lf - buf)});
	return (size_t)(lf - buf) + 1;
}

bool rst_control_next(struct rst_control *c, struct rst_control_event *ev_r)
{
	if (!c->asked)
		return false;
	c->asked = false;
	*ev_r = c->event;
	return true;
}

static void answered(struct rst_control *c, uint64_t count)
{
	rst_buf_printf(&c->output, "OK\t%" PRIu64 "\n", count);
	c->state = READY;
}

void rst_control_kicked(struct rst_control *c, uint64_t sessions)
{
	answered(c, sessions);
}

void rst_control_session(struct rst_control *c,
			 const struct rst_control_session *session)
{
	rst_buf_puts(&c->output, "SESSION\t");
	rst_auth_append_escaped(&c->output, session->user);
	rst_buf_puts(&c->output, "\t");
	rst_auth_append_escaped(&c->output, session->remote);
	rst_buf_printf(&c->output, "\t%" PRId64 "\t%" PRIu64 "\t%s\n",
		       session->since, session->epoch,
		       session->draining ? "draining" : "idle");
	c->listed++;
}

void rst_control_end(struct rst_control *c)
{
	answered(c, c->listed);
}

void rst_control_holders(struct rst_control *c, struct rst_str path)
{
	rst_buf_puts(&c->output, "HOLDERS\t");
	rst_auth_append_escaped(&c->output, path);
	rst_buf_puts(&c->output, "\n");
	answered(c, 1);
}

const char *rst_control_output(const struct rst_control *c, size_t *len_r)
{
	struct rst_str view = rst_buf_view(&c->output);

	*len_r = view.n;
	return view.p;
}

void rst_control_sent(struct rst_control *c, size_t n)
{
	rst_buf_take(&c->output, n);
}

bool rst_control_ended(const struct rst_control *c)
{
	return c->state == ENDED;
}
