/* SPDX-License-Identifier: MIT */
/**
 * The client's main loop: dials, signs in, receives, and dials again when the
 * connection is lost, until a signal ends it.
 *
 * When no message can be stored, the client ends the connection and closes the
 * store, so that its disk can be repaired or exchanged. As soon as the disk can
 * be written to again, the client opens the store and dials; the server then
 * sends all mail that it still holds.
 *
 * SIGTERM and SIGINT end the loop in order, a second one at once. SIGUSR1 makes
 * it dial now, and drop a connection that may be half dead.
 */
#ifndef CLIENT_REGISTRATION_H
#define CLIENT_REGISTRATION_H

#include "conf.h"
#include "store.h"
#include "tls.h"

/**
 * @param conf, tls, store_settings borrowed
 * @param once end when all held mail has come
 * @return exit status: 0; EX_TEMPFAIL: the store could not be opened at the
 *         start, or with `once` not all mail has come; EX_NOPERM: with `once`
 *         the server refused the sign-in
 */
int registration_run(const struct conf *conf, struct tls *tls,
		     const struct store_settings *store_settings, bool once);

#endif
