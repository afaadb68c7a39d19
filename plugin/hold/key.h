/* SPDX-License-Identifier: MIT */
/** K, the key of a message: see doc/protocol-hold.md, section 3.2. */
#ifndef RST_HOLD_KEY_H
#define RST_HOLD_KEY_H

#include "restante/envelope.h"

/** Is it the K of a message that no other is ever taken for? */
bool rst_key_is_zero(const unsigned char key[RST_KEY_SIZE]);

/* For hash tables. */
unsigned int rst_key_hash(const unsigned char *key);
int rst_key_cmp(const unsigned char *a, const unsigned char *b);

#endif
