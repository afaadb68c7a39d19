/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* With more than these there is something to report. */
#define HELD_MAX 8

static int log_least = LOG_INFO;
static bool log_to_journal, log_holding;
static struct {
	int level;
	int64_t wall_ms;
	struct rst_logline line;
} held[HELD_MAX];
static size_t held_count;

/* systemd says which file the journal reads from: sd-daemon(3). The variable
   survives into programs whose standard error is something else. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void log_open(int least)
{
	log_least = least;
	log_to_journal = stderr_is_journal();
}

static void write_line(int level, int64_t wall_ms,
		       const struct rst_logline *line)
{
	if (log_to_journal) /* it keeps the time itself */
		fprintf(stderr, "<%d>%s\n", level, line->text);
	else
		log_stderr_at("restante", level, wall_ms, line);
}

void log_hold_back(void)
{
	log_holding = true;
}

void log_release(void)
{
	size_t i;

	log_holding = false;
	for (i = 0; i < held_count; i++)
		write_line(held[i].level, held[i].wall_ms, &held[i].line);
	held_count = 0;
}

void log_line(int level, const struct rst_logline *line)
{
	int64_t wall_ms = clock_wall_us() / 1000;

	if (level > log_least)
		return;
	if (level <= LOG_ERR || held_count == HELD_MAX)
		log_release();
	if (!log_holding || level <= LOG_WARNING) {
		write_line(level, wall_ms, line);
		return;
	}
	held[held_count].level = level;
	held[held_count].wall_ms = wall_ms;
	held[held_count++].line = *line;
}
