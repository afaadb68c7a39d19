/* SPDX-License-Identifier: MIT */
/** Where the client's log lines go: standard error, with a priority instead of
    the time where systemd's journal reads it. */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

#include "restante/log.h"

/** @param verbose write LOG_DEBUG lines too */
void log_open(bool verbose);

#endif
