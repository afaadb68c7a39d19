/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "byteorder.h"
#include "key.h"

bool rst_key_is_zero(const unsigned char key[RST_KEY_SIZE])
{
	static const unsigned char zero[RST_KEY_SIZE];

	return memcmp(key, zero, RST_KEY_SIZE) == 0;
}

unsigned int rst_key_hash(const unsigned char *key)
{
	/* K is a hash already */
	return be32_to_cpu_unaligned(key);
}

int rst_key_cmp(const unsigned char *a, const unsigned char *b)
{
	return memcmp(a, b, RST_KEY_SIZE);
}
