/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool log_verbose, log_to_journal;

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

void log_open(bool verbose)
{
	log_verbose = verbose;
	log_to_journal = stderr_is_journal();
}

void log_line(int level, const struct rst_logline *line)
{
	if (level == LOG_DEBUG && !log_verbose)
		return;
	if (log_to_journal) /* it keeps the time itself */
		fprintf(stderr, "<%d>%s\n", level, line->text);
	else
		log_stderr("restante", level, line);
}
