/* SPDX-License-Identifier: MIT */
/**
 * One client's connection, from the handshake to the last octet: sign-in and
 * turnaround with rst_provider, then the push phase in drain.h.
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
	/** control of TCP's congestion for who has much to get; "": as it is;
	    borrowed */
	const char *congestion;
	int64_t sign_in_timeout_ms; /**< with the TLS handshake */
	int64_t close_ms;           /**< for the client to read our last word */
};

/** Everything but what the configuration says. */
void client_conn_settings_init(struct client_conn_settings *settings);

struct client_conn;

struct client_conn_callbacks {
	void (*to_core)(const struct rst_ipc *msg, void *ctx);
	/** The session has ended and frees itself. CLOSED has been sent. */
	void (*ended)(struct client_conn *conn, void *ctx);
};

/**
 * @param bev         owned from here on
 * @param handshaking BEV_EVENT_CONNECTED is to come
 * @param settings    borrowed, outlive the connection
 * @param mechanisms  SASL mechanisms on offer, copied; "": 421
 */
struct client_conn *client_conn_new(
	struct event_base *base, struct bufferevent *bev, bool handshaking,
	uint64_t session, const struct acceptor_peer *peer,
	const struct client_conn_settings *settings, const char *mechanisms,
	const struct client_conn_callbacks *callbacks, void *ctx);
/** At once, and nobody is told: when the process ends. */
void client_conn_free(struct client_conn **conn);
/** A message from the core that names this session. @param fd as it came
    with the message, or -1; owned from here on */
void client_conn_from_core(struct client_conn *conn, const struct rst_ipc *msg,
			   int fd);
/** Tell the client to go away; what it acknowledged still counts, also for
    `settle_ms` more where it has answers to give. */
void client_conn_dismiss(struct client_conn *conn, const char *text,
			 int64_t settle_ms);
/** It has not been turned round. */
bool client_conn_is_stranger(const struct client_conn *conn);
/** End a stranger at once, without a word: `ended` is called from here. */
void client_conn_drop(struct client_conn *conn);
uint64_t client_conn_session(const struct client_conn *conn);

#endif
