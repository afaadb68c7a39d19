/* SPDX-License-Identifier: MIT */
/**
 * The core's one connection to Dovecot's auth service, for all sign-ins. It is
 * made again whenever it breaks; until then nobody can sign in, but nothing
 * else is affected.
 */
#ifndef POLICYD_CORE_AUTH_CONN_H
#define POLICYD_CORE_AUTH_CONN_H

#include <event2/event.h>

#include "restante/auth.h"

struct auth_conn;

struct auth_conn_callbacks {
	/** Dovecot offers these mechanisms from now on; "": it is away, and
	    exchanges that are open will not be answered. */
	void (*mechanisms)(const char *mechanisms, void *ctx);
	/** CONTINUE, OK or FAILED */
	void (*event)(const struct rst_auth_event *ev, void *ctx);
};

/** @param path borrowed */
struct auth_conn *auth_conn_new(struct event_base *base, const char *path,
				const struct auth_conn_callbacks *calls,
				void *ctx);
void auth_conn_free(struct auth_conn **conn);
/* Like rst_auth_start(), rst_auth_continue() and rst_auth_cancel().
   auth_conn_start() returns RST_ETEMP while Dovecot is away. Callbacks come
   from the event loop, never from inside these functions. */
ssize_t auth_conn_start(struct auth_conn *conn,
			const struct rst_auth_request *request);
int auth_conn_continue(struct auth_conn *conn, uint32_t id,
		       struct rst_str response);
void auth_conn_cancel(struct auth_conn *conn, uint32_t id);

#endif
