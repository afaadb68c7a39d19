/* SPDX-License-Identifier: MIT */
/**
 * The descriptors that systemd keeps over a restart: the policy service's
 * listening socket and Postfix's connections. Each connection that is closed
 * costs the next RCPT on it a second. So the old policyd leaves them with the
 * service manager, and the new one takes them from there.
 * Source: sd_notify(3) FDSTORE=1, sd_listen_fds(3).
 */
#ifndef POLICYD_CORE_FDSTORE_H
#define POLICYD_CORE_FDSTORE_H

#include <stdbool.h>

/** The descriptors that were taken; the caller closes those it cannot use. */
struct fdstore {
	int listen_fd; /**< -1: none */
	/** it comes from a socket unit, not from an earlier policyd */
	bool listen_is_units;
	int *conns; /**< connected; free() the array */
	unsigned int count;
};

/**
 * Take the descriptors that were left for this process, and close those that
 * do not belong to `policy_socket`. Child processes inherit neither the
 * descriptors nor the environment variables that announce them.
 *
 * @param notify_socket of fdstore_manager(), or NULL
 */
void fdstore_take(const char *notify_socket, const char *policy_socket,
		  struct fdstore *fdstore_r);
/**
 * Leave descriptors with the service manager, if there is one; the caller
 * closes its own copies.
 *
 * @param notify_socket of fdstore_manager(), or NULL
 */
void fdstore_leave(const char *notify_socket, const int *fds,
		   unsigned int count);
/**
 * To be called before fdstore_take(), which changes the environment.
 *
 * @return the service manager's socket, to be freed; NULL: there is none
 */
char *fdstore_manager(void);

#endif
