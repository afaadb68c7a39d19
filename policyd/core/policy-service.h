/* SPDX-License-Identifier: MIT */
/** The policy service: Postfix's connections, and what they are told. */
#ifndef POLICYD_CORE_POLICY_SERVICE_H
#define POLICYD_CORE_POLICY_SERVICE_H

#include <event2/event.h>

#include "conf.h"
#include "restante/policy.h"

/**
 * What is known of a recipient here is known at once, from memory.
 * Nothing in the answer depends on who is enrolled or signed in.
 */
enum rst_policy_action policy_decide(const struct rst_policy_request *request,
				     uint64_t message_size_limit);

struct policy_service;

/** @param listen_fd listening unix socket, owned from here on */
struct policy_service *policy_service_new(struct event_base *base,
					  int listen_fd,
					  const struct conf *conf);
/** Serve one more. @param fd connected, owned from here on */
void policy_service_adopt(struct policy_service *service, int fd);
/**
 * Stop serving, and give the descriptors away: the listener and every
 * connection on which no request is under way; the others are closed.
 *
 * @param fds_r to be closed by the caller, and free()d
 * @return how many
 */
unsigned int policy_service_detach(struct policy_service **service,
				   int **fds_r);
/** Closes the listener and every connection. */
void policy_service_free(struct policy_service **service);

#endif
