/* SPDX-License-Identifier: MIT */
/* The test plays Dovecot's auth at the other end of a socket pair. */
#include "core/auth-conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "core/dial.h"
#include "test-util.h"

#define HELLO                                                     \
	"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\n" \
	"SPID\t1\nCUID\t1\nCOOKIE\tabc\nDONE\n"

struct dial {
	dial_func *done;
	void *ctx;
};

static struct {
	struct event_base *base;
	struct dial dial;
	bool dialling;
	struct auth_conn *conn;
	int peer;
	char heard[512];
	unsigned int events;
} t;

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)line;
}

static int make_peer(void)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	t.peer = fds[1];
	return fds[0];
}

int dial_now(const char *path)
{
	(void)path;
	errno = ENOENT;
	return -1;
}

struct dial *dial_start(struct event_base *base, const char *path,
			int64_t timeout_ms, dial_func *done, void *ctx)
{
	(void)base;
	(void)timeout_ms;
	ck_assert_str_eq(path, "/auth");
	ck_assert(!t.dialling);
	t.dial = (struct dial){done, ctx};
	t.dialling = true;
	return &t.dial;
}

void dial_free(struct dial **dial)
{
	if (*dial != NULL)
		t.dialling = false;
	*dial = NULL;
}

static void on_mechanisms(const char *mechanisms, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	strcat(t.heard, "[");
	strcat(t.heard, mechanisms);
	strcat(t.heard, "]");
}

static void on_event(const struct rst_auth_event *ev, void *ctx)
{
	size_t used = strlen(t.heard);

	ck_assert_ptr_eq(ctx, &t);
	t.events++;
	(void)snprintf(t.heard + used, sizeof(t.heard) - used, "%s%u",
		       ev->type == RST_AUTH_OK         ? "ok"
		       : ev->type == RST_AUTH_CONTINUE ? "continue"
						       : "failed",
		       ev->id);
}

static const struct auth_conn_callbacks calls = {on_mechanisms, on_event};

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void put(const char *data, size_t n)
{
	ck_assert_int_eq(send(t.peer, data, n, MSG_NOSIGNAL), (ssize_t)n);
	turn();
}

static void expect(const char *want)
{
	ck_assert_str_eq(t.heard, want);
	t.heard[0] = '\0';
}

static ssize_t start(void)
{
	const struct rst_auth_request request = {.service = "restante",
						 .mechanism = RST_STR("PLAIN"),
						 .initial = RST_STR("AGEAYg=="),
						 .has_initial = true,
						 .remote_ip =
							 RST_STR("192.0.2.1"),
						 .local_ip = RST_STR("")};

	return auth_conn_start(t.conn, &request);
}

static void begin(void)
{
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.conn = auth_conn_new(t.base, "/auth", &calls, &t);
	ck_assert(t.dialling);
	ck_assert_int_eq(start(), RST_ETEMP);
	t.dial.done(make_peer(), 0, t.dial.ctx);
	ck_assert_int_eq(start(), RST_ETEMP);
}

static void finish(void)
{
	auth_conn_free(&t.conn);
	(void)close(t.peer);
	ck_assert(!t.dialling);
	event_base_free(t.base);
}

START_TEST(test_handshake_cut)
{
	static const char hello[] = HELLO;
	size_t cut;

	for (cut = 1; cut < sizeof(hello) - 1; cut++) {
		begin();
		put(hello, cut);
		expect("");
		put(hello + cut, sizeof(hello) - 1 - cut);
		expect("[PLAIN CRAM-MD5]");
		finish();
	}
}
END_TEST

START_TEST(test_exchanges)
{
	char said[1024] = "", answer[64];
	ssize_t a, b;

	begin();
	put(HELLO, strlen(HELLO));
	expect("[PLAIN CRAM-MD5]");
	a = start();
	b = start();
	ck_assert_int_gt(a, 0);
	ck_assert_int_gt(b, a);
	(void)recv(t.peer, said, sizeof(said) - 1, 0);
	ck_assert_ptr_nonnull(strstr(said, "\tPLAIN\tservice=restante\t"));
	(void)snprintf(answer, sizeof(answer), "OK\t%d\tuser=bob\nFAIL\t%d\n",
		       (int)b, (int)a);
	put(answer, strlen(answer));
	(void)snprintf(answer, sizeof(answer), "ok%dfailed%d", (int)b, (int)a);
	expect(answer);
	finish();
}
END_TEST

/* Postfix waits while answers are handled: the event loop gets its turn after
   some of them. */
START_TEST(test_many_answers)
{
	char answers[200 * 40] = "";
	size_t used = 0;
	unsigned int i;

	begin();
	put(HELLO, strlen(HELLO));
	for (i = 0; i < 200; i++)
		used += (size_t)snprintf(answers + used, sizeof(answers) - used,
					 "OK\t%d\tuser=bob\n", (int)start());
	ck_assert_int_eq(send(t.peer, answers, used, MSG_NOSIGNAL),
			 (ssize_t)used);
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK),
			 0);
	ck_assert_uint_gt(t.events, 0);
	ck_assert_uint_lt(t.events, 100);
	turn();
	ck_assert_uint_eq(t.events, 200);
	finish();
}
END_TEST

/* However the connection is lost: the caller is told once, it is dialled again,
   and the caller is told when it is back. */
START_TEST(test_lost_and_found)
{
	static char endless[17 * 1024];

	memset(endless, 'x', sizeof(endless));
	begin();
	put(HELLO, strlen(HELLO));
	ck_assert_int_gt(start(), 0);
	t.heard[0] = '\0';
	if (_i == 0)
		ck_assert_int_eq(close(t.peer), 0);
	else
		put(endless, sizeof(endless));
	turn();
	expect("[]");
	ck_assert_int_eq(start(), RST_ETEMP);
	if (_i != 0)
		ck_assert_int_eq(close(t.peer), 0);
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
	ck_assert(t.dialling);
	t.dial.done(make_peer(), 0, t.dial.ctx);
	put(HELLO, strlen(HELLO));
	expect("[PLAIN CRAM-MD5]");
	ck_assert_int_gt(start(), 0);
	finish();
}
END_TEST

START_TEST(test_cancel)
{
	char said[2048] = "";
	ssize_t id;

	begin();
	put(HELLO, strlen(HELLO));
	id = start();
	auth_conn_cancel(t.conn, (uint32_t)id);
	t.heard[0] = '\0';
	(void)recv(t.peer, said, sizeof(said) - 1, 0);
	ck_assert_ptr_nonnull(strstr(said, "CANCEL\t"));
	put("OK\t1\tuser=bob\n", 14);
	expect("");
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("auth-conn");
	TCase *tcase = tcase_create("connection");

	tcase_add_test(tcase, test_handshake_cut);
	tcase_add_test(tcase, test_exchanges);
	tcase_add_test(tcase, test_many_answers);
	tcase_add_loop_test(tcase, test_lost_and_found, 0, 2);
	tcase_add_test(tcase, test_cancel);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
