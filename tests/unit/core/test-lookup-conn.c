/* SPDX-License-Identifier: MIT */
/* The test plays Dovecot's auth at the other end of a socket pair. */
#include "core/lookup-conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "core/dial.h"
#include "test-util.h"

#define HELLO "VERSION\t1\t1\nSPID\t7\n"

struct dial {
	dial_func *done;
	void *ctx;
};

static struct {
	struct event_base *base;
	struct dial dial;
	bool dialling;
	struct lookup_conn *conn;
	int peer;
	char heard[512];
	char logged[RST_LOGLINE_MAX + 1];
	time_t later; /* the clock is so many seconds ahead */
} t;

/** Replaces the C library's, also for libevent. */
int clock_gettime(clockid_t id, struct timespec *now_r)
{
	int ret = (int)syscall(SYS_clock_gettime, id, now_r);

	now_r->tv_sec += t.later;
	return ret;
}

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)snprintf(t.logged, sizeof(t.logged), "%s", line->text);
}

struct dial *dial_start(struct event_base *base, const char *path,
			int64_t timeout_ms, dial_func *done, void *ctx)
{
	(void)base;
	(void)timeout_ms;
	ck_assert_str_eq(path, "/userdb");
	ck_assert(!t.dialling);
	t.dial = (struct dial){done, ctx};
	t.dialling = true;
	return &t.dial;
}

/* never renewed at once */
int dial_now(const char *path)
{
	ck_abort_msg("%s", path);
}

void dial_free(struct dial **dial)
{
	if (*dial != NULL)
		t.dialling = false;
	*dial = NULL;
}

static void on_ready(uint64_t server, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	ck_assert_uint_eq(server, 7);
	strcat(t.heard, "ready ");
}

static void on_answer(const struct rst_lookup_answer *answer, void *ctx)
{
	size_t used = strlen(t.heard);

	ck_assert_ptr_eq(ctx, &t);
	(void)snprintf(t.heard + used, sizeof(t.heard) - used, "%u=%d ",
		       answer->id, (int)answer->result);
}

static void on_lost(void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	strcat(t.heard, "lost ");
}

static const struct lookup_conn_callbacks calls = {on_ready, on_answer,
						   on_lost};

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void pass_time(time_t secs)
{
	t.later += secs;
	turn();
	turn();
}

static void answer_dial(void)
{
	int fds[2];

	ck_assert(t.dialling);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	t.peer = fds[1];
	t.dial.done(fds[0], 0, t.dial.ctx);
	ck_assert(!t.dialling);
}

static void put(const char *text)
{
	ck_assert_int_eq(send(t.peer, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
	turn();
}

static void expect(const char *want)
{
	ck_assert_str_eq(t.heard, want);
	t.heard[0] = '\0';
}

static void expect_said(const char *want)
{
	char buf[256];
	ssize_t n;

	turn();
	n = recv(t.peer, buf, sizeof(buf), 0);
	ck_assert_rst_str_eq(((struct rst_str){buf, n < 0 ? 0 : (size_t)n}),
			     want);
}

static ssize_t ask(void)
{
	return lookup_conn_ask(t.conn, RST_LOOKUP_PASS, RST_STR("bob@x"),
			       RST_STR(""));
}

static void setup(void)
{
	memset(&t, 0, sizeof(t));
	t.peer = -1;
	t.base = event_base_new();
	t.conn = lookup_conn_new(t.base, "/userdb", &calls, &t);
	ck_assert(!t.dialling);
	ck_assert(!lookup_conn_open(t.conn));
	ck_assert(!lookup_conn_open(t.conn));
	ck_assert(t.dialling);
}

static void ready(void)
{
	answer_dial();
	ck_assert_int_eq(ask(), RST_ETEMP);
	expect_said("VERSION\t1\t1\n");
	put(HELLO);
	expect("ready ");
	ck_assert(lookup_conn_open(t.conn));
}

static void teardown(void)
{
	lookup_conn_free(&t.conn);
	ck_assert_ptr_null(t.conn);
	ck_assert(!t.dialling);
	if (t.peer >= 0)
		(void)close(t.peer);
	event_base_free(t.base);
}

START_TEST(test_main_road)
{
	ready();
	ck_assert_int_eq(ask(), 1);
	ck_assert_int_eq(ask(), 2);
	expect_said("PASS\t1\tbob@x\tservice=restante\n"
		    "PASS\t2\tbob@x\tservice=restante\n");
	put("NOTFOUND\t2\nPASS\t1\tus");
	expect("2=1 ");
	put("er=bob@x\n");
	expect("1=0 ");
}
END_TEST

/* Dovecot's old auth process would be asked for ever after a reload. */
START_TEST(test_renewed)
{
	ready();
	ck_assert_int_eq(ask(), 1);
	pass_time(11);
	/* an answer is due */
	expect("");
	ck_assert_int_eq(ask(), RST_ETEMP);
	put("NOTFOUND\t1\n");
	expect("1=1 lost ");
	ck_assert(!t.dialling);
	(void)close(t.peer);
	ck_assert(!lookup_conn_open(t.conn));
	ready();
	/* nobody asks */
	pass_time(11);
	expect("lost ");
	pass_time(1000);
	ck_assert(!t.dialling);
	ck_assert_str_eq(t.logged, "");
}
END_TEST

START_TEST(test_lost)
{
	ready();
	ck_assert_int_eq(ask(), 1);
	expect_said("PASS\t1\tbob@x\tservice=restante\n");
	(void)close(t.peer);
	t.peer = -1;
	turn();
	expect("lost ");
	ck_assert_ptr_nonnull(strstr(t.logged, "connection closed"));
	t.logged[0] = '\0';
	ck_assert(!lookup_conn_open(t.conn));
	ck_assert(!t.dialling); /* not at once */
	pass_time(1);
	ck_assert(t.dialling);
	t.dial.done(-1, ECONNREFUSED, t.dial.ctx);
	expect("lost ");
	ck_assert_str_eq(t.logged, ""); /* one line an outage */
	pass_time(6);
	ready();
	ck_assert_ptr_nonnull(strstr(t.logged, "checked again"));
}
END_TEST

START_TEST(test_no_such_socket)
{
	t.dial.done(-1, ENOENT, t.dial.ctx);
	expect("lost ");
	ck_assert_ptr_nonnull(strstr(t.logged, "unix_listener"));
}
END_TEST

START_TEST(test_another_protocol)
{
	answer_dial();
	put("220 mail ESMTP\r\n");
	expect("lost ");
	ck_assert_ptr_nonnull(strstr(t.logged, "not the auth master"));
}
END_TEST

START_TEST(test_silent)
{
	answer_dial();
	pass_time(11); /* no handshake */
	expect("lost ");
	(void)close(t.peer);
	pass_time(6);
	ready();
	ck_assert_int_eq(ask(), 1);
	turn();
	pass_time(31); /* no answer */
	expect("1=2 lost ");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lookup-conn");
	TCase *tcase = tcase_create("lookup-conn");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_main_road);
	tcase_add_test(tcase, test_renewed);
	tcase_add_test(tcase, test_lost);
	tcase_add_test(tcase, test_no_such_socket);
	tcase_add_test(tcase, test_another_protocol);
	tcase_add_test(tcase, test_silent);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
