/* SPDX-License-Identifier: MIT */
/**
 * Addresses of a host, looked up in a child process: the resolver may hang
 * for half a minute where there is no network, and signals are to be heard
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

/** @param count 0: none, and `error` says why
    @param addresses in the order in which they are to be tried */
typedef void resolve_done_func(const struct resolved *addresses, size_t count,
			       const char *error, void *ctx);

struct resolve;

/** `done` is called once, never from inside this function. */
struct resolve *resolve_start(struct event_base *base, const char *host,
			      const char *port, resolve_done_func *done,
			      void *ctx);
/** Stop it, or clean up after it; may be called inside `done`. */
void resolve_free(struct resolve **resolve);

#endif
