/* SPDX-License-Identifier: MIT */
/**
 * A connection to restante-hold that is bound to a user before anybody else
 * gets it: we choose the user and write the preamble, the worker that is
 * handed the descriptor cannot.
 */
#ifndef POLICYD_CORE_HOLD_DIAL_H
#define POLICYD_CORE_HOLD_DIAL_H

#include <event2/event.h>

#include "restante/str.h"

struct hold_dial;

/** @param fd the callee's; -1: `error` is an errno. May be freed here. */
typedef void hold_dial_func(int fd, int error, void *ctx);

/**
 * The answer comes from the loop, within seconds.
 *
 * @param path borrowed until the answer
 * @param user empty: for SCAN
 */
struct hold_dial *hold_dial_start(struct event_base *base, const char *path,
				  struct rst_str user, hold_dial_func *done,
				  void *ctx);
/** Before the answer: no answer will come. */
void hold_dial_free(struct hold_dial **dial);

#endif
