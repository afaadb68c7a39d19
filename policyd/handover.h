/* SPDX-License-Identifier: MIT */
/**
 * Postfix's connections over a restart. A connection that is closed costs the
 * next RCPT on it a second, so the listening socket and the connections are
 * left with the service manager, and the next policyd has them from there.
 * Source: sd_notify(3) FDSTORE=1, sd_listen_fds(3).
 */
#ifndef POLICYD_HANDOVER_H
#define POLICYD_HANDOVER_H

/** What came; close what is not used. */
struct handover {
	int listen_fd; /**< -1: none */
	int *conns;    /**< connected; free() the array */
	unsigned int count;
};

/**
 * Take what was left for us: what is not of `policy_socket` is closed. Nobody
 * started by us sees any of it.
 *
 * @param notify_socket of handover_manager(), or NULL
 */
void handover_take(const char *notify_socket, const char *policy_socket,
		   struct handover *handover_r);
/**
 * Leave these with the service manager; the caller closes its own. A no-op
 * where there is none.
 *
 * @param notify_socket of handover_manager(), or NULL
 */
void handover_leave(const char *notify_socket, const int *fds,
		    unsigned int count);
/**
 * Where the service manager listens; NULL: nowhere. To be called before
 * handover_take(), to be freed.
 */
char *handover_manager(void);

#endif
