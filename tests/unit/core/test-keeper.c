/* SPDX-License-Identifier: MIT */
/* The keeper's process is a real one, and so are the sockets that it keeps. */
#include "core/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unix-socket.h"
#include "restante/clock.h"
#include "test-util.h"

#define INTERVAL_MS 20
#define LONG_MS 20000

static struct {
	struct event_base *base;
	struct keeper *keeper;
	struct keeper_socket sockets[3];
	int fds[3]; /* listening */
	char dir[64], sub[80], paths[3][96], aside[80];
	char logged[4096];
	unsigned int lines, remade;
} t;

void log_line(int level, const struct rst_logline *line)
{
	size_t used = strlen(t.logged);

	(void)level;
	t.lines++;
	(void)snprintf(t.logged + used, sizeof(t.logged) - used, "%s\n",
		       line->text);
}

static void on_remade(unsigned int n, int listen_fd, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	ck_assert_uint_lt(n, 3);
	if (t.fds[n] >= 0)
		(void)close(t.fds[n]);
	t.fds[n] = listen_fd;
	t.remade++;
}

static void run_for(int64_t ms)
{
	int64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		const struct timeval tick = {.tv_usec = 2000};

		(void)event_base_loopexit(t.base, &tick);
		(void)event_base_dispatch(t.base);
	}
}

static void wait_for_lines(unsigned int lines)
{
	int64_t end = clock_ms() + LONG_MS;

	while (t.lines < lines) {
		ck_assert_msg(clock_ms() < end, "logged: %s", t.logged);
		run_for(5);
	}
	run_for(3 * INTERVAL_MS);
	ck_assert_msg(t.lines == lines, "logged: %s", t.logged);
}

static int listen_at(const char *path)
{
	int fd = unix_socket_listen(path, SOCK_STREAM, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void begin(bool missing, bool foreign)
{
	int fd = keeper_start(), n;

	ck_assert_int_ge(fd, 0);
	for (n = 0; n < 3; n++) {
		t.fds[n] = n == 1 && missing ? -1 : listen_at(t.paths[n]);
		t.sockets[n] =
			(struct keeper_socket){.setting = "a_socket",
					       .path = t.paths[n],
					       .mode = n == 0 ? 0666 : 0600,
					       .missing = t.fds[n] < 0,
					       .foreign = n == 2 && foreign};
	}
	t.keeper = keeper_new(t.base, fd, t.sockets, 3, on_remade, &t);
	keeper_begin(fd, t.sockets, 3, INTERVAL_MS);
}

static void setup(void)
{
	int n;

	(void)signal(SIGPIPE, SIG_IGN); /* as in policyd */
	/* so that its process, which is no child, can be waited for */
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	memset(&t, 0, sizeof(t));
	(void)snprintf(t.dir, sizeof(t.dir), "/tmp/rstkeepXXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t.dir));
	for (n = 0; n < 3; n++)
		(void)snprintf(t.paths[n], sizeof(t.paths[n]), "%s/%s%d", t.dir,
			       n == 1 ? "sub/" : "", n);
	(void)snprintf(t.sub, sizeof(t.sub), "%s/sub", t.dir);
	ck_assert_int_eq(mkdir(t.sub, 0755), 0);
	(void)snprintf(t.aside, sizeof(t.aside), "%s/aside", t.dir);
	t.base = event_base_new();
}

static void teardown(void)
{
	int status, n;

	keeper_free(&t.keeper);
	ck_assert_ptr_null(t.keeper);
	/* its process ends with us */
	ck_assert_int_gt(wait(&status), 0);
	ck_assert_int_eq(status, 0);
	for (n = 0; n < 3; n++) {
		(void)close(t.fds[n]);
		(void)unlink(t.paths[n]);
	}
	(void)rmdir(t.sub);
	ck_assert_int_eq(rmdir(t.dir), 0);
	event_base_free(t.base);
}

static bool answers(int n)
{
	int fd = unix_socket_connect(t.paths[n], SOCK_STREAM | SOCK_NONBLOCK);
	int accepted = fd < 0 ? -1 : accept(t.fds[n], NULL, NULL);

	if (fd >= 0)
		(void)close(fd);
	if (accepted >= 0)
		(void)close(accepted);
	return accepted >= 0;
}

START_TEST(test_nothing_happens)
{
	begin(false, false);
	run_for(5 * INTERVAL_MS);
	ck_assert_uint_eq(t.lines, 0);
	ck_assert(answers(0) && answers(1) && answers(2));
}
END_TEST

/* The directory of paths[1], moved away with its socket. */
static void remove_aside(void)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/1", t.aside);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(t.aside), 0);
}

START_TEST(test_removed)
{
	struct stat st;

	begin(false, false);
	run_for(2 * INTERVAL_MS);
	ck_assert_int_eq(unlink(t.paths[0]), 0);
	wait_for_lines(1);
	ck_assert_ptr_nonnull(strstr(t.logged, "made again: a_socket="));
	ck_assert(answers(0) && answers(1) && answers(2));
	ck_assert_int_eq(stat(t.paths[0], &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	/* with its directory, in one step, and once more */
	ck_assert_int_eq(rename(t.sub, t.aside), 0);
	wait_for_lines(2);
	remove_aside();
	ck_assert_int_eq(unlink(t.paths[0]), 0);
	wait_for_lines(3);
	ck_assert(answers(0) && answers(1) && answers(2));
	ck_assert_uint_eq(t.remade, 3);
}
END_TEST

/* It was not opened at the start. */
START_TEST(test_missing)
{
	begin(true, false);
	wait_for_lines(1);
	ck_assert(answers(1));
}
END_TEST

START_TEST(test_taken)
{
	char pid[32];
	int other;

	begin(false, false);
	run_for(2 * INTERVAL_MS);
	other = listen_at(t.aside);
	/* in one step: the keeper looks at any time */
	ck_assert_int_eq(rename(t.aside, t.paths[0]), 0);
	wait_for_lines(1);
	(void)snprintf(pid, sizeof(pid), "pid=%d ", (int)getpid());
	ck_assert_ptr_nonnull(strstr(t.logged, "another process"));
	ck_assert_ptr_nonnull(strstr(t.logged, pid));
	ck_assert_uint_eq(t.remade, 0);
	ck_assert(!answers(0));
	/* the other process ends, and leaves its file */
	(void)close(other);
	wait_for_lines(2);
	ck_assert(answers(0));
}
END_TEST

START_TEST(test_no_socket_in_its_place)
{
	FILE *file;

	begin(false, false);
	run_for(2 * INTERVAL_MS);
	file = fopen(t.aside, "w");
	ck_assert_ptr_nonnull(file);
	(void)fclose(file);
	ck_assert_int_eq(rename(t.aside, t.paths[0]), 0);
	wait_for_lines(1);
	ck_assert_ptr_nonnull(strstr(t.logged, "cannot be made again"));
	ck_assert_int_eq(access(t.paths[0], F_OK), 0); /* it is not ours */
	ck_assert_int_eq(unlink(t.paths[0]), 0);
	wait_for_lines(2);
	ck_assert(answers(0));
}
END_TEST

START_TEST(test_foreign)
{
	begin(false, true);
	run_for(2 * INTERVAL_MS);
	ck_assert_int_eq(unlink(t.paths[2]), 0);
	wait_for_lines(1);
	ck_assert_ptr_nonnull(strstr(t.logged, "service manager"));
	ck_assert_uint_eq(t.remade, 0);
	ck_assert_int_lt(access(t.paths[2], F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("keeper");
	TCase *tcase = tcase_create("keeper");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_nothing_happens);
	tcase_add_test(tcase, test_removed);
	tcase_add_test(tcase, test_missing);
	tcase_add_test(tcase, test_taken);
	tcase_add_test(tcase, test_no_socket_in_its_place);
	tcase_add_test(tcase, test_foreign);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
