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

static void write_stderr(int level, const struct rst_logline *line)
{
	char head[RST_LOGLINE_HEAD_MAX];
	struct timespec now;
	struct iovec iov[3];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	rst_logline_head(head,
			 (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000,
			 out.role, (int)getpid(), level);
	iov[0].iov_base = head;
	iov[0].iov_len = strlen(head);
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
