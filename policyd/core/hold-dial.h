/* SPDX-License-Identifier: MIT */
/**
 * Connects to restante-hold and writes the preamble, which binds the connection
 * to one user. A worker gets the descriptor only after that, so it cannot
 * choose the user.
 */
#ifndef POLICYD_CORE_HOLD_DIAL_H
#define POLICYD_CORE_HOLD_DIAL_H

#include <event2/event.h>

#include "restante/str.h"

struct hold_dial;

/** @param fd the callee's; -1: `error` is an errno. The hold_dial may be freed
    here. */
typedef void hold_dial_func(int fd, int error, void *ctx);

/**
 * The answer comes from the event loop, within seconds.
 *
 * @param path borrowed until the answer
 * @param user empty: for SCAN
 */
struct hold_dial *hold_dial_start(struct event_base *base, const char *path,
				  struct rst_str user, hold_dial_func *done,
				  void *ctx);
/** If it is called before the answer, no answer comes. */
void hold_dial_free(struct hold_dial **dial);

#endif
