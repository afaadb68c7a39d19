/* SPDX-License-Identifier: MIT */
/** Resolves a host, connects, and does the TLS handshake. */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <event2/bufferevent.h>

#include "tls.h"

struct dial_settings {
	const char *host; /**< borrowed until _free, as the port is */
	const char *port;
	struct tls *tls;
	int64_t address_timeout_ms; /**< of each address, with handshake */
};

/**
 * @param bev connected, without callbacks, owned by the callee; NULL: no
 *        address of the host could be reached and showed the right certificate
 * @param text the address, or the error
 */
typedef void dial_done_func(struct bufferevent *bev, const char *text,
			    void *ctx);

struct dial;

/** Start; `done` is called once, never from inside this function. */
struct dial *dial_start(struct event_base *base,
			const struct dial_settings *settings,
			dial_done_func *done, void *ctx);
/** Has an address shown a certificate that is not to be trusted? Then a person
    is needed. */
bool dial_untrusted(const struct dial *dial);
/** Stop, or clean up after the end; may be called inside `done`. */
void dial_free(struct dial **dial);

#endif
