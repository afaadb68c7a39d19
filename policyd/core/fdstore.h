/* SPDX-License-Identifier: MIT */
/**
 * Postfix's connections over a restart. A connection that is closed costs the
 * next RCPT on it a second, so the listening socket and the connections are
 * left with the service manager, and the next policyd has them from there.
 * Source: sd_notify(3) FDSTORE=1, sd_listen_fds(3).
 */
#ifndef POLICYD_CORE_FDSTORE_H
#define POLICYD_CORE_FDSTORE_H

/** What came; close what is not used. */
struct fdstore {
	int listen_fd; /**< -1: none */
	int *conns;    /**< connected; free() the array */
	unsigned int count;
};

/**
 * Take what was left for us: what is not of `policy_socket` is closed. Nobody
 * started by us sees any of it.
 *
 * @param notify_socket of fdstore_manager(), or NULL
 */
void fdstore_take(const char *notify_socket, const char *policy_socket,
		  struct fdstore *fdstore_r);
/**
 * Leave these with the service manager; the caller closes its own. A no-op
 * where there is none.
 *
 * @param notify_socket of fdstore_manager(), or NULL
 */
void fdstore_leave(const char *notify_socket, const int *fds,
		   unsigned int count);
/**
 * Where the service manager listens; NULL: nowhere. To be called before
 * fdstore_take(), to be freed.
 */
char *fdstore_manager(void);

#endif
