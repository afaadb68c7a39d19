/* SPDX-License-Identifier: MIT */
#include "restante/holder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "restante/status.h"

/* Octets that stand for themselves. A dot does not at the beginning: there is
   no entry `.' or `..', and hidden files are not entries. */
static bool is_plain(unsigned char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("@_+=-", c) != NULL) ||
	       (c == '.' && !first);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

ssize_t rst_holder_name(struct rst_str user,
			char name_r[RST_HOLDER_NAME_MAX + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t i, n = 0;

	if (user.n == 0)
		return RST_EPROTO;
	for (i = 0; i < user.n; i++) {
		unsigned char c = (unsigned char)user.p[i];
		bool plain = is_plain(c, i == 0);

		if (n + (plain ? 1 : 3) > RST_HOLDER_NAME_MAX)
			return RST_ELIMIT;
		if (plain) {
			name_r[n++] = (char)c;
			continue;
		}
		name_r[n++] = '%';
		name_r[n++] = digits[c >> 4];
		name_r[n++] = digits[c & 15];
	}
	name_r[n] = '\0';
	return (ssize_t)n;
}

/* @return the octet that `%' and two digits stand for, or -1 */
static int decode(const char *p, size_t n)
{
	int high, low;

	if (n < 3)
		return -1;
	high = hex_value(p[1]);
	low = hex_value(p[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A user has one entry: so whatever is encoded must have needed it. */
ssize_t rst_holder_user(struct rst_str name, char user_r[RST_HOLDER_NAME_MAX])
{
	size_t i = 0, n = 0;

	if (name.n == 0 || name.n > RST_HOLDER_NAME_MAX)
		return RST_EPROTO;
	while (i < name.n) {
		int c = (unsigned char)name.p[i];

		if (c != '%') {
			if (!is_plain((unsigned char)c, n == 0))
				return RST_EPROTO;
			i++;
		} else {
			c = decode(name.p + i, name.n - i);
			if (c < 0 || is_plain((unsigned char)c, n == 0))
				return RST_EPROTO;
			i += 3;
		}
		user_r[n++] = (char)c;
	}
	return (ssize_t)n;
}

void rst_holder_format(const struct rst_holder *holder,
		       char text_r[RST_HOLDER_TEXT_SIZE])
{
	char text[RST_HOLDER_TEXT_SIZE + 1];

	(void)snprintf(text, sizeof(text), "%020" PRId64 "\n",
		       holder->due < 0 ? 0 : holder->due);
	memcpy(text_r, text, RST_HOLDER_TEXT_SIZE);
}

int rst_holder_parse(struct rst_str text, struct rst_holder *holder_r)
{
	struct rst_str line, due, field;
	uint64_t value;

	*holder_r = (struct rst_holder){0};
	if (text.n > RST_HOLDER_TEXT_MAX ||
	    memchr(text.p, '\n', text.n) == NULL ||
	    !rst_str_split(&text, '\n', &line) ||
	    !rst_str_split(&line, ' ', &due) || !rst_str_to_u64(due, &value) ||
	    value > INT64_MAX)
		return RST_EPROTO;
	holder_r->due = (int64_t)value;
	while (rst_str_split(&line, ' ', &field))
		if (rst_str_eq(field, RST_STR("full")))
			holder_r->full = true;
	return 0;
}
