/* SPDX-License-Identifier: MIT */
/**
 * How policyd and the client write log lines, "message: key=value".
 *
 * For programs: lib/ has no log, and plugin/ has Dovecot's e_error().
 * tests/check-includes.sh sees to it. Each program's log.c decides where a line
 * goes.
 */
#ifndef RESTANTE_LOG_H
#define RESTANTE_LOG_H

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "restante/clock.h"
#include "restante/logline.h"

/**
 * Write a line. Every program defines this one.
 * @param level LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO or LOG_DEBUG
 */
void log_line(int level, const struct rst_logline *line);

static inline void log_begin(struct rst_logline *line, const char *message,
			     const char *key, const char *value)
{
	rst_logline_begin(line, message);
	if (key != NULL)
		rst_logline_cstr(line, key, value);
}

/** For the many lines with one value or none; key and value may be NULL. */
static inline void log_short(int level, const char *message, const char *key,
			     const char *value)
{
	struct rst_logline line;

	log_begin(&line, message, key, value);
	log_line(level, &line);
}

/** As log_short(LOG_ERR, ...), with error=strerror(errno). Keeps errno. */
static inline void log_errno(const char *message, const char *key,
			     const char *value)
{
	int saved = errno;
	struct rst_logline line;

	log_begin(&line, message, key, value);
	rst_logline_cstr(&line, "error", strerror(saved));
	log_line(LOG_ERR, &line);
	errno = saved;
}

/**
 * Write a line to standard error, with time, process and level before it.
 * @param who "core"; the process id is added
 */
static inline void log_stderr_at(const char *who, int level, int64_t wall_ms,
				 const struct rst_logline *line)
{
	char head[RST_LOGLINE_HEAD_MAX];
	struct iovec iov[3];

	rst_logline_head(head, wall_ms, who, (int)getpid(), level);
	iov[0].iov_base = head;
	iov[0].iov_len = strlen(head);
	iov[1].iov_base = (char *)line->text;
	iov[1].iov_len = line->n;
	iov[2].iov_base = (char *)"\n";
	iov[2].iov_len = 1;
	/* one write: several processes share this descriptor */
	if (writev(STDERR_FILENO, iov, 3) < 0)
		return; /* there is no other place to report this */
}

static inline void log_stderr(const char *who, int level,
			      const struct rst_logline *line)
{
	log_stderr_at(who, level, clock_wall_us() / 1000, line);
}

#endif
