/* SPDX-License-Identifier: MIT */
/** Base64, RFC 4648 section 4, for SASL: one spelling per octet string. */
#ifndef RST_BASE64_H
#define RST_BASE64_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

/** Octets that n octets become. */
#define RST_BASE64_SIZE(n) (((n) + 2) / 3 * 4)

/**
 * Strict: padding is required, bits that pad must be zero, and there is no
 * white space. Empty is valid.
 *
 * @param out room for in.n / 4 * 3 octets
 * @return octets written, or RST_EPROTO
 */
ssize_t rst_base64_decode(struct rst_str in, char *out);
/**
 * @param out room for RST_BASE64_SIZE(n) octets; not terminated
 * @return octets written
 */
size_t rst_base64_encode(const void *in, size_t n, char *out);
/** Would rst_base64_decode() take it? */
bool rst_base64_valid(struct rst_str in);

#endif
