/* SPDX-License-Identifier: MIT */
/*
 * The input is what Dovecot's auth says to three open questions. However it is
 * cut into pieces, the answers must be the same, each question has at most one,
 * and the fields of an answer are on one line.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-lookup.c lib/lookup.c lib/auth-line.c lib/base64.c
 *	lib/buf.c lib/str.c
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/lookup.h"

#define HANDSHAKE "VERSION\t1\t1\nSPID\t1\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pull(struct rst_lookup *lookup, struct rst_buf *story)
{
	struct rst_lookup_answer answer;
	struct rst_str value;

	while (rst_lookup_next(lookup, &answer)) {
		if (answer.id < 1 || answer.id > 3 ||
		    memchr(answer.fields.p, '\n', answer.fields.n) != NULL)
			abort();
		rst_buf_printf(
			story, "%u %d %d ", answer.id, (int)answer.result,
			rst_lookup_field(answer.fields, "restante", &value));
		rst_buf_str(story, answer.fields);
		rst_buf_puts(story, "\n");
	}
}

/* @param chunk octets that come at once */
static void run(const char *input, size_t size, size_t chunk,
		struct rst_buf *story)
{
	static const struct rst_lookup_limits limits = {1000, 1000, 3};
	struct rst_lookup *lookup = rst_lookup_new(&limits, 0);
	size_t start = 0, end = 0;
	ssize_t n = rst_lookup_recv(lookup, HANDSHAKE, strlen(HANDSHAKE));

	if (n != (ssize_t)strlen(HANDSHAKE))
		abort();
	while (rst_lookup_ask(lookup, RST_LOOKUP_USER, RST_STR("u"),
			      RST_STR(""), 0) > 0)
		;
	n = 0;
	while (n >= 0 && end < size) {
		end = size - end > chunk ? end + chunk : size;
		do {
			n = rst_lookup_recv(lookup, input + start, end - start);
			if (n > 0)
				start += (size_t)n;
			pull(lookup, story);
		} while (n > 0);
	}
	rst_buf_printf(story, "%d", (int)n);
	rst_lookup_free(&lookup);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_buf whole = {0}, pieces = {0};

	run((const char *)data, size, size + 1, &whole);
	run((const char *)data, size, size % 7 + 1, &pieces);
	if (!rst_str_eq(rst_buf_view(&whole), rst_buf_view(&pieces)))
		abort();
	rst_buf_clear(&whole);
	rst_buf_clear(&pieces);
	return 0;
}
