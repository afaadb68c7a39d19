/* SPDX-License-Identifier: MIT */
/**
 * Makes unix sockets again that vanish from the file system: by tmpfiles, a
 * careless rm, or another daemon that takes the path.
 *
 * The keeper is a process of its own, which keeps the rights that policyd was
 * started with: the core, after it has given them up, may not make a file in
 * Postfix's directory. It is told nothing but the table of sockets, and it
 * passes listening sockets to the core. It ends when the core does.
 */
#ifndef POLICYD_CORE_KEEPER_H
#define POLICYD_CORE_KEEPER_H

#include <event2/event.h>
#include <stdbool.h>

struct keeper_socket {
	const char *setting; /**< for the log */
	const char *path;    /**< "": none */
	unsigned int mode;
	bool missing; /**< it was not opened at the start */
	bool foreign; /**< of a service manager's unit: only looked at */
};

/**
 * Start the process, which waits. Before secrets are read and sockets are
 * opened: it has neither.
 *
 * @return descriptor for keeper_begin() and keeper_new(); -1: errno
 */
int keeper_start(void);
/** The sockets are open: look after them from now on, each interval_ms. */
void keeper_begin(int fd, const struct keeper_socket *sockets,
		  unsigned int count, int64_t interval_ms);

struct keeper;

/** @param listen_fd a new listening socket for sockets[n], owned by the callee
 */
typedef void keeper_func(unsigned int n, int listen_fd, void *ctx);

/**
 * Hear what the process says. What it finds is logged here.
 *
 * @param fd      of keeper_start(); owned from here on
 * @param sockets borrowed
 */
struct keeper *keeper_new(struct event_base *base, int fd,
			  const struct keeper_socket *sockets,
			  unsigned int count, keeper_func *remade, void *ctx);
void keeper_free(struct keeper **keeper);

#endif
