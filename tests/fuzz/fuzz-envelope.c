/* SPDX-License-Identifier: MIT */
/*
 * The input is a message that may begin with an envelope field. Cut anywhere,
 * it is parsed as the whole is. An envelope that was parsed is formatted, and
 * parsed again as the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-envelope.c lib/envelope.c lib/smtp.c lib/buf.c lib/str.c
 */
#include "restante/envelope.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* @return the first result that is not "more"; a long input is cut 256 times */
static ssize_t parse_cut(const char *buf, size_t size)
{
	size_t step = size / 256 + 1, cut = 0;
	ssize_t ret = 0;

	while (ret == 0) {
		struct rst_envelope env;
		char *storage;
		char *copy = rst_malloc(cut);

		memcpy(copy, buf, cut);
		ret = rst_envelope_parse(copy, cut, &env, &storage);
		check((storage != NULL) == (ret > 0));
		free(storage);
		free(copy);
		if (cut == size)
			break;
		cut = size - cut < step ? size : cut + step;
	}
	return ret;
}

static void check_same(const struct rst_envelope *a,
		       const struct rst_envelope *b)
{
	check(rst_str_eq(a->id, b->id) && a->arrived_us == b->arrived_us &&
	      memcmp(a->key, b->key, RST_KEY_SIZE) == 0 &&
	      rst_str_eq(a->mail_from, b->mail_from) &&
	      rst_str_eq(a->rcpt_to, b->rcpt_to) &&
	      rst_str_eq(a->mail_params, b->mail_params) &&
	      rst_str_eq(a->rcpt_params, b->rcpt_params) &&
	      a->trace_lines == b->trace_lines &&
	      a->own_lines == b->own_lines && a->has_octets == b->has_octets &&
	      a->octets == b->octets && a->has_digest == b->has_digest &&
	      memcmp(a->digest, b->digest, RST_DIGEST_SIZE) == 0);
}

static void check_written(const struct rst_envelope *env)
{
	struct rst_envelope back;
	size_t len;
	char *storage, *field = rst_envelope_format(env, &len);

	if (field == NULL) /* folded, it would be too long */
		return;
	field = rst_realloc(field, len + 1);
	field[len] = '\n';
	check(rst_envelope_parse(field, len + 1, &back, &storage) ==
	      (ssize_t)len);
	check_same(env, &back);
	free(storage);
	free(field);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;
	struct rst_envelope env;
	char *storage;
	size_t start;
	ssize_t ret = rst_envelope_parse(buf, size, &env, &storage);

	check(ret <= (ssize_t)size);
	check(parse_cut(buf, size) == ret);
	if (ret > 0)
		check_written(&env);
	check(rst_envelope_is_cut(buf, size, &start) || ret <= 0);
	check(start <= size && (ret <= 0 || start == 0));
	free(storage);
	return 0;
}
