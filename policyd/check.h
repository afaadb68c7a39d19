/* SPDX-License-Identifier: MIT */
/** restante-policyd -t: would the daemon work with this configuration, and if
    not, what can the operator do? */
#ifndef POLICYD_CHECK_H
#define POLICYD_CHECK_H

#include "core/conf.h"

/**
 * Tries every setting as the daemon would use it, and prints one line each to
 * stdout: "ok setting value: note", or "error setting value: what is wrong; how
 * to mend it". A process that was started as root becomes the configured user
 * on the way, as the daemon does.
 *
 * @return exit status: EX_OK or EX_CONFIG
 */
int check_run(const struct conf *conf);

#endif
