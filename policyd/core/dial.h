/* SPDX-License-Identifier: MIT */
/** Connecting to a unix stream socket without ever waiting. */
#ifndef POLICYD_CORE_DIAL_H
#define POLICYD_CORE_DIAL_H

#include <stdint.h>

#include <event2/event.h>

struct dial;

/** One attempt, now. @return connected and non-blocking, or -1: errno, EAGAIN
    when the listener's queue is full */
int dial_now(const char *path);

/** @param fd connected and non-blocking, the callee's; -1: `error` is an
    errno. The dial may be freed here. */
typedef void dial_func(int fd, int error, void *ctx);

/**
 * The answer comes from the loop, never from inside this call. A listener
 * whose queue is full (EAGAIN) is tried again until timeout_ms have passed.
 *
 * @param path borrowed until the answer
 */
struct dial *dial_start(struct event_base *base, const char *path,
			int64_t timeout_ms, dial_func *done, void *ctx);
/** Before the answer: no answer will come. */
void dial_free(struct dial **dial);

#endif
