/* SPDX-License-Identifier: MIT */
/**
 * The registration: dial, sign in, receive, and dial again when the
 * connection is lost, until a signal ends it.
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
 * @param conf, tls, store borrowed
 * @param once end when what is held has come
 * @return exit status: 0; EX_TEMPFAIL: `once`, and not all has come;
 *         EX_NOPERM: `once`, and the server refused the sign-in
 */
int registration_run(const struct conf *conf, struct tls *tls,
		     struct store *store, bool once);

#endif
