/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define IDENT "restante-policyd"

static struct {
	char ident[64]; /* syslog keeps the pointer */
	const char *role;
	bool use_stderr;
} out = {IDENT, "", true};

void log_open(const char *role, bool use_stderr)
{
	(void)snprintf(out.ident, sizeof(out.ident), IDENT "/%s", role);
	out.role = role;
	out.use_stderr = use_stderr;
	if (!use_stderr) {
		/* NDELAY: a worker may later not be allowed to connect */
		openlog(out.ident, LOG_PID | LOG_NDELAY, LOG_MAIL);
	}
}

static const char *level_name(int level)
{
	switch (level) {
	case LOG_ERR:
		return "error";
	case LOG_WARNING:
		return "warning";
	case LOG_NOTICE:
		return "notice";
	case LOG_DEBUG:
		return "debug";
	default:
		return "info";
	}
}

static void write_stderr(int level, const struct rst_logline *line)
{
	char head[128], stamp[32];
	struct timespec now;
	struct iovec iov[3];
	struct tm tm;
	int n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	n = snprintf(head, sizeof(head), "%s.%03dZ %s[%d] %s: ", stamp,
		     (int)(now.tv_nsec / 1000000), out.role, (int)getpid(),
		     level_name(level));
	if (n < 0)
		return;
	iov[0].iov_base = head;
	iov[0].iov_len =
		(size_t)n < sizeof(head) ? (size_t)n : sizeof(head) - 1;
	iov[1].iov_base = (char *)line->text;
	iov[1].iov_len = line->n;
	iov[2].iov_base = (char *)"\n";
	iov[2].iov_len = 1;
	/* one write: several processes share this descriptor */
	if (writev(STDERR_FILENO, iov, 3) < 0)
		return; /* nobody is left to be told */
}

void log_line(int level, const struct rst_logline *line)
{
	if (out.use_stderr)
		write_stderr(level, line);
	else
		syslog(level, "%s", line->text);
}

void log_short(int level, const char *message, const char *key,
	       const char *value)
{
	struct rst_logline line;

	rst_logline_begin(&line, message);
	if (key != NULL)
		rst_logline_cstr(&line, key, value);
	log_line(level, &line);
}

void log_errno(const char *message, const char *key, const char *value)
{
	int saved = errno;
	struct rst_logline line;

	rst_logline_begin(&line, message);
	if (key != NULL)
		rst_logline_cstr(&line, key, value);
	rst_logline_cstr(&line, "error", strerror(saved));
	log_line(LOG_ERR, &line);
	errno = saved;
}
