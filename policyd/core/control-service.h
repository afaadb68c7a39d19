/* SPDX-License-Identifier: MIT */
/** Serves operators at control_socket: who is signed in, and signing out. */
#ifndef POLICYD_CORE_CONTROL_SERVICE_H
#define POLICYD_CORE_CONTROL_SERVICE_H

#include <event2/event.h>

#include "sessions.h"

struct control_service;

/**
 * @param listen_fd listening; owned from here on
 * @param sessions  borrowed; freed later
 * @param holders_directory for those who ask for it; borrowed
 */
struct control_service *control_service_new(struct event_base *base,
					    int listen_fd,
					    struct sessions *sessions,
					    const char *holders_directory);
void control_service_free(struct control_service **service);
/** Listen on another socket instead. @param listen_fd owned from here on */
void control_service_relisten(struct control_service *service, int listen_fd);

#endif
