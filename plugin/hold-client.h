/* SPDX-License-Identifier: MIT */
/**
 * One connection of the hold protocol, serving side: see restante/hold.h and
 * doc/protocol-hold.md.
 */
#ifndef HOLD_CLIENT_H
#define HOLD_CLIENT_H

struct hold_client;
struct mail_storage_service_ctx;

/** Called once, when the connection has ended by itself. */
typedef void hold_client_ended_func(void);

/** @param fd owned from here on */
struct hold_client *hold_client_create(int fd,
				       struct mail_storage_service_ctx *storage,
				       hold_client_ended_func *ended);
/** Carries out the marks that have been read. */
void hold_client_destroy(struct hold_client **client);

#endif
