/* SPDX-License-Identifier: MIT */
#include "restante/envelope.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/smtp.h"

#define VERSION "1"
/* RFC 5322 2.1.1: lines should have no more than 78 characters */
#define FOLD_AT 78
#define USECS_PER_SEC 1000000
/* More octets than a storage puts before a message. */
#define LEFT_BEFORE_MAX 64

static const char hex_digits[] = "0123456789abcdef";

/* The names of version 1, also as bits of the names found. */
enum name {
	NAME_VERSION,
	NAME_ID,
	NAME_ARRIVED,
	NAME_KEY,
	NAME_FROM,
	NAME_TO,
	NAME_SKIP,
	NAME_OWN,
	NAME_OCTETS,
	NAME_MAIL_PARAMS,
	NAME_RCPT_PARAMS,
	NAME_DIGEST,
	NAME_COUNT
};

static const char *const names[NAME_COUNT] = {
	"v",    "id",  "t", "k",     "from",  "to",
	"skip", "own", "n", "mailp", "rcptp", "d",
};

/* A message without one of these can neither be pushed nor delivered. */
#define NAMES_REQUIRED                                             \
	(1U << NAME_VERSION | 1U << NAME_ID | 1U << NAME_ARRIVED | \
	 1U << NAME_KEY | 1U << NAME_FROM | 1U << NAME_TO | 1U << NAME_SKIP)

bool rst_id_valid(struct rst_str id)
{
	size_t i;

	/* an id is a file's name: not a hidden one, and not ".." */
	if (id.n == 0 || id.n > RST_ID_MAX || id.p[0] == '.')
		return false;
	for (i = 0; i < id.n; i++) {
		char c = id.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return true;
}

/* ---- writing */

/* Append "name=value;", the value as xtext in which ';' is escaped too. */
static void put_text(struct rst_buf *out, enum name name, struct rst_str value)
{
	char *text = rst_malloc(3 * value.n);
	size_t n = rst_xtext_encode(value, text), i;

	rst_buf_printf(out, "%s=", names[name]);
	for (i = 0; i < n; i++) {
		if (text[i] == ';')
			rst_buf_puts(out, "+3B");
		else
			rst_buf_append(out, text + i, 1);
	}
	rst_buf_puts(out, ";");
	free(text);
}

static void put_hex(struct rst_buf *out, enum name name,
		    const unsigned char *octets, size_t size)
{
	size_t i;

	rst_buf_printf(out, "%s=", names[name]);
	for (i = 0; i < size; i++) {
		rst_buf_append(out, &hex_digits[octets[i] >> 4], 1);
		rst_buf_append(out, &hex_digits[octets[i] & 15], 1);
	}
}

/* The field's value before the digest, without any white space. */
static void put_value(struct rst_buf *out, const struct rst_envelope *env)
{
	rst_buf_printf(out, "%s=" VERSION ";%s=%.*s;", names[NAME_VERSION],
		       names[NAME_ID], (int)env->id.n, env->id.p);
	rst_buf_printf(out, "%s=%" PRId64 ".%06d;", names[NAME_ARRIVED],
		       env->arrived_us / USECS_PER_SEC,
		       (int)(env->arrived_us % USECS_PER_SEC));
	put_hex(out, NAME_KEY, env->key, RST_KEY_SIZE);
	rst_buf_puts(out, ";");
	/* before names that are required: a field that is cut off behind those
	   still has it */
	if (env->has_octets)
		rst_buf_printf(out, "%s=%" PRIu64 ";", names[NAME_OCTETS],
			       env->octets);
	put_text(out, NAME_FROM, env->mail_from);
	put_text(out, NAME_TO, env->rcpt_to);
	if (env->mail_params.n > 0)
		put_text(out, NAME_MAIL_PARAMS, env->mail_params);
	if (env->rcpt_params.n > 0)
		put_text(out, NAME_RCPT_PARAMS, env->rcpt_params);
	rst_buf_printf(out, "%s=%u;%s=%u", names[NAME_SKIP], env->trace_lines,
		       names[NAME_OWN], env->own_lines);
}

/*
 * A line takes items as long as they fit, with a blank after each ';'. An item
 * too long for a line of its own is cut: white space means nothing.
 */
static void fold(struct rst_buf *out, struct rst_str value)
{
	size_t column = strlen(RST_ENVELOPE_FIELD ":");
	struct rst_str item;

	rst_buf_puts(out, RST_ENVELOPE_FIELD ":");
	while (rst_str_split(&value, ';', &item)) {
		/* 2: the blank before and the ';' after it */
		if (column + item.n + 2 > FOLD_AT) {
			rst_buf_puts(out, "\r\n");
			column = 0;
		}
		rst_buf_puts(out, " ");
		while (item.n > FOLD_AT - 2) {
			rst_buf_append(out, item.p, FOLD_AT - 2);
			rst_buf_puts(out, "\r\n ");
			item.p += FOLD_AT - 2;
			item.n -= FOLD_AT - 2;
			column = 0;
		}
		rst_buf_str(out, item);
		if (value.n > 0)
			rst_buf_puts(out, ";");
		column += item.n + 2;
	}
	rst_buf_puts(out, "\r\n");
}

static bool can_format(const struct rst_envelope *env)
{
	return rst_id_valid(env->id) && env->arrived_us >= 0 &&
	       env->own_lines <= env->trace_lines &&
	       env->mail_from.n <= RST_ENVELOPE_MAX &&
	       env->rcpt_to.n <= RST_ENVELOPE_MAX &&
	       env->mail_params.n <= RST_ENVELOPE_MAX &&
	       env->rcpt_params.n <= RST_ENVELOPE_MAX;
}

char *rst_envelope_covered(const struct rst_envelope *env, size_t *len_r)
{
	struct rst_buf value = {0};
	char *copy;

	if (!can_format(env))
		return NULL;
	put_value(&value, env);
	*len_r = value.used;
	copy = rst_str_dup(rst_buf_view(&value));
	rst_buf_clear(&value);
	return copy;
}

char *rst_envelope_format(const struct rst_envelope *env, size_t *len_r)
{
	struct rst_buf value = {0}, field = {0};
	char *copy = NULL;

	if (!can_format(env))
		return NULL;
	put_value(&value, env);
	if (env->has_digest) {
		rst_buf_puts(&value, ";");
		put_hex(&value, NAME_DIGEST, env->digest, RST_DIGEST_SIZE);
	}
	fold(&field, rst_buf_view(&value));
	if (field.used <= RST_ENVELOPE_MAX) {
		*len_r = field.used;
		copy = rst_str_dup(rst_buf_view(&field));
	}
	rst_buf_clear(&value);
	rst_buf_clear(&field);
	return copy;
}

/* ---- reading */

/* Compare the octets that are there with the field's name.
   @return 1; 0: more input needed; RST_EPROTO: another field */
static int match_name(const char *buf, size_t len)
{
	const struct rst_str name = RST_STR(RST_ENVELOPE_FIELD ":");
	struct rst_str have = {buf, len < name.n ? len : name.n};

	if (len == 0) /* and buf may be NULL */
		return 0;
	if (!rst_str_case_starts(name, have))
		return RST_EPROTO;
	return have.n == name.n ? 1 : 0;
}

/* The field ends after a line end that no white space follows. */
static ssize_t find_end(const char *buf, size_t len)
{
	size_t i;

	for (i = 1; i < len && i <= RST_ENVELOPE_MAX; i++) {
		if (buf[i - 1] == '\n' && buf[i] != ' ' && buf[i] != '\t')
			return (ssize_t)i;
	}
	return len > RST_ENVELOPE_MAX ? RST_ELIMIT : 0;
}

/* Copy without white space. @return octets, or RST_EPROTO: not graphic */
static ssize_t squeeze(const char *buf, size_t len, char *out)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		char c = buf[i];

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c < '!' || c > '~')
			return RST_EPROTO;
		out[n++] = c;
	}
	return (ssize_t)n;
}

static bool read_time(struct rst_str s, int64_t *usecs_r)
{
	struct rst_str secs_text;
	uint64_t secs, usecs;

	if (!rst_str_split(&s, '.', &secs_text) || s.n != 6 ||
	    !rst_str_to_u64(secs_text, &secs) || !rst_str_to_u64(s, &usecs) ||
	    secs >= INT64_MAX / USECS_PER_SEC)
		return false;
	*usecs_r = (int64_t)(secs * USECS_PER_SEC + usecs);
	return true;
}

static int hex_value(char c)
{
	const char *at;

	if (c >= 'A' && c <= 'F')
		c += 'a' - 'A';
	at = memchr(hex_digits, c, 16);
	return at == NULL ? -1 : (int)(at - hex_digits);
}

static bool read_hex(struct rst_str s, unsigned char *octets, size_t size)
{
	size_t i;

	if (s.n != 2 * size)
		return false;
	for (i = 0; i < size; i++) {
		int high = hex_value(s.p[2 * i]);
		int low = hex_value(s.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		octets[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static bool read_lines(struct rst_str s, unsigned int *lines_r)
{
	uint64_t lines;

	if (!rst_str_to_u64(s, &lines) || lines > UINT_MAX)
		return false;
	*lines_r = (unsigned int)lines;
	return true;
}

/* @param out room for the decoded text; moved on */
static bool read_text(struct rst_str s, char **out, struct rst_str *text_r)
{
	ssize_t n = rst_xtext_decode(s, *out);

	if (n < 0)
		return false;
	*text_r = (struct rst_str){*out, (size_t)n};
	*out += n;
	return true;
}

static bool read_item(enum name name, struct rst_str value, char **out,
		      struct rst_envelope *env)
{
	switch (name) {
	case NAME_VERSION:
		return rst_str_eq(value, RST_STR(VERSION));
	case NAME_ID:
		env->id = value;
		return rst_id_valid(value);
	case NAME_ARRIVED:
		return read_time(value, &env->arrived_us);
	case NAME_KEY:
		return read_hex(value, env->key, RST_KEY_SIZE);
	case NAME_FROM:
		return read_text(value, out, &env->mail_from);
	case NAME_TO:
		return read_text(value, out, &env->rcpt_to);
	case NAME_MAIL_PARAMS:
		return read_text(value, out, &env->mail_params);
	case NAME_RCPT_PARAMS:
		return read_text(value, out, &env->rcpt_params);
	case NAME_SKIP:
		return read_lines(value, &env->trace_lines);
	case NAME_OWN:
		return read_lines(value, &env->own_lines);
	case NAME_OCTETS:
		env->has_octets = true;
		return rst_str_to_u64(value, &env->octets);
	case NAME_DIGEST:
		env->has_digest = true;
		return read_hex(value, env->digest, RST_DIGEST_SIZE);
	case NAME_COUNT:
		break;
	}
	return true; /* not of version 1: skipped */
}

static enum name find_name(struct rst_str s)
{
	enum name name;

	for (name = 0; name < NAME_COUNT; name++) {
		if (rst_str_eq(s, rst_str(names[name])))
			break;
	}
	return name;
}

/* @param out room for as many octets as value has */
static int read_value(struct rst_str value, char *out, struct rst_envelope *env)
{
	const struct rst_str whole = value;
	struct rst_str item, name_text;
	unsigned int found = 0;

	while (rst_str_split(&value, ';', &item)) {
		enum name name;

		if (memchr(item.p, '=', item.n) == NULL ||
		    !rst_str_split(&item, '=', &name_text))
			return RST_EPROTO;
		name = find_name(name_text);
		/* up to the ';' before it */
		if (name == NAME_DIGEST && name_text.p > whole.p)
			env->covered = (struct rst_str){
				whole.p, (size_t)(name_text.p - whole.p) - 1};
		/* twice: none of the two can be trusted */
		if (name != NAME_COUNT && (found & 1U << name) != 0)
			return RST_EPROTO;
		if (!read_item(name, item, &out, env))
			return RST_EPROTO;
		found |= 1U << name;
	}
	if ((found & NAMES_REQUIRED) != NAMES_REQUIRED ||
	    env->own_lines > env->trace_lines)
		return RST_EPROTO;
	return 0;
}

bool rst_envelope_is_cut(const char *buf, size_t len, size_t *start_r)
{
	const struct rst_str name = RST_STR(RST_ENVELOPE_FIELD ":");
	size_t i;

	for (i = 0; i <= LEFT_BEFORE_MAX && i + name.n <= len; i++) {
		struct rst_str rest = {buf + i, len - i};

		if (rst_str_case_starts(rest, name)) {
			*start_r = i;
			return true;
		}
	}
	*start_r = len;
	if (len == 0 || buf[0] == '\0')
		return true;
	return len < name.n &&
	       rst_str_case_starts(name, (struct rst_str){buf, len});
}

ssize_t rst_envelope_parse(const char *buf, size_t len,
			   struct rst_envelope *env_r, char **storage_r)
{
	size_t name_len = strlen(RST_ENVELOPE_FIELD ":");
	char *storage;
	ssize_t end, n;
	int ret;

	*env_r = (struct rst_envelope){
		.id = RST_STR(""),
		.mail_from = RST_STR(""),
		.rcpt_to = RST_STR(""),
		.mail_params = RST_STR(""),
		.rcpt_params = RST_STR(""),
		.covered = RST_STR(""),
	};
	*storage_r = NULL;
	if ((ret = match_name(buf, len)) <= 0)
		return ret;
	if ((end = find_end(buf, len)) <= 0)
		return end;

	/* the field without white space, and behind it its decoded texts */
	storage = rst_malloc(2 * (size_t)end);
	n = squeeze(buf + name_len, (size_t)end - name_len, storage);
	if (n < 0 || read_value((struct rst_str){storage, (size_t)n},
				storage + n, env_r) < 0) {
		free(storage);
		return RST_EPROTO;
	}
	*storage_r = storage;
	return end;
}
