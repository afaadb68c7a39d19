/* SPDX-License-Identifier: MIT */
#include "restante/siphash.h"

static uint64_t rotate(uint64_t x, unsigned int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static uint64_t little_endian(const unsigned char *p, size_t n)
{
	uint64_t value = 0;

	while (n-- > 0)
		value = (value << 8) | p[n];
	return value;
}

static void rounds(uint64_t v[4], unsigned int count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void compress(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
}

uint64_t rst_siphash(const unsigned char key[RST_SIPHASH_KEY],
		     struct rst_str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	uint64_t k0 = little_endian(key, 8), k1 = little_endian(key + 8, 8);
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575),
			 k1 ^ UINT64_C(0x646f72616e646f6d),
			 k0 ^ UINT64_C(0x6c7967656e657261),
			 k1 ^ UINT64_C(0x7465646279746573)};
	size_t left = text.n;

	for (; left >= 8; left -= 8, p += 8)
		compress(v, little_endian(p, 8));
	compress(v, little_endian(p, left) | (uint64_t)text.n << 56);
	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
