/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdbool.h>
#include <stdio.h>

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

void log_line(int level, const struct rst_logline *line)
{
	if (out.use_stderr)
		log_stderr(out.role, level, line);
	else
		syslog(level, "%s", line->text);
}
