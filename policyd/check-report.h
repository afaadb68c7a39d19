/* SPDX-License-Identifier: MIT */
/** What the parts of restante-policyd -t share: its lines, and sockets whose
    other end may be silent. */
#ifndef POLICYD_CHECK_REPORT_H
#define POLICYD_CHECK_REPORT_H

#include <stdbool.h>
#include <stddef.h>

/** One line: "ok SETTING VALUE: NOTE". @param note may be NULL */
void report_ok(const char *setting, const char *value, const char *note);
/** "warning SETTING VALUE: PROBLEM; MEND": the daemon works all the same. */
void report_warning(const char *setting, const char *value, const char *problem,
		    const char *mend);
/** "error SETTING VALUE: PROBLEM; MEND". @param mend may be NULL */
void report_error(const char *setting, const char *value, const char *problem,
		  const char *mend);
/** How many errors there were. */
unsigned int report_errors(void);

/** Connects to PATH. Reads and writes time out. @return -1: errno */
int report_dial(const char *path, int type);
bool report_send(int fd, const char *data, size_t n);

#endif
