/* SPDX-License-Identifier: MIT */
/**
 * The process that answers Postfix and keeps the registry of sessions. It talks
 * to this machine only: to Postfix, Dovecot, and its own workers, which it does
 * not trust.
 */
#ifndef POLICYD_CORE_CORE_H
#define POLICYD_CORE_CORE_H

#include "conf.h"
#include "fdstore.h"
#include "keeper.h"
#include "restante/str.h"

/** The sockets that the keeper looks after. */
enum core_socket {
	CORE_POLICY_SOCKET,
	CORE_CONTROL_SOCKET,
	CORE_SOCKETS
};

struct core_setup {
	const struct conf *conf;
	int policy_fd;  /**< owned by core_run() */
	int control_fd; /**< owned by core_run(); -1: none */
	int keeper_fd;  /**< owned by core_run(); -1: none */
	struct keeper_socket sockets[CORE_SOCKETS];
	const struct fdstore *fdstore; /**< core_run() owns its conns */
	const char *manager;           /**< see fdstore_manager() */
	const int *listen_fds;
	unsigned int listen_count;
	struct rst_str pem; /**< certificate chain and key */
	bool use_stderr;
};

/** Run until SIGTERM or SIGINT. @return exit status of the process */
int core_run(const struct core_setup *setup);

#endif
