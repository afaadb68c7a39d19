/* SPDX-License-Identifier: MIT */
/** The policy service: Postfix's connections, and the answers to them. */
#ifndef POLICYD_CORE_POLICY_SERVICE_H
#define POLICYD_CORE_POLICY_SERVICE_H

#include <event2/event.h>

#include "conf.h"
#include "restante/str.h"

struct policy_service;

/** @param listen_fd listening unix socket, owned from here on */
struct policy_service *policy_service_new(struct event_base *base,
					  int listen_fd,
					  const struct conf *conf);
/** Serve a connection that is there already. @param fd owned from here on */
void policy_service_adopt(struct policy_service *service, int fd);
/** Listen on another socket instead; connections stay.
    @param listen_fd owned from here on */
void policy_service_relisten(struct policy_service *service, int listen_fd);
/** Neither the hold nor the mailbox of this user has room: mail is refused at
    RCPT for RST_HOLDER_FULL_SECS. Or there is room again. */
void policy_service_full(struct policy_service *service, struct rst_str user,
			 bool full);
/**
 * Stop serving, free the service, and give the descriptors away: the listener's
 * and those of all connections on which no request is under way. The other
 * connections are closed.
 *
 * @param fds_r descriptors for the caller to close; the array to be free()d
 * @return how many
 */
unsigned int policy_service_detach(struct policy_service **service,
				   int **fds_r);

#endif
