/* SPDX-License-Identifier: MIT */
/** Making the sockets that others come to. */
#ifndef POLICYD_COMMON_LISTEN_H
#define POLICYD_COMMON_LISTEN_H

#include "conf-value.h"

/* All: @return non-blocking, close-on-exec descriptor; -1: errno */

int listen_tcp(const struct conf_listen *listen);
/**
 * Control the congestion of a connection, or of all that will be accepted.
 * Users may choose what tcp_allowed_congestion_control names; root any, and
 * then the kernel loads its module.
 *
 * @param name "": the system's, whatever that is
 * @return NULL: done; else why not
 */
const char *listen_congestion(int fd, const char *name);
/**
 * Where who we are now may choose it for a connection, its own begins with the
 * system's control, or with reno where that is a BBR, too: the other is asked
 * for when there is much to send.
 */
void listen_congestion_later(int fd, const char *name);
/**
 * A socket file that nobody answers any more is replaced. EADDRINUSE:
 * somebody does.
 *
 * @param type SOCK_STREAM: listening; SOCK_DGRAM: bound
 * @param mode permissions of the file
 */
int listen_unix(const char *path, int type, unsigned int mode);
/** @return connected descriptor that blocks, or -1 */
int listen_unix_connect(const char *path, int type);

#endif
