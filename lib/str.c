/* SPDX-License-Identifier: MIT */
#include "restante/str.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct rst_str rst_str(const char *s)
{
	return s == NULL ? RST_STR("") : (struct rst_str){s, strlen(s)};
}

bool rst_str_eq(struct rst_str a, struct rst_str b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

bool rst_str_case_eq(struct rst_str a, struct rst_str b)
{
	return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

bool rst_str_case_starts(struct rst_str s, struct rst_str prefix)
{
	return s.n >= prefix.n && strncasecmp(s.p, prefix.p, prefix.n) == 0;
}

bool rst_str_split(struct rst_str *rest, char sep, struct rst_str *part_r)
{
	const char *end;

	if (rest->n == 0)
		return false;
	end = memchr(rest->p, sep, rest->n);
	if (end == NULL) {
		*part_r = *rest;
		*rest = RST_STR("");
		return true;
	}
	*part_r = (struct rst_str){rest->p, (size_t)(end - rest->p)};
	rest->n -= part_r->n + 1;
	rest->p = end + 1;
	return true;
}

bool rst_str_to_u64(struct rst_str s, uint64_t *value_r)
{
	uint64_t value = 0;
	size_t i;

	if (s.n == 0)
		return false;
	for (i = 0; i < s.n; i++) {
		unsigned int digit = (unsigned char)s.p[i] - '0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*value_r = value;
	return true;
}

bool rst_str_find_word(struct rst_str words, struct rst_str word,
		       struct rst_str *found_r)
{
	while (rst_str_split(&words, ' ', found_r)) {
		if (found_r->n > 0 && rst_str_case_eq(*found_r, word))
			return true;
	}
	return false;
}

void rst_printable(char *s)
{
	for (; *s != '\0'; s++) {
		if (*s < ' ' || *s > '~')
			*s = '?';
	}
}

char *rst_str_dup(struct rst_str s)
{
	char *copy = rst_malloc(s.n + 1);

	memcpy(copy, s.p, s.n);
	copy[s.n] = '\0';
	return copy;
}

void *rst_malloc(size_t n)
{
	return rst_realloc(NULL, n);
}

void *rst_calloc(size_t count, size_t size)
{
	void *p = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);

	if (p == NULL)
		abort();
	return p;
}

void *rst_realloc(void *p, size_t n)
{
	p = realloc(p, n == 0 ? 1 : n);
	if (p == NULL)
		abort();
	return p;
}

char *rst_strdup(const char *s)
{
	return rst_str_dup(rst_str(s));
}
