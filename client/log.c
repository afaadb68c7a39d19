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

static const char *level_name(int level)
{
	switch (level) {
	case LOG_ERR:
		return "error";
	case LOG_WARNING:
		return "warning";
	case LOG_DEBUG:
		return "debug";
	default:
		return "info";
	}
}

void log_line(int level, const struct rst_logline *line)
{
	char stamp[32];
	struct timespec now;
	struct tm tm;

	if (level == LOG_DEBUG && !log_verbose)
		return;
	if (log_to_journal) { /* which keeps the time itself */
		fprintf(stderr, "<%d>%s\n", level, line->text);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03ldZ restante[%d] %s: %s\n", stamp,
		now.tv_nsec / 1000000, (int)getpid(), level_name(level),
		line->text);
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
