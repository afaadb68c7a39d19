/* SPDX-License-Identifier: MIT */
#include "hold-private.h"

#include <stdlib.h>
#include <string.h>

#define HANDSHAKE "VERSION\trestante-hold\t1\t0\n"

/* The octet after SOH, and the octet for which both stand; as in Dovecot's
   str_tabescape(). */
static const char escape_names[] = {'0', '1', 't', 'n', 'r'};
static const char escape_octets[] = {'\0', '\001', '\t', '\n', '\r'};

#define ESCAPES sizeof(escape_octets)

/* Unescapes in place, as the field never grows. @return octets, or RST_EPROTO
 */
static ssize_t unescape(char *field, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		const char *at;

		if (field[i] != '\001') {
			if (memchr(escape_octets, field[i], ESCAPES) != NULL)
				return RST_EPROTO;
			field[n++] = field[i];
			continue;
		}
		if (++i == len)
			return RST_EPROTO;
		at = memchr(escape_names, field[i], ESCAPES);
		if (at == NULL)
			return RST_EPROTO;
		field[n++] = escape_octets[at - escape_names];
	}
	return (ssize_t)n;
}

ssize_t rst_hold_split(char *line, size_t len,
		       struct rst_str fields_r[RST_HOLD_FIELDS_MAX])
{
	char *end = line + len;
	ssize_t count = 0;
	size_t i;

	for (i = 0; i < RST_HOLD_FIELDS_MAX; i++)
		fields_r[i] = RST_STR("");
	for (;;) {
		char *tab = memchr(line, '\t', (size_t)(end - line));
		char *stop = tab == NULL ? end : tab;
		ssize_t n;

		if (count == RST_HOLD_FIELDS_MAX)
			return RST_EPROTO;
		n = unescape(line, (size_t)(stop - line));
		if (n < 0)
			return n;
		fields_r[count++] = (struct rst_str){line, (size_t)n};
		if (tab == NULL)
			return count;
		line = tab + 1;
	}
}

static size_t put_escaped(struct rst_str field, char *out)
{
	size_t i, n = 0;

	for (i = 0; i < field.n; i++) {
		const char *at = memchr(escape_octets, field.p[i], ESCAPES);

		if (at == NULL) {
			out[n++] = field.p[i];
			continue;
		}
		out[n++] = '\001';
		out[n++] = escape_names[at - escape_octets];
	}
	return n;
}

size_t rst_hold_join(const struct rst_str *fields, size_t count, char *out)
{
	size_t i, n = 0;

	for (i = 0; i < count; i++) {
		if (i > 0)
			out[n++] = '\t';
		n += put_escaped(fields[i], out + n);
	}
	out[n++] = '\n';
	return n;
}

void rst_hold_put_line(struct rst_buf *out, const struct rst_str *fields,
		       size_t count)
{
	size_t octets = count, i;
	char *line;

	for (i = 0; i < count; i++)
		octets += 2 * fields[i].n;
	line = rst_malloc(octets);
	rst_buf_append(out, line, rst_hold_join(fields, count, line));
	free(line);
}

void rst_hold_put_version(struct rst_buf *out)
{
	rst_buf_puts(out, HANDSHAKE);
}

bool rst_hold_version_matches(const struct rst_str *fields)
{
	return rst_str_eq(fields[1], RST_STR("restante-hold")) &&
	       rst_str_eq(fields[2], RST_STR("1"));
}

/* @return to be freed; terminated too, for callers that print it */
static char *preamble(const struct rst_str *fields, size_t count, size_t octets,
		      size_t *len_r)
{
	size_t start = strlen(HANDSHAKE);
	char *out = rst_malloc(start + 2 * octets + count + 1);

	memcpy(out, HANDSHAKE, start);
	*len_r = start + rst_hold_join(fields, count, out + start);
	out[*len_r] = '\0';
	return out;
}

char *rst_hold_preamble(struct rst_str user, size_t *len_r)
{
	struct rst_str fields[] = {RST_STR("USER"), user};

	return preamble(fields, 2, fields[0].n + user.n, len_r);
}

char *rst_hold_scan_preamble(size_t *len_r)
{
	struct rst_str field = RST_STR("SCAN");

	return preamble(&field, 1, field.n, len_r);
}
