/* SPDX-License-Identifier: MIT */
/*
 * GREETING --220--> EHLO --250--> AUTH --235--> ATRN --250--> ENDED (TURNED)
 *
 * Each state names the reply that is awaited. One command is on the way at a
 * time; `pipelined` says all of them at once and only awaits the replies. Any
 * other reply, a time-out, and a server that does not offer what is needed lead
 * to ENDED, with the outcome that says what the client does next.
 */
#include "restante/customer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "buf.h"

/* A whole reply to EHLO, whatever another server may announce in it. */
#define REPLY_MAX 8192
#define ERROR_MAX 512

enum step {
	GREETING,
	EHLO,
	AUTH,
	ATRN,
	ENDED,
};

struct rst_customer {
	char *hostname, *user, *password;
	bool pipelined; /* all commands are said already */
	int64_t reply_timeout_ms;
	int64_t since_ms; /* time of the last reply */
	enum step step;
	enum rst_customer_outcome outcome;
	int status; /* what _recv says when ENDED */
	struct rst_buf out;
	char error[ERROR_MAX];
};

static const char *const step_names[] = {"greeting", "EHLO", "AUTH", "ATRN"};

static void wipe_string(char **s)
{
	if (*s != NULL)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

static void fail(struct rst_customer *c, enum rst_customer_outcome outcome,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));

static void fail(struct rst_customer *c, enum rst_customer_outcome outcome,
		 const char *format, ...)
{
	va_list args;
	size_t n;

	n = (size_t)snprintf(c->error, sizeof(c->error),
			     "%s: ", step_names[c->step]);
	va_start(args, format);
	(void)vsnprintf(c->error + n, sizeof(c->error) - n, format, args);
	va_end(args);
	/* the server's words go to a terminal */
	rst_printable(c->error);
	c->outcome = outcome;
	c->step = ENDED;
}

/* Where the server is still there to hear it. */
static void say_quit(struct rst_customer *c)
{
	rst_buf_puts(&c->out, "QUIT\r\n");
}

static void fail_reply(struct rst_customer *c,
		       const struct rst_smtp_reply *reply)
{
	enum rst_customer_outcome outcome = RST_CUSTOMER_BROKEN;

	if (reply->code >= 500)
		outcome = RST_CUSTOMER_REFUSED;
	else if (reply->code >= 400)
		outcome = RST_CUSTOMER_TEMPFAIL;
	/* RFC 2645: 450 refuses the request for good, 451 does not */
	if (c->step == ATRN && reply->code == 450)
		outcome = RST_CUSTOMER_REFUSED;
	fail(c, outcome, "%u %.*s%s%.*s", reply->code, (int)reply->enhanced.n,
	     reply->enhanced.p, reply->enhanced.n > 0 ? " " : "",
	     (int)reply->text.n, reply->text.p);
	if (reply->code != 421)
		say_quit(c);
}

static void say_ehlo(struct rst_customer *c)
{
	rst_buf_printf(&c->out, "EHLO %s\r\n", c->hostname);
}

struct offer {
	bool auth, plain, atrn;
};

static struct offer read_offer(const struct rst_smtp_reply *reply)
{
	struct rst_str lines = reply->lines, line, keyword, plain;
	struct offer offer = {false, false, false};

	/* the first line is the server's name */
	if (!rst_smtp_reply_line(&lines, &line))
		return offer;
	while (rst_smtp_reply_line(&lines, &line)) {
		if (!rst_str_split(&line, ' ', &keyword))
			continue;
		if (rst_str_case_eq(keyword, RST_STR("ATRN")))
			offer.atrn = true;
		if (!rst_str_case_eq(keyword, RST_STR("AUTH")))
			continue;
		offer.auth = true;
		if (rst_str_find_word(line, RST_STR("PLAIN"), &plain))
			offer.plain = true;
	}
	return offer;
}

/**
 * RFC 4616: an empty authorization identity, the user, the password.
 * @return base64, terminated; wipe_string() it
 */
static char *plain_response(const char *user, const char *password)
{
	size_t user_n = strlen(user), password_n = strlen(password);
	size_t n = 1 + user_n + 1 + password_n, coded_n;
	char *plain = rst_malloc(n);
	char *coded = rst_malloc(RST_BASE64_SIZE(n) + 1);

	plain[0] = '\0';
	memcpy(plain + 1, user, user_n + 1);
	memcpy(plain + 1 + user_n + 1, password, password_n);
	coded_n = rst_base64_encode(plain, n, coded);
	coded[coded_n] = '\0';
	explicit_bzero(plain, n);
	free(plain);
	return coded;
}

static const char auth_command[] = "AUTH PLAIN ";

/* @return the response to AUTH PLAIN, to be wiped; NULL: it is too long, and
   the machine has failed */
static char *take_secret(struct rst_customer *c)
{
	char *response = plain_response(c->user, c->password);

	wipe_string(&c->password);
	if (sizeof(auth_command) - 1 + strlen(response) + 2 <=
	    RST_SMTP_AUTH_LINE_MAX)
		return response;
	wipe_string(&response);
	c->step = AUTH;
	fail(c, RST_CUSTOMER_REFUSED, "user and password too long");
	say_quit(c);
	return NULL;
}

static void say_auth(struct rst_customer *c)
{
	char *response = take_secret(c);

	if (response == NULL)
		return;
	c->step = AUTH;
	/* The queue doubles when it grows. So the appends that follow, a QUIT
	   too, do not move the secret and leave a copy behind. */
	rst_buf_puts(&c->out, auth_command);
	rst_buf_puts(&c->out, response);
	rst_buf_puts(&c->out, "\r\n");
	wipe_string(&response);
}

/* One append, for the same reason as in say_auth(). */
static void say_all(struct rst_customer *c)
{
	char *response = take_secret(c);

	if (response != NULL)
		rst_buf_printf(&c->out, "EHLO %s\r\n%s%s\r\nATRN\r\n",
			       c->hostname, auth_command, response);
	wipe_string(&response);
}

static void take_offer(struct rst_customer *c,
		       const struct rst_smtp_reply *reply)
{
	struct offer offer = read_offer(reply);

	if (!offer.atrn) {
		fail(c, RST_CUSTOMER_BROKEN, "server does not offer ATRN");
	} else if (!offer.auth) {
		/* a policyd whose Dovecot is away offers none */
		fail(c, RST_CUSTOMER_TEMPFAIL, "server does not offer AUTH");
	} else if (!offer.plain) {
		fail(c, RST_CUSTOMER_REFUSED,
		     "server does not offer AUTH PLAIN");
	} else if (c->pipelined) {
		c->step = AUTH;
		return;
	} else {
		say_auth(c);
		return;
	}
	say_quit(c);
}

static void take_reply(struct rst_customer *c,
		       const struct rst_smtp_reply *reply)
{
	static const unsigned int wanted[] = {220, 250, 235, 250};

	if (reply->code != wanted[c->step]) {
		fail_reply(c, reply);
		return;
	}
	switch (c->step) {
	case GREETING:
		if (!c->pipelined)
			say_ehlo(c);
		c->step = EHLO;
		break;
	case EHLO:
		take_offer(c, reply);
		break;
	case AUTH:
		if (!c->pipelined)
			rst_buf_puts(&c->out, "ATRN\r\n");
		c->step = ATRN;
		break;
	case ATRN:
		c->step = ENDED;
		c->outcome = RST_CUSTOMER_TURNED;
		break;
	case ENDED:
		break;
	}
}

ssize_t rst_customer_recv(struct rst_customer *c, const char *buf, size_t len,
			  int64_t now_ms)
{
	struct rst_str rest = {buf, len};
	struct rst_smtp_reply reply;

	while (c->step != ENDED) {
		ssize_t n =
			rst_smtp_reply_parse(rest.p, rest.n, REPLY_MAX, &reply);

		if (n == 0)
			break;
		if (n < 0) {
			fail(c, RST_CUSTOMER_BROKEN,
			     n == RST_ELIMIT ? "reply too long"
					     : "reply is no SMTP");
			c->status = (int)n;
			break;
		}
		c->since_ms = now_ms;
		take_reply(c, &reply);
		rest.p += n;
		rest.n -= (size_t)n;
	}
	return rest.n < len ? (ssize_t)(len - rest.n) : c->status;
}

enum rst_customer_outcome rst_customer_outcome(const struct rst_customer *c)
{
	return c->outcome;
}

const char *rst_customer_error(const struct rst_customer *c)
{
	return c->error;
}

struct rst_customer *
rst_customer_new(const struct rst_customer_settings *settings, int64_t now_ms)
{
	struct rst_customer *c = rst_calloc(1, sizeof(*c));

	c->hostname = rst_strdup(settings->hostname);
	c->user = rst_strdup(settings->user);
	c->password = rst_strdup(settings->password);
	c->reply_timeout_ms = settings->reply_timeout_ms;
	c->since_ms = now_ms;
	c->pipelined = settings->pipelined;
	if (c->pipelined)
		say_all(c);
	return c;
}

void rst_customer_free(struct rst_customer **_c)
{
	struct rst_customer *c = *_c;

	if (c == NULL)
		return;
	*_c = NULL;
	free(c->hostname);
	free(c->user);
	wipe_string(&c->password);
	if (c->out.data != NULL)
		explicit_bzero(c->out.data, c->out.alloc);
	rst_buf_clear(&c->out);
	free(c);
}

const char *rst_customer_output(const struct rst_customer *c, size_t *len_r)
{
	struct rst_str out = rst_buf_view(&c->out);

	*len_r = out.n;
	return out.p;
}

void rst_customer_sent(struct rst_customer *c, size_t n)
{
	if (n > 0)
		explicit_bzero(c->out.data + c->out.start, n);
	rst_buf_take(&c->out, n);
}

int64_t rst_customer_deadline(const struct rst_customer *c)
{
	return c->step == ENDED ? -1 : c->since_ms + c->reply_timeout_ms;
}

void rst_customer_tick(struct rst_customer *c, int64_t now_ms)
{
	int64_t deadline = rst_customer_deadline(c);

	if (deadline >= 0 && now_ms >= deadline)
		fail(c, RST_CUSTOMER_TEMPFAIL, "no reply in %lld s",
		     (long long)(c->reply_timeout_ms / 1000));
}
