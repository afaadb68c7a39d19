/* SPDX-License-Identifier: MIT */
/** The notify socket: the plugin's "held" notes, one datagram each. */
#ifndef POLICYD_CORE_NOTES_H
#define POLICYD_CORE_NOTES_H

#include <event2/event.h>

#include "restante/hold.h"

struct notes;

/** @param note valid until the return. Any process of this machine may have
   sent it: a note is a reason to look into the hold, and proves nothing. */
typedef void notes_func(const struct rst_note *note, void *ctx);

/** @param fd bound datagram socket, owned from here on */
struct notes *notes_new(struct event_base *base, int fd, notes_func *note,
			void *ctx);
void notes_free(struct notes **notes);

#endif
