/* SPDX-License-Identifier: MIT */
/**
 * SipHash-2-4: a keyed hash of 64 bits. Without the key nobody learns from the
 * hash what was hashed, or finds two texts that have the same one.
 * Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF".
 */
#ifndef RESTANTE_SIPHASH_H
#define RESTANTE_SIPHASH_H

#include "restante/str.h"

#define RST_SIPHASH_KEY 16

uint64_t rst_siphash(const unsigned char key[RST_SIPHASH_KEY],
		     struct rst_str text);

#endif
