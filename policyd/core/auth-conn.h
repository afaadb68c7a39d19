/* SPDX-License-Identifier: MIT */
/**
 * The core's one connection to Dovecot's auth service. It is made again
 * whenever it breaks; until then nobody can sign in, and nothing else waits.
 */
#ifndef POLICYD_CORE_AUTH_CONN_H
#define POLICYD_CORE_AUTH_CONN_H

#include <event2/event.h>

#include "restante/auth.h"

struct auth_conn;

struct auth_conn_callbacks {
	/** What is on offer from now on; "" while Dovecot is away. Exchanges
	    that were open then are not answered any more. */
	void (*mechanisms)(const char *mechanisms, void *ctx);
	/** CONTINUE, OK or FAILED. */
	void (*event)(const struct rst_auth_event *ev, void *ctx);
};

/** @param path borrowed */
struct auth_conn *auth_conn_new(struct event_base *base, const char *path,
				const struct auth_conn_callbacks *calls,
				void *ctx);
void auth_conn_free(struct auth_conn **conn);
/* As rst_auth_start() and so on; RST_ETEMP while Dovecot is away. Callbacks
   come from the loop, never from inside these. */
ssize_t auth_conn_start(struct auth_conn *conn,
			const struct rst_auth_request *request);
int auth_conn_continue(struct auth_conn *conn, uint32_t id,
		       struct rst_str response);
void auth_conn_cancel(struct auth_conn *conn, uint32_t id);

#endif
