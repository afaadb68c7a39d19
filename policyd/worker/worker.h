/* SPDX-License-Identifier: MIT */
/**
 * The role that faces the Internet. It has the listeners, the clients'
 * connections, and the pair to the core; it opens no file and dials nobody.
 */
#ifndef POLICYD_WORKER_WORKER_H
#define POLICYD_WORKER_WORKER_H

/**
 * Run until RST_IPC_SHUTDOWN, or until the core has gone.
 *
 * @param ipc_fd the pair to the core: CONFIG, TLS and MECHANISMS come first
 * @param listen_fds listening TCP sockets, bound and non-blocking; shared
 *        with the other workers; closed as soon as we are to end
 * @return exit status of the process
 */
int worker_run(int ipc_fd, const int *listen_fds, unsigned int count);

#endif
