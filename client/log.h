/* SPDX-License-Identifier: MIT */
/** Lines on standard error, "message: key=value". */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

#include <syslog.h>

#include "restante/logline.h"

/** @param verbose LOG_DEBUG lines too */
void log_open(bool verbose);
/** @param level LOG_ERR, LOG_WARNING, LOG_INFO or LOG_DEBUG */
void log_line(int level, const struct rst_logline *line);
/** For the many lines that need one value or none; both may be NULL. */
void log_short(int level, const char *message, const char *key,
	       const char *value);
/** An error, with error=strerror(errno). */
void log_errno(const char *message, const char *key, const char *value);

#endif
