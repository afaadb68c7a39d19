/* SPDX-License-Identifier: MIT */
/** Where the client's log lines go: standard error, with a priority instead of
    the time where systemd's journal reads it. */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

#include "restante/log.h"

/**
 * A line of LOG_ERR needs a person. After one of LOG_WARNING the program goes
 * on by itself, or is to be started again later.
 * @param least LOG_ERR, LOG_INFO or LOG_DEBUG: no lesser lines are written
 */
void log_open(int least);

/**
 * From here on, keep lines of LOG_NOTICE and LOG_INFO back, and write none
 * unless log_release() is called: for a run that may have nothing to report. An
 * error releases them too.
 */
void log_hold_back(void);
/** Write the lines that were kept back, with their times, and all later ones.
 */
void log_release(void);

#endif
