/* SPDX-License-Identifier: MIT */
/* Operators on a real socket; the test plays the sessions. */
#include "core/control-service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "test-util.h"

#define HELLO "VERSION\trestante-control\t1\t1\n"
#define CROWD 20000
#define PATIENCE 100000
#define OPERATORS 9

struct sessions_reader {
	unsigned int next;
};

static struct {
	struct event_base *base;
	struct control_service *service;
	struct sockaddr_un addr;
	unsigned int sessions, readers;
	char user[16];
	char *heard;
	size_t used, size;
} t;

/* ---- played neighbours */

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)line;
}

unsigned int sessions_kick(struct sessions *sessions, struct rst_str user)
{
	ck_assert_ptr_eq((void *)sessions, &t);
	return rst_str_eq(user, RST_STR("bob@x")) ? 2 : 0;
}

struct sessions_reader *sessions_reader_new(struct sessions *sessions)
{
	ck_assert_ptr_eq((void *)sessions, &t);
	t.readers++;
	return rst_calloc(1, sizeof(struct sessions_reader));
}

void sessions_reader_free(struct sessions_reader **reader)
{
	if (*reader != NULL)
		t.readers--;
	free(*reader);
	*reader = NULL;
}

bool sessions_reader_next(struct sessions_reader *reader,
			  struct sessions_row *row_r)
{
	if (reader->next == t.sessions)
		return false;
	(void)snprintf(t.user, sizeof(t.user), "u%u", reader->next++);
	*row_r = (struct sessions_row){.user = rst_str(t.user),
				       .remote = RST_STR("192.0.2.1"),
				       .since = 1700000000,
				       .epoch = reader->next,
				       .draining = reader->next == 2};
	return true;
}

/* ---- */

/* One turn of the loop, in which each event is handled once. */
static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK),
			 0);
}

static int listen_at(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	/* an abstract name leaves no file behind */
	t.addr.sun_family = AF_UNIX;
	(void)snprintf(t.addr.sun_path + 1, sizeof(t.addr.sun_path) - 1,
		       "restante-test-control-%s-%d", name, (int)getpid());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&t.addr, sizeof(t.addr)),
			 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	return fd;
}

static void setup(void)
{
	(void)signal(SIGPIPE, SIG_IGN); /* as in policyd */
	memset(&t, 0, sizeof(t));
	t.size = 4 << 20;
	t.heard = rst_malloc(t.size);
	t.base = event_base_new();
	t.service = control_service_new(t.base, listen_at("a"),
					(struct sessions *)&t, "/var/holders");
}

static void teardown(void)
{
	control_service_free(&t.service);
	ck_assert_ptr_null(t.service);
	control_service_free(&t.service);
	ck_assert_uint_eq(t.readers, 0);
	event_base_free(t.base);
	free(t.heard);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&t.addr, sizeof(t.addr)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* @return whether the connection is still open */
static bool hear(int fd)
{
	ssize_t n = recv(fd, t.heard + t.used, t.size - 1 - t.used, 0);

	if (n > 0)
		t.used += (size_t)n;
	t.heard[t.used] = '\0';
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void say(int fd, const char *text)
{
	(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Hear until `last` stands at the end. */
static void hear_until(int fd, const char *last)
{
	unsigned int left = PATIENCE;
	size_t n = strlen(last);

	while (t.used < n || strcmp(t.heard + t.used - n, last) != 0) {
		ck_assert_uint_gt(left--, 0);
		turn();
		ck_assert(hear(fd));
	}
}

static void hear_end(int fd)
{
	unsigned int left = PATIENCE;

	do {
		ck_assert_uint_gt(left--, 0);
		turn();
	} while (hear(fd));
	(void)close(fd);
}

START_TEST(test_talk)
{
	int fd = dial();

	t.sessions = 2;
	say(fd, HELLO "WHO\nKICK\tbob@x\nKICK\teve\n");
	hear_until(fd, "OK\t0\n");
	ck_assert_str_eq(t.heard, HELLO
			 "SESSION\tu0\t192.0.2.1\t1700000000\t1\tidle\n"
			 "SESSION\tu1\t192.0.2.1\t1700000000\t2\tdraining\n"
			 "OK\t2\nOK\t2\nOK\t0\n");
	/* the connection stays */
	t.used = 0;
	say(fd, "KICK\tbob@x\nHOLDERS\n");
	hear_until(fd, "OK\t1\n");
	say(fd, "DROP\n");
	hear_end(fd);
	ck_assert_str_eq(t.heard, "OK\t2\nHOLDERS\t/var/holders\nOK\t1\n"
				  "NO\tno such command\n");
}
END_TEST

/* A long list comes in pieces: others are answered in between. */
START_TEST(test_crowd)
{
	int fd = dial(), other = dial();
	unsigned int turns = 0;

	t.sessions = CROWD;
	say(fd, HELLO "WHO\nKICK\tbob@x\n");
	while (t.readers == 0)
		turn();
	say(other, HELLO "KICK\tbob@x\n");
	do {
		turn();
		ck_assert_uint_lt(turns++, PATIENCE);
	} while (!hear(other) || strstr(t.heard, "OK\t2\n") == NULL);
	ck_assert_uint_eq(t.readers, 1); /* fd is still being written to */
	t.used = 0;
	hear_until(fd, "OK\t20000\nOK\t2\n");
	(void)close(fd);
	(void)close(other);
}
END_TEST

START_TEST(test_gone_while_listing)
{
	int fd = dial();

	t.sessions = CROWD;
	say(fd, HELLO "WHO\n");
	while (t.readers == 0)
		turn();
	(void)close(fd);
	while (t.readers > 0)
		turn();
}
END_TEST

START_TEST(test_too_many)
{
	int fds[OPERATORS], i;

	for (i = 0; i < OPERATORS; i++) {
		fds[i] = dial();
		turn();
	}
	hear_end(fds[OPERATORS - 1]);
	ck_assert_str_eq(t.heard, "");
	say(fds[0], HELLO "KICK\tbob@x\n");
	hear_until(fds[0], "OK\t2\n");
	for (i = 0; i < OPERATORS - 1; i++)
		(void)close(fds[i]);
}
END_TEST

/* The socket was made again: who is connected stays so. */
START_TEST(test_relisten)
{
	int fd = dial(), other;

	say(fd, HELLO);
	hear_until(fd, HELLO);
	control_service_relisten(t.service, listen_at("b"));
	other = dial();
	t.used = 0;
	say(other, HELLO "KICK\tbob@x\n");
	hear_until(other, "OK\t2\n");
	t.used = 0;
	say(fd, "KICK\tbob@x\n");
	hear_until(fd, "OK\t2\n");
	(void)close(fd);
	(void)close(other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control-service");
	TCase *tcase = tcase_create("control-service");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_talk);
	tcase_add_test(tcase, test_crowd);
	tcase_add_test(tcase, test_gone_while_listing);
	tcase_add_test(tcase, test_too_many);
	tcase_add_test(tcase, test_relisten);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
