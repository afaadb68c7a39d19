/* SPDX-License-Identifier: MIT */
/**
 * One connection of the hold protocol, serving side: see restante/hold.h and
 * doc/protocol-hold.md.
 */
#ifndef RST_SERVICE_CONNECTION_H
#define RST_SERVICE_CONNECTION_H

struct rst_connection;
struct mail_storage_service_ctx;

/** Called once, when the connection has ended by itself. */
typedef void rst_connection_ended_func(void);

/** @param fd owned from here on */
struct rst_connection *
rst_connection_create(int fd, struct mail_storage_service_ctx *storage,
		      rst_connection_ended_func *ended);
/** Carries out the marks that have been read. */
void rst_connection_destroy(struct rst_connection **client);

#endif
