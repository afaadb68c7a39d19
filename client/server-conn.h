/* SPDX-License-Identifier: MIT */
/**
 * One connection to the server, from its greeting to its end: signs in, turns
 * the connection round, and puts the messages into the store.
 */
#ifndef CLIENT_SERVER_CONN_H
#define CLIENT_SERVER_CONN_H

#include <event2/bufferevent.h>

#include "restante/customer.h"
#include "store.h"

struct server_conn_settings {
	struct rst_customer_settings customer; /**< copied by the machine */
	const char *hostname;    /**< for the greeting; borrowed */
	int64_t idle_timeout_ms; /**< silence of the server: LOST */
	bool once;               /**< end when all held mail has come */
	int64_t once_timeout_ms; /**< the same with `once` */
	/** how often to look whether there is room now for a message that was
	    too large; 0: never */
	int64_t room_interval_ms;
	/** how long a message that has ended may wait for others that can be
	    read already, to share their syncs; 0: it does not wait */
	int64_t gather_ms;
	int64_t close_timeout_ms; /**< for the server to close, at the end */
	/** tell the server that no more will come; NULL: nothing to tell */
	void (*half_close)(struct bufferevent *bev);
};

enum server_conn_end {
	/** in order: the server's QUIT, or all held mail has come (`once`) */
	SERVER_CONN_FINISHED,
	SERVER_CONN_STOPPED,   /**< by server_conn_stop() */
	SERVER_CONN_DISMISSED, /**< the server's CLOSE: do not dial at once */
	SERVER_CONN_NO_ROOM,   /**< nothing can be stored: close the store */
	SERVER_CONN_MOVED,     /**< store_moved(): open the store anew */
	/** room for a message that was too large: dial at once, and the server
	    sends all held mail again */
	SERVER_CONN_ROOM_AGAIN,
	SERVER_CONN_LOST,
	SERVER_CONN_TEMPFAIL, /**< the sign-in failed for now */
	SERVER_CONN_REFUSED,  /**< the sign-in: a person is needed */
	SERVER_CONN_BROKEN,   /**< the server does not speak the protocol */
};

struct server_conn_result {
	enum server_conn_end end;
	bool signed_in;
	/** messages that the server sent or announced and are not stored */
	uint64_t left;
	uint64_t stored;  /**< also those that were stored before */
	const char *text; /**< reason, for people; valid during the callback */
};

/** Called once; may call server_conn_free(). */
typedef void server_conn_ended_func(const struct server_conn_result *result,
				    void *ctx);

struct server_conn;

/**
 * @param bev connected; owned from here on
 * @param store borrowed
 */
struct server_conn *server_conn_new(struct bufferevent *bev,
				    struct store *store,
				    const struct server_conn_settings *settings,
				    server_conn_ended_func *ended, void *ctx);
/** Drop the connection as it is. */
void server_conn_free(struct server_conn **conn);
/** End in order: send the replies, shut our side; `ended` is called then. */
void server_conn_stop(struct server_conn *conn);

#endif
