/* SPDX-License-Identifier: MIT */
/** policyd's TLS, the server's side. Nobody else here knows OpenSSL. */
#ifndef POLICYD_COMMON_TLS_H
#define POLICYD_COMMON_TLS_H

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "restante/str.h"

/** certificate chain and key; more than this is no certificate */
#define TLS_PEM_MAX (1024 * 1024)
/** of the keys for session tickets */
#define TLS_TICKET_KEYS 80

struct tls_server;

/** Let OpenSSL read its configuration and whatever else it wants, before files
    cannot be opened any more. */
void tls_init(void);
/**
 * Certificate and key from a descriptor that can be read at any offset (its
 * position is shared with other processes, and is neither used nor moved).
 *
 * @param fd    stays the caller's
 * @param ticket_keys TLS_TICKET_KEYS random octets: what one process has
 *        issued another with the same keys takes. "": of its own.
 * @param error one line, when NULL is returned
 */
struct tls_server *tls_server_new(int fd, struct rst_str ticket_keys,
				  char *error, size_t error_size);
/** Connections that it accepted live on. */
void tls_server_free(struct tls_server **server);
/**
 * Begin a handshake on an accepted, non-blocking socket. BEV_EVENT_CONNECTED
 * says that it is done.
 *
 * @return NULL: out of memory or so; fd is closed then. Else fd belongs to the
 *         bufferevent.
 */
struct bufferevent *tls_accept(struct tls_server *server,
			       struct event_base *base, int fd);
/** "TLSv1.3"; "" where bev has no TLS. Static. */
const char *tls_version(struct bufferevent *bev);
/** What OpenSSL has against the connection after BEV_EVENT_ERROR; "" if
    nothing. Static. */
const char *tls_error(struct bufferevent *bev);
/** Say that nothing more will be written: after the last octet has left, and
    before the socket is shut down. Does nothing where bev has no TLS. */
void tls_goodbye(struct bufferevent *bev);

/**
 * Could this be served under that name? Certificate and key load and match,
 * the certificate is not expired and valid already, the name is covered.
 *
 * @param hostname NULL: under any name
 * @param error    one line saying what is wrong, when false is returned
 */
bool tls_check(const char *pem_chain_and_key, size_t len, const char *hostname,
	       char *error, size_t error_size);

#endif
