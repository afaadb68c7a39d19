/* SPDX-License-Identifier: MIT */
/** policyd's TLS, the server's side. No other module here knows OpenSSL. */
#ifndef POLICYD_COMMON_TLS_H
#define POLICYD_COMMON_TLS_H

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "restante/str.h"

/** Octets of certificate chain and key; a larger file is no certificate. */
#define TLS_PEM_MAX (1024 * 1024)
/** Octets of the keys for session tickets, as OpenSSL takes them. */
#define TLS_TICKET_KEYS 80

struct tls_server;

/** For a worker, before it calls any other function here and before it is
    confined: OpenSSL reads its configuration, opens what else it needs, and
    allocates through tls-memory.h. */
void tls_init(void);
/**
 * Reads certificate and key from a descriptor, with pread(): its position is
 * shared with other processes, and is neither used nor moved.
 *
 * @param fd    stays the caller's
 * @param ticket_keys TLS_TICKET_KEYS random octets: processes with the same
 * keys take each other's session tickets. "": keys of its own.
 * @param error one line, when NULL is returned
 */
struct tls_server *tls_server_new(int fd, struct rst_str ticket_keys,
				  char *error, size_t error_size);
/** Connections that the server accepted live on. */
void tls_server_free(struct tls_server **server);
/**
 * Begins a handshake on an accepted, non-blocking socket. BEV_EVENT_CONNECTED
 * says that the handshake is done.
 *
 * @param fd owned by the bufferevent; closed when NULL is returned
 * @return NULL: out of memory, or OpenSSL refused
 */
struct bufferevent *tls_accept(struct tls_server *server,
			       struct event_base *base, int fd);
/** @return "TLSv1.3"; "" where bev has no TLS. Static. */
const char *tls_version(struct bufferevent *bev);
/** After BEV_EVENT_ERROR. @return OpenSSL's reason; "" if it has none. Static.
 */
const char *tls_error(struct bufferevent *bev);
/** Says close_notify: after the last octet has left, and before the socket is
    shut down. Does nothing where bev has no TLS. */
void tls_goodbye(struct bufferevent *bev);

/**
 * Would clients accept this certificate? Certificate and key load and match,
 * the certificate is valid now, and it covers the name.
 *
 * @param hostname NULL: any name
 * @param error    one line saying what is wrong, when false is returned
 */
bool tls_check(const char *pem_chain_and_key, size_t len, const char *hostname,
	       char *error, size_t error_size);

#endif
