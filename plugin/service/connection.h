/* SPDX-License-Identifier: MIT */
/** One connection of the service restante-hold: doc/protocol-hold.md. */
#ifndef RST_SERVICE_CONNECTION_H
#define RST_SERVICE_CONNECTION_H

struct rst_connection;
struct mail_storage_service_ctx;

/** Called once, when the connection has ended by itself and is destroyed. */
typedef void rst_connection_ended_func(void);

/** @param fd owned from here on */
struct rst_connection *
rst_connection_create(int fd, struct mail_storage_service_ctx *storage,
		      rst_connection_ended_func *ended);
/** Ends the connection from outside; `ended` is not called. The marks that have
    been read are carried out. */
void rst_connection_destroy(struct rst_connection **conn);

#endif
