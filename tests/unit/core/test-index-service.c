/* SPDX-License-Identifier: MIT */
/* Diallers on a real socket; a timetable of the test plays the due index. */
#include "core/index-service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/hold.h"
#include "restante/timetable.h"
#include "test-util.h"

#define HELLO "VERSION\trestante-hold\t1\t0\n"
#define CROWD 20000
#define PATIENCE 100000
#define DIALLERS 9

static struct {
	struct event_base *base;
	struct index_service *service;
	struct rst_timetable *timetable;
	bool incomplete;
	uint64_t unread;
	struct sockaddr_un addr;
	char heard[65536];
	size_t used;
} t;

/* ---- played neighbours */

struct rst_timetable_reader *fallback_read(struct fallback *fallback,
					   uint64_t *unread_r)
{
	(void)fallback;
	*unread_r = t.unread;
	return t.incomplete ? NULL : rst_timetable_reader_new(t.timetable);
}

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)line;
}

/* ---- */

/* One turn of the loop, in which each event is handled once. */
static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK),
			 0);
}

static void setup(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	(void)signal(SIGPIPE, SIG_IGN); /* as in policyd */
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.timetable = rst_timetable_new();
	t.addr.sun_family = AF_UNIX;
	/* an abstract name leaves no file behind */
	(void)snprintf(t.addr.sun_path + 1, sizeof(t.addr.sun_path) - 1,
		       "restante-test-index-%d", (int)getpid());
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&t.addr, sizeof(t.addr)),
			 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	t.service = index_service_new(t.base, fd, NULL);
}

static void teardown(void)
{
	index_service_free(&t.service);
	ck_assert_ptr_null(t.service);
	index_service_free(&t.service);
	rst_timetable_free(&t.timetable);
	event_base_free(t.base);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&t.addr, sizeof(t.addr)), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void note(const char *user, int64_t due)
{
	rst_timetable_note(t.timetable, rst_str(user), due);
}

/* @return whether the connection is still open */
static bool hear(int fd)
{
	ssize_t n = recv(fd, t.heard + t.used, sizeof(t.heard) - 1 - t.used, 0);

	if (n > 0)
		t.used += (size_t)n;
	t.heard[t.used] = '\0';
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void hear_all(int fd)
{
	unsigned int left = PATIENCE;

	t.used = 0;
	do {
		ck_assert_uint_gt(left--, 0);
		turn();
	} while (hear(fd));
	(void)close(fd);
}

static void say(int fd, const char *text, size_t len)
{
	/* the service may have refused and closed before the rest */
	(void)send(fd, text, len, MSG_NOSIGNAL);
	turn();
}

static const struct {
	const char *said, *heard;
} talks[] = {
	{HELLO "SCAN\n", HELLO "HOLDS\tbob@x\t0\t0\t1700000000\nEND\t1\t0\n"},
	{"VERSION\trestante-hold\t1\t9\tmore\nSCAN\tmore\n",
	 HELLO "HOLDS\tbob@x\t0\t0\t1700000000\nEND\t1\t0\n"},
	{"SCAN\n", "NO\tPROTOCOL\tnot now, or not at all\n"},
	{HELLO HELLO, HELLO "NO\tPROTOCOL\tnot now, or not at all\n"},
	{HELLO "USER\tbob@x\n", HELLO "NO\tPROTOCOL\tnot now, or not at all\n"},
	{"VERSION\trestante-hold\t2\t0\n",
	 "NO\tPROTOCOL\tnot now, or not at all\n"},
	{"VERSION\tother\t1\t0\n", "NO\tPROTOCOL\tnot now, or not at all\n"},
	{"VERSION\trestante-hold\t1\n",
	 "NO\tPROTOCOL\tnot now, or not at all\n"},
	{"\n", "NO\tPROTOCOL\tnot now, or not at all\n"},
	{"\001x\n", "NO\tPROTOCOL\tnot now, or not at all\n"},
};

/* In one piece, and cut at every octet. */
START_TEST(test_talk)
{
	const char *said = talks[_i].said;
	size_t len = strlen(said), cut;

	note("bob@x", 1700000000);
	for (cut = 0; cut <= len; cut++) {
		int fd = dial();

		if (cut > 0)
			say(fd, said, cut);
		if (cut < len)
			say(fd, said + cut, len - cut);
		hear_all(fd);
		ck_assert_str_eq(t.heard, talks[_i].heard);
	}
}
END_TEST

START_TEST(test_names_are_escaped)
{
	int fd;

	note("a\tb\nc\001", 7);
	fd = dial();
	say(fd, HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
	hear_all(fd);
	ck_assert_str_eq(t.heard, HELLO "HOLDS\ta\001tb\001nc\0011\t0\t0\t7\n"
					"END\t1\t0\n");
}
END_TEST

START_TEST(test_not_complete)
{
	int fd = dial();

	t.incomplete = true;
	say(fd, HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
	hear_all(fd);
	ck_assert_str_eq(
		t.heard,
		HELLO "NO\tTEMPFAIL\tnot all users have been looked at yet\n");
}
END_TEST

START_TEST(test_line_too_long)
{
	static char line[3 * RST_HOLD_LINE_MAX];
	int fd = dial();

	memset(line, 'x', sizeof(line));
	say(fd, line, sizeof(line));
	hear_all(fd);
	/* octets that the service did not read may have reset the connection
	   before the answer came */
	ck_assert(t.used == 0 ||
		  strcmp(t.heard, "NO\tPROTOCOL\tline too long\n") == 0);
	turn();
}
END_TEST

static void count_users(const char *at, bool *seen, unsigned int *count)
{
	while ((at = strstr(at, "HOLDS\tu")) != NULL) {
		unsigned long n = strtoul(at + 7, (char **)&at, 10);

		ck_assert_uint_lt(n, CROWD);
		ck_assert(!seen[n]);
		seen[n] = true;
		(*count)++;
	}
}

/* A SCAN lists each user who is there all the while, in many turns of the loop;
   users who leave in the middle do no harm. */
START_TEST(test_crowd)
{
	static bool seen[CROWD];
	unsigned int i, count = 0, turns = 0, gone = 0;
	char name[24];
	bool open = true;
	int fd;

	for (i = 0; i < CROWD; i++) {
		(void)snprintf(name, sizeof(name), "u%u", i);
		note(name, 1000 + i);
	}
	fd = dial();
	say(fd, HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
	while (open) {
		ck_assert_uint_lt(turns++, PATIENCE);
		turn();
		t.used = 0;
		/* count only whole lines: read to the end of the last one */
		while ((open = hear(fd)) && t.used > 0 &&
		       t.heard[t.used - 1] != '\n')
			turn();
		count_users(t.heard, seen, &count);
		if (gone < CROWD / 2) {
			(void)snprintf(name, sizeof(name), "u%u", 2 * gone++);
			rst_timetable_set(t.timetable, rst_str(name), -1);
		}
	}
	(void)close(fd);
	/* Postfix would have been answered in between */
	ck_assert_uint_gt(turns, 100);
	for (i = 1; i < CROWD; i += 2)
		ck_assert_msg(seen[i], "u%u", i);
	ck_assert_uint_ge(count, CROWD / 2);
}
END_TEST

START_TEST(test_leaves_in_the_middle)
{
	unsigned int i, k;
	char name[24];
	int fd;

	for (i = 0; i < CROWD; i++) {
		(void)snprintf(name, sizeof(name), "u%u", i);
		note(name, 1000 + i);
	}
	/* more diallers than the service has places for at once */
	for (k = 0; k < 2 * DIALLERS; k++) {
		fd = dial();
		say(fd, HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
		for (i = 0; i < 10; i++)
			turn();
		ck_assert(hear(fd));
		ck_assert_uint_gt(t.used, 0);
		t.used = 0;
		(void)close(fd);
		for (i = 0; i < 100; i++)
			turn();
	}
	for (i = 0; i < CROWD; i++) {
		(void)snprintf(name, sizeof(name), "u%u", i);
		rst_timetable_set(t.timetable, rst_str(name), -1);
	}
	/* and one dialler that is there when the service ends */
	fd = dial();
	say(fd, HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
	index_service_free(&t.service);
	(void)close(fd);
}
END_TEST

/* Silent diallers take up their places and no more. */
START_TEST(test_many)
{
	int fds[DIALLERS], i;

	for (i = 0; i < DIALLERS; i++)
		fds[i] = dial();
	hear_all(fds[DIALLERS - 1]);
	ck_assert_str_eq(t.heard, "");
	(void)close(fds[0]);
	turn();
	fds[0] = dial();
	t.unread = 7;
	say(fds[0], HELLO "SCAN\n", strlen(HELLO "SCAN\n"));
	hear_all(fds[0]);
	ck_assert_str_eq(t.heard, HELLO "END\t0\t7\n");
	for (i = 1; i < DIALLERS - 1; i++)
		(void)close(fds[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("index-service");
	TCase *tcase = tcase_create("index-service");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_talk, 0, N_ELEMENTS(talks));
	tcase_add_test(tcase, test_names_are_escaped);
	tcase_add_test(tcase, test_not_complete);
	tcase_add_test(tcase, test_line_too_long);
	tcase_add_test(tcase, test_crowd);
	tcase_add_test(tcase, test_leaves_in_the_middle);
	tcase_add_test(tcase, test_many);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
