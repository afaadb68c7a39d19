/* SPDX-License-Identifier: MIT */
/** TLS towards the server. tls.c is the only file that uses OpenSSL. */
#ifndef CLIENT_TLS_H
#define CLIENT_TLS_H

#include <event2/bufferevent.h>

#include "restante/str.h"

#define TLS_ERROR_SIZE 256

struct tls;

/**
 * Settings for connections to one server, with the session ticket that it gave
 * last, which shortens the next handshake.
 *
 * @param ca_file PEM; NULL: the system's store
 * @return NULL: failed, with the reason in error_r
 */
struct tls *tls_new(const char *ca_file, char error_r[TLS_ERROR_SIZE]);
void tls_free(struct tls **tls);
/**
 * Begin a handshake on a connected socket: BEV_EVENT_CONNECTED comes when the
 * server has shown a certificate for `host`, a name or an address.
 * @param fd owned by the bufferevent, unless NULL is returned
 */
struct bufferevent *tls_connect(struct tls *tls, struct event_base *base,
				int fd, const char *host);
/**
 * Why a handshake or a connection failed; "": not because of TLS.
 * @return whether the certificate is not to be trusted
 */
bool tls_error(struct bufferevent *bev, char error_r[TLS_ERROR_SIZE]);
/** Describe a connection: "TLSv1.3 TLS_AES_256_GCM_SHA384 resumed". */
void tls_describe(struct bufferevent *bev, char text_r[TLS_ERROR_SIZE]);
/** Did the server choose the ALPN protocol `restante`? */
bool tls_server_is_ours(struct bufferevent *bev);
/** Once all output is written: tell the server that no more will come. */
void tls_half_close(struct bufferevent *bev);

#endif
