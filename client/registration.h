/* SPDX-License-Identifier: MIT */
/**
 * The registration: dial, sign in, receive, and dial again when the
 * connection is lost, until a signal ends it.
 *
 * When nothing can be stored the connection is ended and the store closed, so
 * that its disk can be repaired or exchanged. As soon as it can be written to
 * again that is opened, and the server dialled: it then sends everything that
 * it still has.
 *
 * SIGTERM and SIGINT end it in order, a second one at once. SIGUSR1: dial
 * now, and leave a connection that may be half dead.
 */
#ifndef CLIENT_REGISTRATION_H
#define CLIENT_REGISTRATION_H

#include "conf.h"
#include "store.h"
#include "tls.h"

/**
 * @param conf, tls, store_settings borrowed
 * @param once end when what is held has come
 * @return exit status: 0; EX_TEMPFAIL: the store could not be opened at the
 *         start, or `once`, and not all has come;
 *         EX_NOPERM: `once`, and the server refused the sign-in
 */
int registration_run(const struct conf *conf, struct tls *tls,
		     const struct store_settings *store_settings, bool once);

#endif
