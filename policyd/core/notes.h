/* SPDX-License-Identifier: MIT */
/** The notify socket: "something is held for user", by datagram. */
#ifndef POLICYD_CORE_NOTES_H
#define POLICYD_CORE_NOTES_H

#include <event2/event.h>

#include "restante/hold.h"

struct notes;

/** @param note views until the return. Anybody may have sent it: it is a
    reason to look, and nothing more. */
typedef void notes_func(const struct rst_note *note, void *ctx);

/** @param fd bound datagram socket, owned from here on */
struct notes *notes_new(struct event_base *base, int fd, notes_func *note,
			void *ctx);
void notes_free(struct notes **notes);

#endif
