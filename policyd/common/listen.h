/* SPDX-License-Identifier: MIT */
/** TCP listeners, and the congestion control of what they accept. */
#ifndef POLICYD_COMMON_LISTEN_H
#define POLICYD_COMMON_LISTEN_H

#include "conf-value.h"

/** @return listening, non-blocking, close-on-exec descriptor; -1: errno */
int listen_tcp(const struct conf_listen *listen);
/**
 * Sets the congestion control of a connection, or of all connections that a
 * listener will accept. An ordinary user may choose one that
 * net.ipv4.tcp_allowed_congestion_control names; root may choose any, and the
 * kernel then loads its module.
 *
 * @param name "": leave the system's
 * @return NULL: done; else the reason why not, for the log
 */
const char *listen_congestion(int fd, const char *name);
/**
 * Prepares a listener for control NAME being set on a connection only when
 * there is much to send (worker/line.h): where this process, as the user that
 * it is now, may do that, connections are accepted with the system's control,
 * or with reno where the system's is a BBR. Else they keep what
 * listen_congestion() has set on the listener.
 */
void listen_congestion_later(int fd, const char *name);

#endif
