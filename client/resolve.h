/* SPDX-License-Identifier: MIT */
/**
 * Looks up the addresses of a host in a child process: without a network the
 * resolver may block for half a minute, and the client has to hear signals
 * meanwhile.
 */
#ifndef CLIENT_RESOLVE_H
#define CLIENT_RESOLVE_H

#include <event2/event.h>
#include <sys/socket.h>

#define RESOLVE_MAX 16

struct resolved {
	socklen_t len;
	struct sockaddr_storage address;
};

/** @param addresses in the order in which to try them
    @param count 0: none, and `error` says why */
typedef void resolve_done_func(const struct resolved *addresses, size_t count,
			       const char *error, void *ctx);

struct resolve;

/** Start; `done` is called once, never from inside this function. */
struct resolve *resolve_start(struct event_base *base, const char *host,
			      const char *port, resolve_done_func *done,
			      void *ctx);
/** Stop, or clean up after the end; may be called inside `done`. */
void resolve_free(struct resolve **resolve);

#endif
