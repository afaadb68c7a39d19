/* SPDX-License-Identifier: MIT */
/** TLS towards the server: the only file that knows OpenSSL. */
#ifndef CLIENT_TLS_H
#define CLIENT_TLS_H

#include <event2/bufferevent.h>

#include "restante/str.h"

#define TLS_ERROR_SIZE 256

struct tls;

/**
 * For one server: what it gives for it makes the next handshake shorter.
 *
 * @param ca_file PEM; NULL: the system's store
 * @return NULL when that failed, with the reason in error_r
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
/** Why a handshake or a connection failed; "" when TLS has nothing to say. */
void tls_error(struct bufferevent *bev, char error_r[TLS_ERROR_SIZE]);
/** "TLSv1.3 TLS_AES_256_GCM_SHA384 resumed", for the log. */
void tls_describe(struct bufferevent *bev, char text_r[TLS_ERROR_SIZE]);
/** Has the server chosen the ALPN protocol `restante`? */
bool tls_server_is_ours(struct bufferevent *bev);
/** Say that nothing more will come, once all output is written. */
void tls_half_close(struct bufferevent *bev);

#endif
