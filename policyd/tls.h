/* SPDX-License-Identifier: MIT */
/** The only part of policyd that knows OpenSSL. */
#ifndef POLICYD_TLS_H
#define POLICYD_TLS_H

#include <stdbool.h>
#include <stddef.h>

/**
 * Would a client be content with this certificate? It loads, the key is its
 * own, today is between its dates, and it names `hostname`.
 *
 * @param hostname NULL: only whether it loads and the key is its own
 * @param error one line that says what is wrong, when the answer is no
 */
bool tls_check(const char *pem_chain_and_key, size_t len, const char *hostname,
	       char *error, size_t error_size);

#endif
