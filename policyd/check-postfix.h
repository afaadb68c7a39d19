/* SPDX-License-Identifier: MIT */
/** restante-policyd -t: Postfix's configuration, as postconf(1) shows it. */
#ifndef POLICYD_CHECK_POSTFIX_H
#define POLICYD_CHECK_POSTFIX_H

#include "core/conf.h"

/** Postfix's own environment variable MAIL_CONFIG names the directory of
    another configuration. Nothing that is found is an error: the daemon works
    all the same. */
void check_postfix(const struct conf *conf);

#endif
