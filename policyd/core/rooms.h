/* SPDX-License-Identifier: MIT */
/**
 * Asks restante-hold whether a user really has no room. Anybody on this machine
 * can make an entry of the holders directory that says so (holders.h), also for
 * users whose mail is not held; only restante-hold can tell whose entry it is.
 */
#ifndef POLICYD_CORE_ROOMS_H
#define POLICYD_CORE_ROOMS_H

#include <event2/event.h>

#include "restante/str.h"

struct rooms;

struct rooms_config {
	const char *hold_socket; /**< borrowed */
	/** Neither the hold nor the mailbox of user has room. */
	void (*full)(struct rst_str user, void *ctx);
	void *ctx;
};

struct rooms *rooms_new(struct event_base *base,
			const struct rooms_config *config);
void rooms_free(struct rooms **rooms);
/** The user's entry says that there is no room. One user is asked for after
    the other; where too many wait, this one is left out. */
void rooms_ask(struct rooms *rooms, struct rst_str user);

#endif
