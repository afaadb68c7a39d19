/* SPDX-License-Identifier: MIT */
/** From a host's name to a connection with TLS on it. */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <event2/bufferevent.h>

#include "tls.h"

struct dial_settings {
	const char *host; /**< borrowed, as is the port, until _free */
	const char *port;
	struct tls *tls;
	int64_t address_timeout_ms; /**< for each address, with handshake */
};

/**
 * @param bev connected, no callbacks set, now the callee's; NULL: no address
 *        of the host could be reached, or showed the right certificate
 * @param text the address, or why it failed
 */
typedef void dial_done_func(struct bufferevent *bev, const char *text,
			    void *ctx);

struct dial;

/** `done` is called once, never from inside this function. */
struct dial *dial_start(struct event_base *base,
			const struct dial_settings *settings,
			dial_done_func *done, void *ctx);
/** Stop it, or clean up after it; may be called inside `done`. */
void dial_free(struct dial **dial);

#endif
