/* SPDX-License-Identifier: MIT */
/** The two events of a connection on plain events. */
#ifndef POLICYD_COMMON_EVENT_PAIR_H
#define POLICYD_COMMON_EVENT_PAIR_H

#include <stdlib.h>

#include <event2/event.h>

struct event_pair {
	struct event *readable, *writable;
};

/** Makes two persistent events. Only `readable` is added. */
static inline void event_pair_init(struct event_pair *pair,
				   struct event_base *base, int fd,
				   event_callback_fn on_readable,
				   event_callback_fn on_writable, void *ctx)
{
	pair->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, ctx);
	pair->writable =
		event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, ctx);
	if (pair->readable == NULL || pair->writable == NULL ||
	    event_add(pair->readable, NULL) < 0)
		abort();
}

static inline void event_pair_free(struct event_pair *pair)
{
	event_free(pair->readable);
	event_free(pair->writable);
}

#endif
