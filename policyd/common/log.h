/* SPDX-License-Identifier: MIT */
/** Where policyd's log lines go: standard error with -f, else syslog (mail). */
#ifndef POLICYD_COMMON_LOG_H
#define POLICYD_COMMON_LOG_H

#include "restante/log.h"

/**
 * @param role "core" or "worker": stands in every line; borrowed for good
 * @param use_stderr lines go to standard error, with time and level
 */
void log_open(const char *role, bool use_stderr);

#endif
