/* SPDX-License-Identifier: MIT */
/**
 * The process that faces the Internet. It has the TCP listeners, the clients'
 * connections, and the pair to the core; it opens no file and connects to no
 * socket.
 */
#ifndef POLICYD_WORKER_WORKER_H
#define POLICYD_WORKER_WORKER_H

/**
 * Runs until RST_IPC_SHUTDOWN or SIGTERM, or until the core has gone; and then
 * until the clients were told, or a few seconds have passed.
 *
 * @param ipc_fd     our end of the pair to the core, which sends CONFIG, TLS
 *                   and MECHANISMS first
 * @param listen_fds listening TCP sockets, non-blocking; shared with the other
 *                   workers; closed as soon as the worker begins to end
 * @return exit status of the process
 */
int worker_run(int ipc_fd, const int *listen_fds, unsigned int count);

#endif
