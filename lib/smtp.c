/* SPDX-License-Identifier: MIT */
#include "restante/smtp.h"

#include <string.h>

/* <ctype.h> asks the locale; SMTP does not. */
static bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_alnum(unsigned char c)
{
	return is_alpha(c) || is_digit(c);
}

static bool is_blank(unsigned char c)
{
	return c == ' ' || c == '\t';
}

static bool is_control(unsigned char c)
{
	return c < 32 || c == 127;
}

static unsigned char at(struct rst_str s, size_t i)
{
	return (unsigned char)s.p[i];
}

static struct rst_str drop(struct rst_str s, size_t n)
{
	return (struct rst_str){s.p + n, s.n - n};
}

static struct rst_str trim(struct rst_str s)
{
	while (s.n > 0 && is_blank(at(s, 0)))
		s = drop(s, 1);
	while (s.n > 0 && is_blank(at(s, s.n - 1)))
		s.n--;
	return s;
}

ssize_t rst_smtp_line(const char *buf, size_t len, size_t max,
		      struct rst_str *line_r)
{
	size_t n = len < max ? len : max, i;

	for (i = 0; i < n; i++) {
		if (buf[i] == '\n' || buf[i] == '\0')
			return RST_EPROTO;
		if (buf[i] != '\r')
			continue;
		if (i + 1 == n)
			break;
		if (buf[i + 1] != '\n')
			return RST_EPROTO;
		*line_r = (struct rst_str){buf, i};
		return (ssize_t)i + 2;
	}
	return len < max ? 0 : RST_ELIMIT;
}

int rst_smtp_command_parse(struct rst_str line,
			   struct rst_smtp_command *command_r)
{
	size_t n = 0;

	while (n < line.n && is_alnum(at(line, n)))
		n++;
	if (n == 0 || (n < line.n && !is_blank(at(line, n))))
		return RST_EPROTO;
	command_r->verb = (struct rst_str){line.p, n};
	command_r->args = trim(drop(line, n));
	return 0;
}

/**
 * Measure an address up to the first octet that must not be in it.
 * @return good octets; s.n if all are
 */
static size_t address_span(struct rst_str s)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = at(s, i);

		if (is_control(c) ||
		    (!quoted && (c == ' ' || c == '<' || c == '>')))
			return i;
		if (c == '"') {
			quoted = !quoted;
		} else if (c == '\\' && quoted) {
			/* the next octet stands for itself */
			if (++i == s.n || is_control(at(s, i)))
				return i - 1;
		}
	}
	return quoted ? s.n - 1 : s.n;
}

bool rst_smtp_address_valid(struct rst_str address)
{
	return address.n <= RST_SMTP_ADDRESS_MAX &&
	       address_span(address) == address.n;
}

bool rst_smtp_address_is_utf8(struct rst_str address)
{
	size_t i;

	for (i = 0; i < address.n; i++) {
		if (at(address, i) > 127)
			return true;
	}
	return false;
}

/* RFC 5321 4.1.2: "@a,@[IPv6:::1]:" before an address is to be ignored. */
static int skip_source_route(struct rst_str *path)
{
	bool literal = false;
	size_t i;

	if (path->n == 0 || at(*path, 0) != '@')
		return 0;
	for (i = 0; i < path->n; i++) {
		unsigned char c = at(*path, i);

		if (c == '[')
			literal = true;
		else if (c == ']')
			literal = false;
		else if (c == '"')
			return RST_EPROTO;
		else if (c == ':' && !literal)
			break;
	}
	/* a route without an address is no null sender */
	if (i + 1 >= path->n)
		return RST_EPROTO;
	*path = drop(*path, i + 1);
	return 0;
}

int rst_smtp_path_parse(struct rst_str args, struct rst_str keyword,
			struct rst_smtp_path *path_r)
{
	struct rst_str rest;
	size_t n;

	if (!rst_str_case_starts(args, keyword))
		return RST_EPROTO;
	rest = trim(drop(args, keyword.n));
	if (rest.n == 0 || at(rest, 0) != '<')
		return RST_EPROTO;
	rest = drop(rest, 1);
	n = address_span(rest);
	if (n == rest.n || at(rest, n) != '>' ||
	    (n + 1 < rest.n && !is_blank(at(rest, n + 1))))
		return RST_EPROTO;
	path_r->address = (struct rst_str){rest.p, n};
	path_r->params = trim(drop(rest, n + 1));
	if (skip_source_route(&path_r->address) < 0)
		return RST_EPROTO;
	if (path_r->address.n > RST_SMTP_ADDRESS_MAX)
		return RST_ELIMIT;
	return rst_smtp_address_valid(path_r->address) ? 0 : RST_EPROTO;
}

/* RFC 5321 4.1.2: esmtp-keyword */
static bool keyword_valid(struct rst_str s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (!is_alnum(at(s, i)) && (i == 0 || at(s, i) != '-'))
			return false;
	}
	return s.n > 0;
}

/* RFC 5321 4.1.2: esmtp-value, and the UTF-8 of RFC 6531 */
static bool value_valid(struct rst_str s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (is_control(at(s, i)) || at(s, i) == '=')
			return false;
	}
	return s.n > 0;
}

int rst_smtp_param_next(struct rst_str *params, struct rst_str *keyword_r,
			struct rst_str *value_r)
{
	struct rst_str rest = trim(*params), param;
	const char *equals;
	size_t n = 0;

	if (rest.n == 0)
		return 0;
	while (n < rest.n && !is_blank(at(rest, n)))
		n++;
	param = (struct rst_str){rest.p, n};
	*keyword_r = param;
	*value_r = RST_STR("");
	equals = memchr(param.p, '=', param.n);
	if (equals != NULL) {
		keyword_r->n = (size_t)(equals - param.p);
		*value_r = drop(param, keyword_r->n + 1);
		if (!value_valid(*value_r))
			return RST_EPROTO;
	}
	if (!keyword_valid(*keyword_r))
		return RST_EPROTO;
	*params = drop(rest, n);
	return 1;
}

/* Take up to three digits. @return their number */
static size_t take_digits(struct rst_str *s)
{
	size_t n = 0;

	while (n < s->n && n < 3 && is_digit(at(*s, n)))
		n++;
	*s = drop(*s, n);
	return n;
}

/* RFC 2034: where its class is not that of the reply code, it is text. */
static struct rst_str take_enhanced(struct rst_str *text, unsigned int code)
{
	struct rst_str rest = *text, enhanced;
	unsigned int i;

	if (rest.n == 0 || at(rest, 0) != '0' + code / 100)
		return RST_STR("");
	rest = drop(rest, 1);
	for (i = 0; i < 2; i++) {
		if (rest.n == 0 || at(rest, 0) != '.')
			return RST_STR("");
		rest = drop(rest, 1);
		if (take_digits(&rest) == 0)
			return RST_STR("");
	}
	if (rest.n > 0 && !is_blank(at(rest, 0)))
		return RST_STR("");
	enhanced = (struct rst_str){text->p, text->n - rest.n};
	*text = trim(rest);
	return enhanced;
}

/* @return 1: another line follows, 0: the last, or RST_EPROTO */
static int reply_line(struct rst_str line, unsigned int *code_r)
{
	struct rst_str rest = line;

	if (take_digits(&rest) != 3 || at(line, 0) < '2' || at(line, 0) > '5')
		return RST_EPROTO;
	*code_r = (at(line, 0) - '0') * 100U + (at(line, 1) - '0') * 10U +
		  (at(line, 2) - '0');
	/* RFC 5321 4.2: accept a code without a text */
	if (rest.n == 0 || at(rest, 0) == ' ')
		return 0;
	return at(rest, 0) == '-' ? 1 : RST_EPROTO;
}

static struct rst_str reply_text(struct rst_str line)
{
	return drop(line, line.n > 4 ? 4 : line.n);
}

ssize_t rst_smtp_reply_parse(const char *buf, size_t len, size_t max,
			     struct rst_smtp_reply *reply_r)
{
	struct rst_str line;
	unsigned int code, first = 0;
	size_t used = 0;
	int more;

	/* an empty buffer may be NULL, to which nothing can be added */
	if (len == 0)
		return 0;
	do {
		ssize_t n = rst_smtp_line(buf + used, len - used, max - used,
					  &line);

		if (n <= 0)
			return n;
		more = reply_line(line, &code);
		if (more < 0 || (used > 0 && code != first))
			return RST_EPROTO;
		first = code;
		used += (size_t)n;
	} while (more > 0);

	reply_r->code = code;
	reply_r->text = reply_text(line);
	reply_r->enhanced = take_enhanced(&reply_r->text, code);
	reply_r->lines = (struct rst_str){buf, used};
	return (ssize_t)used;
}

bool rst_smtp_reply_line(struct rst_str *lines, struct rst_str *text_r)
{
	struct rst_str line;
	ssize_t n = rst_smtp_line(lines->p, lines->n, lines->n, &line);

	if (n <= 0)
		return false;
	*text_r = reply_text(line);
	*lines = drop(*lines, (size_t)n);
	return true;
}

size_t rst_xtext_encode(struct rst_str s, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t i, n = 0;

	for (i = 0; i < s.n; i++) {
		unsigned char c = at(s, i);

		if (c > 32 && c < 127 && c != '+' && c != '=') {
			out[n++] = (char)c;
		} else {
			out[n++] = '+';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	return n;
}

static int hex_value(unsigned char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

ssize_t rst_xtext_decode(struct rst_str s, char *out)
{
	size_t i, n = 0;

	for (i = 0; i < s.n; i++) {
		unsigned char c = at(s, i);
		int high, low;

		if (c <= 32 || c >= 127 || c == '=')
			return RST_EPROTO;
		if (c != '+') {
			out[n++] = (char)c;
			continue;
		}
		if (s.n - i < 3)
			return RST_EPROTO;
		high = hex_value(at(s, i + 1));
		low = hex_value(at(s, i + 2));
		if (high < 0 || low < 0)
			return RST_EPROTO;
		out[n++] = (char)(high * 16 + low);
		i += 2;
	}
	return (ssize_t)n;
}
