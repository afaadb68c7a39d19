/* SPDX-License-Identifier: MIT */
#include "restante/logline.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct rst_str cut_mark = {"...", 3};

/* Append octets that must not be cut apart. */
static void put(struct rst_logline *line, const char *p, size_t n)
{
	if (line->is_cut)
		return;
	if (line->n + n > RST_LOGLINE_MAX - cut_mark.n) {
		p = cut_mark.p;
		n = cut_mark.n;
		line->is_cut = true;
	}
	memcpy(line->text + line->n, p, n);
	line->n += n;
	line->text[line->n] = '\0';
}

static bool in_range(unsigned char c, unsigned char low, unsigned char high)
{
	return c >= low && c <= high;
}

/*
 * The second octets that RFC 3629 section 4 allows after a first octet, and
 * the length of the character. U+0080 to U+009F are control characters that
 * some terminals obey: hence 0xa0 after 0xc2.
 */
static const struct utf8_range {
	unsigned char first_low, first_high, second_low, second_high;
	size_t n;
} utf8_ranges[] = {
	{0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2},
	{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
	{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
	{0xf4, 0xf4, 0x80, 0x8f, 4},
};

static const struct utf8_range *utf8_range(unsigned char first)
{
	size_t i;

	for (i = 0; i < sizeof(utf8_ranges) / sizeof(utf8_ranges[0]); i++) {
		const struct utf8_range *range = &utf8_ranges[i];

		if (in_range(first, range->first_low, range->first_high))
			return range;
	}
	return NULL;
}

/* @return octets of the well-formed, harmless character beyond ASCII at p; 0:
   there is none */
static size_t utf8_char(const char *p, size_t left)
{
	const unsigned char *c = (const unsigned char *)p;
	const struct utf8_range *range = utf8_range(c[0]);
	size_t i;

	if (range == NULL || left < range->n ||
	    !in_range(c[1], range->second_low, range->second_high))
		return 0;
	for (i = 2; i < range->n; i++) {
		if (!in_range(c[i], 0x80, 0xbf))
			return 0;
	}
	return range->n;
}

static void put_escaped(struct rst_logline *line, struct rst_str s)
{
	size_t i = 0, n;

	while (i < s.n && !line->is_cut) {
		unsigned char c = (unsigned char)s.p[i];
		char hex[5];

		if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
			n = 1;
		else
			n = utf8_char(s.p + i, s.n - i);
		if (n > 0) {
			put(line, s.p + i, n);
			i += n;
			continue;
		}
		(void)snprintf(hex, sizeof(hex), "\\x%02X", c);
		put(line, hex, 4);
		i++;
	}
}

void rst_logline_begin(struct rst_logline *line, const char *message)
{
	line->n = 0;
	line->text[0] = '\0';
	line->has_pairs = false;
	line->is_cut = false;
	put_escaped(line, rst_str(message));
}

static void put_key(struct rst_logline *line, const char *key)
{
	if (!line->has_pairs)
		put(line, ":", 1);
	line->has_pairs = true;
	put(line, " ", 1);
	put_escaped(line, rst_str(key));
	put(line, "=", 1);
}

void rst_logline_str(struct rst_logline *line, const char *key,
		     struct rst_str value)
{
	bool quoted = value.n == 0 || memchr(value.p, ' ', value.n) != NULL ||
		      memchr(value.p, '"', value.n) != NULL ||
		      memchr(value.p, '=', value.n) != NULL;

	put_key(line, key);
	if (quoted)
		put(line, "\"", 1);
	put_escaped(line, value);
	if (quoted)
		put(line, "\"", 1);
}

void rst_logline_cstr(struct rst_logline *line, const char *key,
		      const char *value)
{
	rst_logline_str(line, key, rst_str(value));
}

void rst_logline_u64(struct rst_logline *line, const char *key, uint64_t value)
{
	char digits[sizeof("18446744073709551615")];

	(void)snprintf(digits, sizeof(digits), "%" PRIu64, value);
	rst_logline_cstr(line, key, digits);
}

void rst_logline_i64(struct rst_logline *line, const char *key, int64_t value)
{
	char digits[sizeof("-9223372036854775808")];

	(void)snprintf(digits, sizeof(digits), "%" PRId64, value);
	rst_logline_cstr(line, key, digits);
}

struct date {
	int64_t year;
	int month, day;
};

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* gmtime() is declared in <time.h>, which lib/ does not include. */
static struct date date_of_day(int64_t days)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30,
				      31, 31, 30, 31, 30, 31};
	struct date date = {1970, 0, 0};
	int length = 0;

	/* the calendar repeats itself every 400 years */
	date.year += days / 146097 * 400;
	days %= 146097;
	for (; days >= 365 + is_leap(date.year); date.year++)
		days -= 365 + is_leap(date.year);
	do {
		days -= length;
		length = lengths[date.month++];
		if (date.month == 2 && is_leap(date.year))
			length++;
	} while (days >= length);
	date.day = (int)days + 1;
	return date;
}

void rst_logline_head(char head_r[RST_LOGLINE_HEAD_MAX], int64_t wall_ms,
		      const char *who, int pid, int level)
{
	static const char *const levels[] = {
		"emergency", "alert",  "critical", "error",
		"warning",   "notice", "info",     "debug",
	};
	struct date date = date_of_day(wall_ms / 86400000);
	int ms = (int)(wall_ms % 86400000);

	(void)snprintf(head_r, RST_LOGLINE_HEAD_MAX,
		       "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%03dZ "
		       "%s[%d] %s: ",
		       date.year, date.month, date.day, ms / 3600000,
		       ms / 60000 % 60, ms / 1000 % 60, ms % 1000, who, pid,
		       levels[level & 7]);
}
