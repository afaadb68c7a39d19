/* SPDX-License-Identifier: MIT */
/** Base64, RFC 4648 section 4, for SASL: one spelling per octet string. */
#ifndef RST_BASE64_H
#define RST_BASE64_H

#include "restante/str.h"

/** Octets that n octets become. */
#define RST_BASE64_SIZE(n) (((n) + 2) / 3 * 4)

/**
 * Is it base64 in its one canonical spelling? Padding is required, bits that
 * pad must be zero, and there is no white space. Empty is valid.
 */
bool rst_base64_valid(struct rst_str in);
/**
 * @param out room for RST_BASE64_SIZE(n) octets; not terminated
 * @return octets written
 */
size_t rst_base64_encode(const void *in, size_t n, char *out);

#endif
