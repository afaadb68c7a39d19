/* SPDX-License-Identifier: MIT */
/**
 * The core's connection to a listener of Dovecot's auth that answers questions
 * about accounts. It is made when it is wanted, and made anew now and then.
 */
#ifndef POLICYD_CORE_LOOKUP_CONN_H
#define POLICYD_CORE_LOOKUP_CONN_H

#include <event2/event.h>

#include "restante/lookup.h"

struct lookup_conn;

struct lookup_conn_callbacks {
	/** The connection can be asked, of auth process `server`. */
	void (*ready)(uint64_t server, void *ctx);
	void (*answer)(const struct rst_lookup_answer *answer, void *ctx);
	/** The connection broke: no open question will be answered. */
	void (*lost)(void *ctx);
};

/** @param path borrowed */
struct lookup_conn *lookup_conn_new(struct event_base *base, const char *path,
				    const struct lookup_conn_callbacks *calls,
				    void *ctx);
void lookup_conn_free(struct lookup_conn **conn);
/** @return can it be asked now? If not, `ready` comes sooner or later */
bool lookup_conn_open(struct lookup_conn *conn);
/** Like rst_lookup_ask(). Callbacks come from the event loop, never from inside
    of this function. */
ssize_t lookup_conn_ask(struct lookup_conn *conn,
			enum rst_lookup_question question, struct rst_str user,
			struct rst_str remote_ip);

#endif
