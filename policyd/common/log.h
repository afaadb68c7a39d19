/* SPDX-License-Identifier: MIT */
/** Where policyd's lines go: standard error with -f, else syslog (mail). */
#ifndef POLICYD_COMMON_LOG_H
#define POLICYD_COMMON_LOG_H

#include <syslog.h>

#include "restante/logline.h"

/**
 * @param role "core" or "worker": stands in every line
 * @param use_stderr lines go to standard error, with time and level
 */
void log_open(const char *role, bool use_stderr);
/** @param level LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO or LOG_DEBUG */
void log_line(int level, const struct rst_logline *line);
/** "message: key=value", for the many lines that need one value or none;
    key and value may be NULL. */
void log_short(int level, const char *message, const char *key,
	       const char *value);
/** As log_short, with error=strerror(errno). */
void log_errno(const char *message, const char *key, const char *value);

#endif
