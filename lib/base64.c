/* SPDX-License-Identifier: MIT */
#include "base64.h"

static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* @return how many octets a group of four stands for, 1 to 3; 0: malformed */
static size_t group_octets(const char *in)
{
	int a = value_of(in[0]), b = value_of(in[1]);
	int c = value_of(in[2]), d = value_of(in[3]);
	size_t n = 3;

	if (in[3] == '=') {
		d = 0;
		n = 2;
		if (in[2] == '=') {
			c = 0;
			n = 1;
		}
	}
	if (a < 0 || b < 0 || c < 0 || d < 0)
		return 0;
	/* bits that pad: not zero, they would be another spelling of the same
	   octets */
	if ((n == 1 && (b & 15) != 0) || (n == 2 && (c & 3) != 0))
		return 0;
	return n;
}

bool rst_base64_valid(struct rst_str in)
{
	size_t i, n;

	if (in.n % 4 != 0)
		return false;
	for (i = 0; i < in.n; i += 4) {
		n = group_octets(in.p + i);
		if (n == 0 || (n < 3 && i + 4 < in.n))
			return false;
	}
	return true;
}

size_t rst_base64_encode(const void *in, size_t n, char *out)
{
	const unsigned char *p = in;
	size_t i, used = 0;

	for (i = 0; i < n; i += 3) {
		unsigned int a = p[i];
		unsigned int b = i + 1 < n ? p[i + 1] : 0;
		unsigned int c = i + 2 < n ? p[i + 2] : 0;

		out[used++] = alphabet[a >> 2];
		out[used++] = alphabet[(a & 3) << 4 | b >> 4];
		out[used++] =
			i + 1 < n ? alphabet[(b & 15) << 2 | c >> 6] : '=';
		out[used++] = i + 2 < n ? alphabet[c & 63] : '=';
	}
	return used;
}
