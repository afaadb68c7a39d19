/* SPDX-License-Identifier: MIT */
/**
 * Accepts connections from listening sockets, which other processes may share,
 * and pauses for a second when it cannot, for want of descriptors as a rule.
 */
#ifndef POLICYD_COMMON_ACCEPTOR_H
#define POLICYD_COMMON_ACCEPTOR_H

#include <stdint.h>

#include <event2/event.h>

struct acceptor;

/** The other end of the accepted connection. */
struct acceptor_peer {
	char address[64]; /**< IP address in text form; not of a unix socket */
	unsigned int port;
};

struct acceptor_config {
	const char *failed;      /**< the log's line for a pause; borrowed */
	int64_t log_interval_ms; /**< no more than one line in this time */
	int priority;            /**< libevent's; -1: the base's default */
};

/** Must not free the acceptor.
    @param fd non-blocking, owned by the callee */
typedef void acceptor_func(int fd, const struct acceptor_peer *peer, void *ctx);

/**
 * Nothing is accepted before acceptor_start().
 *
 * @param fds    listening, non-blocking; borrowed until acceptor_free()
 * @param config NULL: "cannot accept connections", at most once a minute, at
 *               the default priority
 */
struct acceptor *acceptor_new(struct event_base *base, const int *fds,
			      unsigned int count,
			      const struct acceptor_config *config,
			      acceptor_func *accepted, void *ctx);
void acceptor_free(struct acceptor **acceptor);
void acceptor_start(struct acceptor *acceptor);

#endif
