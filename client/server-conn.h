/* SPDX-License-Identifier: MIT */
/**
 * One connection to the server, from its greeting to its end: signs in, turns
 * round, and puts what comes into the store.
 */
#ifndef CLIENT_SERVER_CONN_H
#define CLIENT_SERVER_CONN_H

#include <event2/bufferevent.h>

#include "restante/customer.h"
#include "store.h"

struct server_conn_settings {
	struct rst_customer_settings customer; /**< copied by the machine */
	const char *hostname;                  /**< for the 220; borrowed */
	int64_t idle_timeout_ms; /**< of a server that says nothing */
	bool once;               /**< end when what was held has come */
	int64_t once_timeout_ms; /**< of silence, with `once` */
	/** how often to look whether there is room for a message that was
	    larger than what is left; 0: never */
	int64_t room_interval_ms;
	/** messages that have come may wait so long for others that are there
	    to be read, to be made durable together; 0: none waits */
	int64_t gather_ms;
	int64_t close_timeout_ms; /**< that the server may take to close */
	/** say that no more will come; NULL: nothing to be said */
	void (*half_close)(struct bufferevent *bev);
};

enum server_conn_end {
	/** in order: the server's QUIT, or all that was held is here (`once`)
	 */
	SERVER_CONN_FINISHED,
	SERVER_CONN_STOPPED,   /**< by server_conn_stop() */
	SERVER_CONN_DISMISSED, /**< sent away: do not dial at once */
	SERVER_CONN_NO_ROOM,   /**< nothing can be stored: close the store */
	/** for what was too large: dial at once, and all that is held comes */
	SERVER_CONN_ROOM_AGAIN,
	SERVER_CONN_LOST,
	SERVER_CONN_TEMPFAIL, /**< of the sign-in */
	SERVER_CONN_REFUSED,  /**< of the sign-in: a person is needed */
	SERVER_CONN_BROKEN,   /**< the server does not speak the protocol */
};

struct server_conn_result {
	enum server_conn_end end;
	bool signed_in;
	/** messages that were sent, or announced, and are not stored */
	uint64_t left;
	uint64_t stored;  /**< also before, where it is known by its id */
	const char *text; /**< why, for people; valid during the callback */
};

/** Once; server_conn_free() may be called inside. */
typedef void server_conn_ended_func(const struct server_conn_result *result,
				    void *ctx);

struct server_conn;

/**
 * @param bev connected, and owned from here on
 * @param store borrowed
 */
struct server_conn *server_conn_new(struct bufferevent *bev,
				    struct store *store,
				    const struct server_conn_settings *settings,
				    server_conn_ended_func *ended, void *ctx);
/** The connection is dropped as it is. */
void server_conn_free(struct server_conn **conn);
/** End in order: send the replies, shut our side; `ended` comes then. */
void server_conn_stop(struct server_conn *conn);

#endif
