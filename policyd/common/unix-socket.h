/* SPDX-License-Identifier: MIT */
/** Unix sockets in the file system: those that policyd listens on, and those
    that it dials. */
#ifndef POLICYD_COMMON_UNIX_SOCKET_H
#define POLICYD_COMMON_UNIX_SOCKET_H

/* Both: @return close-on-exec descriptor; -1: errno */

/**
 * Binds PATH. A socket file that a killed daemon has left is replaced;
 * EADDRINUSE: another process answers there.
 *
 * @param type SOCK_STREAM: listening; SOCK_DGRAM: bound
 * @param mode permissions of the file
 * @return a non-blocking descriptor
 */
int unix_socket_listen(const char *path, int type, unsigned int mode);
/**
 * Connects to PATH.
 *
 * @param type SOCK_STREAM or SOCK_DGRAM, and SOCK_NONBLOCK for a descriptor
 *        that does not block: then EAGAIN says that the listener's queue is
 *        full
 */
int unix_socket_connect(const char *path, int type);

#endif
