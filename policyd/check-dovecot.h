/* SPDX-License-Identifier: MIT */
/** restante-policyd -t: Dovecot's sockets, dialled and spoken to. */
#ifndef POLICYD_CHECK_DOVECOT_H
#define POLICYD_CHECK_DOVECOT_H

#include "core/conf.h"

/** With the rights that the daemon has in the end: only so is it seen whether
    Dovecot's sockets let that user in. */
void check_dovecot(const struct conf *conf);

#endif
