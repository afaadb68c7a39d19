/* SPDX-License-Identifier: MIT */
/** What the parts of -t share. */
#ifndef POLICYD_CONF_CHECK_PRIVATE_H
#define POLICYD_CONF_CHECK_PRIVATE_H

#include <stdbool.h>

#include "conf.h"

/** @param note NULL, or what was seen */
void check_ok(const char *setting, const char *value, const char *note);
/** @param mend how; NULL: the problem says it */
void check_error(const char *setting, const char *value, const char *problem,
		 const char *mend);
/** "mend" by what a connect() said, for a socket that others provide. */
const char *check_mend_connect(int error, const char *missing,
			       const char *denied, const char *refused);
/** Connected, and gives up after some seconds; -1: errno. */
int check_dial(const char *path, int type);

/** @return whether the daemon is running */
bool check_policy_socket(const struct conf *conf);
void check_own_sockets(const struct conf *conf, bool running);
void check_auth_socket(const struct conf *conf);
void check_hold_socket(const struct conf *conf);

#endif
