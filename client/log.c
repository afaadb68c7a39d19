/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool log_verbose, log_to_journal;

/* systemd says which file the journal reads from: sd-daemon(3), and the
   variable survives into programs whose stderr is something else. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void log_open(bool verbose)
{
	log_verbose = verbose;
	log_to_journal = stderr_is_journal();
}

void log_line(int level, const struct rst_logline *line)
{
	char head[RST_LOGLINE_HEAD_MAX];
	struct timespec now;

	if (level == LOG_DEBUG && !log_verbose)
		return;
	if (log_to_journal) { /* which keeps the time itself */
		fprintf(stderr, "<%d>%s\n", level, line->text);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	rst_logline_head(head,
			 (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000,
			 "restante", (int)getpid(), level);
	fprintf(stderr, "%s%s\n", head, line->text);
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
	const char *error = strerror(errno);
	struct rst_logline line;

	rst_logline_begin(&line, message);
	if (key != NULL)
		rst_logline_cstr(&line, key, value);
	rst_logline_cstr(&line, "error", error);
	log_line(LOG_ERR, &line);
}
