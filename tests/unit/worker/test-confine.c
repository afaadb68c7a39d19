/* SPDX-License-Identifier: MIT */
/* Each check runs in a process of its own; the exit status is its result. */
#include "worker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test-util.h"

static bool refused(long ret)
{
	return ret == -1 && errno == EPERM;
}

static bool no_socket(void)
{
	return refused(socket(AF_UNIX, SOCK_STREAM, 0)) &&
	       refused(socket(AF_INET, SOCK_DGRAM, 0));
}

static bool no_file(void)
{
	return refused(open("/etc/passwd", O_RDONLY)) &&
	       refused(open("/tmp/restante-confined", O_CREAT | O_RDWR, 0600));
}

static bool no_program(void)
{
	char name[] = "true", *argv[] = {name, NULL};

	return refused(execv("/bin/true", argv));
}

static bool no_signal_to_others(void)
{
	return refused(kill(getppid(), 0)) && refused(kill(-1, 0)) &&
	       kill(getpid(), 0) == 0;
}

static bool no_look_inside(void)
{
	return prctl(PR_GET_DUMPABLE) == 0 &&
	       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static bool works_on(void)
{
	struct timespec now;
	char buf[4];
	int fds[2];

	return pipe(fds) == 0 && write(fds[1], "abc", 3) == 3 &&
	       read(fds[0], buf, sizeof(buf)) == 3 &&
	       clock_gettime(CLOCK_MONOTONIC, &now) == 0 && close(fds[0]) == 0;
}

static bool (*const checks[])(void) = {no_socket,      no_file,
				       no_program,     no_signal_to_others,
				       no_look_inside, works_on};

START_TEST(test_confined)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(!confine() ? 2 : checks[_i]() ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("confine");
	TCase *tcase = tcase_create("confine");

	tcase_add_loop_test(tcase, test_confined, 0, N_ELEMENTS(checks));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
