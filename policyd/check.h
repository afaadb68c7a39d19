/* SPDX-License-Identifier: MIT */
/** restante-policyd -t: would it work, and if not, what is to be done? */
#ifndef POLICYD_CHECK_H
#define POLICYD_CHECK_H

#include "core/conf.h"

/**
 * Try every setting as it would be used, and print one line each to stdout:
 * "ok setting value: note", or "error setting value: what is wrong; how to
 * mend it". Started as root it becomes the configured user on the way, as the
 * daemon does.
 *
 * @return exit status: EX_OK or EX_CONFIG
 */
int check_run(const struct conf *conf);

#endif
