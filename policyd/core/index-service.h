/* SPDX-License-Identifier: MIT */
/**
 * Says which users hold anything, from memory, to whoever may open the socket:
 * answers SCAN of the hold protocol (doc/protocol-hold.md, 1.7) from the due
 * index.
 */
#ifndef POLICYD_CORE_INDEX_SERVICE_H
#define POLICYD_CORE_INDEX_SERVICE_H

#include <event2/event.h>

#include "fallback.h"

struct index_service;

/** @param listen_fd owned from here on
    @param fallback borrowed; outlives the service */
struct index_service *index_service_new(struct event_base *base, int listen_fd,
					struct fallback *fallback);
void index_service_free(struct index_service **service);

#endif
