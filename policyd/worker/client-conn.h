/* SPDX-License-Identifier: MIT */
/**
 * One client's connection, from the TLS handshake to the last octet: sign-in
 * and turnaround with rst_provider, then the push phase in drain.h. How octets
 * are put on the line is line.h's.
 */
#ifndef POLICYD_WORKER_CLIENT_CONN_H
#define POLICYD_WORKER_CLIENT_CONN_H

#include <event2/bufferevent.h>
#include <event2/event.h>

#include "common/acceptor.h"
#include "drain.h"
#include "restante/ipc.h"

struct client_conn_settings {
	struct drain_settings drain;
	/** TCP congestion control for a client that is sent much; "": the
	    connection keeps its own; borrowed */
	const char *congestion;
	int64_t sign_in_timeout_ms; /**< includes the TLS handshake */
	/** how long the client may take to read our last word and to close */
	int64_t close_ms;
};

/** Sets everything that the configuration does not. */
void client_conn_settings_init(struct client_conn_settings *settings);

struct client_conn;

struct client_conn_callbacks {
	/** A message for the core; views until the callback returns. */
	void (*to_core)(const struct rst_ipc *msg, void *ctx);
	/** The session has ended; it frees itself after this callback. CLOSED
	    has been sent where the core knew the session. */
	void (*ended)(struct client_conn *conn, void *ctx);
};

/**
 * @param bev         owned from here on
 * @param handshaking BEV_EVENT_CONNECTED is still to come
 * @param settings    borrowed, outlive the connection
 * @param mechanisms  SASL mechanisms to offer, copied; "": the client is
 *                    answered 421
 */
struct client_conn *client_conn_new(
	struct event_base *base, struct bufferevent *bev, bool handshaking,
	uint64_t session, const struct acceptor_peer *peer,
	const struct client_conn_settings *settings, const char *mechanisms,
	const struct client_conn_callbacks *callbacks, void *ctx);
/** Closes at once without a callback: for the end of the process. */
void client_conn_free(struct client_conn **conn);
/** Takes a message from the core that names this session. @param fd the
    descriptor that came with it, or -1; owned from here on */
void client_conn_from_core(struct client_conn *conn, const struct rst_ipc *msg,
			   int fd);
/**
 * Tells the client to go away. Acknowledgements still count, also for settle_ms
 * more where the client owes answers.
 * @param text the reason, for the client and the log
 */
void client_conn_dismiss(struct client_conn *conn, const char *text,
			 int64_t settle_ms);
/** Has the connection not been turned round yet? */
bool client_conn_is_stranger(const struct client_conn *conn);
/** Ends a stranger at once, without a word: `ended` is called from here. */
void client_conn_drop(struct client_conn *conn);
uint64_t client_conn_session(const struct client_conn *conn);

#endif
