/* SPDX-License-Identifier: MIT */
#include "restrictions.h"

#include <string.h>

/* ten years and more are as good as for ever */
#define SECS_MAX INT32_MAX

static bool is_separator(char c)
{
	return c != '\0' && strchr(" \t\r\n,", c) != NULL;
}

static struct rst_str skip(struct rst_str s, size_t n)
{
	return (struct rst_str){s.p + n, s.n - n};
}

static struct rst_str trim(struct rst_str s)
{
	while (s.n > 0 && is_separator(s.p[0]))
		s = skip(s, 1);
	while (s.n > 0 && is_separator(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* @return octets up to the brace that closes the first, or all there are */
static size_t braces(struct rst_str s)
{
	size_t i, depth = 0;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '{')
			depth++;
		else if (s.p[i] == '}' && --depth == 0)
			return i;
	}
	return s.n;
}

bool restrictions_next(struct rst_str *list, struct rst_str *word_r)
{
	size_t n = 0;

	*list = trim(*list);
	if (list->n == 0)
		return false;
	if (list->p[0] == '{') {
		n = braces(*list);
		*word_r = trim((struct rst_str){list->p + 1, n - 1});
		*list = skip(*list, n < list->n ? n + 1 : n);
		return true;
	}
	while (n < list->n && !is_separator(list->p[n])) {
		/* braces as in regexp:{{/a b/ OK}} */
		if (list->p[n] == '{')
			n += braces(skip(*list, n));
		if (n < list->n)
			n++;
	}
	*word_r = (struct rst_str){list->p, n};
	*list = skip(*list, n);
	return true;
}

static void set(struct restrictions_policy *policy, struct rst_str word)
{
	const char *equal = memchr(word.p, '=', word.n);
	struct rst_str name, value;
	size_t n;

	if (equal == NULL)
		return;
	n = (size_t)(equal - word.p);
	name = trim((struct rst_str){word.p, n});
	value = trim(skip(word, n + 1));
	if (rst_str_eq(name, RST_STR("default_action")))
		policy->default_action = value;
	else if (rst_str_eq(name, RST_STR("timeout")))
		policy->timeout = value;
}

void restrictions_policy(struct rst_str word,
			 struct restrictions_policy *policy_r)
{
	struct rst_str attribute;

	*policy_r = (struct restrictions_policy){RST_STR(""), RST_STR(""),
						 RST_STR("")};
	if (!restrictions_next(&word, &policy_r->server))
		return;
	while (restrictions_next(&word, &attribute))
		set(policy_r, attribute);
}

static int64_t unit_secs(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 24 * 3600;
	case 'w':
		return 7 * 24 * 3600;
	default:
		return -1;
	}
}

int64_t restrictions_secs(struct rst_str time, char unit)
{
	int64_t n = 0;
	size_t i;

	for (i = 0; i < time.n && time.p[i] >= '0' && time.p[i] <= '9'; i++)
		if (n < SECS_MAX)
			n = n * 10 + (time.p[i] - '0');
	if (i == 0 || i + 1 < time.n)
		return -1;
	if (i < time.n)
		unit = time.p[i];
	return unit_secs(unit) < 0 ? -1 : n * unit_secs(unit);
}
