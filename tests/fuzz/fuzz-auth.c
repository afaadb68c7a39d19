/* SPDX-License-Identifier: MIT */
/*
 * The input is what Dovecot's auth service says, with three sign-ins open.
 * However it is cut into pieces, the events and the output must be the same.
 * An OK counts only with a user name, and the output is whole lines of ours.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-auth.c lib/auth.c lib/auth-line.c lib/table.c
 *	lib/base64.c lib/buf.c lib/str.c
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/auth.h"

#define HANDSHAKE                                                 \
	"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\n" \
	"SPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start_three(struct rst_auth *auth)
{
	static const struct rst_auth_request requests[] = {
		{"restante",
		 {"PLAIN", 5},
		 {"AA==", 4},
		 true,
		 {"", 0},
		 {"", 0},
		 0,
		 0},
		{"restante",
		 {"CRAM-MD5", 8},
		 {"", 0},
		 false,
		 {"", 0},
		 {"", 0},
		 0,
		 0},
		{"restante",
		 {"OTP", 3},
		 {"", 0},
		 false,
		 {"", 0},
		 {"", 0},
		 0,
		 0},
	};
	size_t i;

	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		(void)rst_auth_start(auth, &requests[i], 0);
}

static void tell(struct rst_auth *auth, const struct rst_auth_event *ev,
		 struct rst_buf *story)
{
	if (ev->type == RST_AUTH_OK &&
	    (ev->user.n == 0 || memchr(ev->user.p, '\n', ev->user.n) != NULL))
		abort();
	rst_buf_printf(story, "%d %u %d ", (int)ev->type, ev->id,
		       ev->temporary);
	rst_buf_str(story, ev->user);
	rst_buf_puts(story, " ");
	rst_buf_str(story, ev->challenge);
	rst_buf_puts(story, " ");
	rst_buf_str(story, ev->reason);
	if (ev->type == RST_AUTH_READY)
		rst_buf_puts(story, rst_auth_mechanisms(auth));
	if (ev->type == RST_AUTH_CONTINUE &&
	    rst_auth_continue(auth, ev->id, ev->challenge, 0) < 0)
		abort();
}

static ssize_t offer(struct rst_auth *auth, const char *input, size_t *start,
		     size_t end, struct rst_buf *story)
{
	struct rst_auth_event ev;
	ssize_t taken;

	do {
		/* a copy, so that ASan sees a read beyond its end */
		char *copy = rst_malloc(end - *start);

		memcpy(copy, input + *start, end - *start);
		taken = rst_auth_recv(auth, copy, end - *start, 0);
		free(copy);
		*start += taken > 0 ? (size_t)taken : 0;
		while (rst_auth_next(auth, &ev))
			tell(auth, &ev, story);
	} while (taken > 0);
	return taken;
}

/* @return the events and the output as octets, to be cleared */
static struct rst_buf run(const char *input, size_t size, size_t piece)
{
	static const struct rst_auth_limits limits = {1, 1000, 1000, 3, 50, 2};
	struct rst_auth *auth = rst_auth_new(&limits, 0);
	struct rst_buf story = {0};
	size_t start = 0, end = 0;
	ssize_t taken = 0;
	struct rst_str out;

	start_three(auth);
	while (end < size && taken >= 0) {
		end = size - end < piece ? size : end + piece;
		taken = offer(auth, input, &start, end, &story);
	}
	rst_buf_printf(&story, "%d", taken < 0 ? (int)taken : 0);
	out.p = rst_auth_output(auth, &out.n);
	rst_buf_str(&story, out);
	rst_auth_free(&auth);
	return story;
}

static void whole_equals_cut(const char *input, size_t size)
{
	struct rst_buf whole = run(input, size, size), cut;
	size_t piece;

	for (piece = 1; piece <= 64; piece = piece * 3 + 1) {
		cut = run(input, size, piece);
		if (!rst_str_eq(rst_buf_view(&whole), rst_buf_view(&cut)))
			abort();
		rst_buf_clear(&cut);
	}
	rst_buf_clear(&whole);
}

/* The input alone, and behind a good handshake, which is hard to guess. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_buf input = {0};

	whole_equals_cut((const char *)data, size);
	rst_buf_puts(&input, HANDSHAKE);
	rst_buf_append(&input, data, size);
	whole_equals_cut(rst_buf_view(&input).p, input.used);
	rst_buf_clear(&input);
	return 0;
}
