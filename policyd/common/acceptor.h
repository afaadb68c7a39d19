/* SPDX-License-Identifier: MIT */
/** Takes connections off listening sockets, which the workers share. */
#ifndef POLICYD_COMMON_ACCEPTOR_H
#define POLICYD_COMMON_ACCEPTOR_H

#include <event2/event.h>

struct acceptor;

/** The other end of what was accepted. */
struct acceptor_peer {
	char address[64]; /**< IP address in text form */
	unsigned int port;
};

/** @param fd non-blocking, owned by the callee */
typedef void acceptor_func(int fd, const struct acceptor_peer *peer, void *ctx);

/** @param fds non-blocking; borrowed. Nothing is accepted before _start. */
struct acceptor *acceptor_new(struct event_base *base, const int *fds,
			      unsigned int count, acceptor_func *accepted,
			      void *ctx);
void acceptor_free(struct acceptor **acceptor);
void acceptor_start(struct acceptor *acceptor);
void acceptor_stop(struct acceptor *acceptor);

#endif
