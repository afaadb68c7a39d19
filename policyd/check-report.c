/* SPDX-License-Identifier: MIT */
#include "check-report.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/unix-socket.h"

#define TIMEOUT_SECS 5

static unsigned int errors;

static void report(const char *state, const char *setting, const char *value,
		   const char *problem, const char *mend)
{
	(void)printf("%s %s %s%s%s%s%s\n", state, setting, value,
		     problem == NULL ? "" : ": ",
		     problem == NULL ? "" : problem, mend == NULL ? "" : "; ",
		     mend == NULL ? "" : mend);
}

void report_ok(const char *setting, const char *value, const char *note)
{
	report("ok", setting, value, note, NULL);
}

void report_warning(const char *setting, const char *value, const char *problem,
		    const char *mend)
{
	report("warning", setting, value, problem, mend);
}

void report_error(const char *setting, const char *value, const char *problem,
		  const char *mend)
{
	report("error", setting, value, problem, mend);
	errors++;
}

unsigned int report_errors(void)
{
	return errors;
}

int report_dial(const char *path, int type)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	int fd = unix_socket_connect(path, type);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

bool report_send(int fd, const char *data, size_t n)
{
	return send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}
