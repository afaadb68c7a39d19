/* SPDX-License-Identifier: MIT */
/*
 * What a dialler says to the serving side of the hold protocol. The first line
 * of the input says what the hold answers, and the rest is what the dialler
 * says (see hold-server-run.h). However that is cut, the same events come out
 * and the same octets go to the dialler; no line is among those of a message;
 * what waits in memory is bounded; and the dialling side understands all of it.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib -Itests/unit
 *	tests/fuzz/fuzz-hold-server.c lib/hold-server.c lib/hold-dialler.c
 *	lib/hold-line.c lib/envelope.c lib/smtp.c lib/buf.c lib/str.c
 */
#include "hold-server-run.h"

#define HOW_MAX 8
#define STEPS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* @param step octets that arrive at a time */
static void play(struct hold_server_run *run, const char *how,
		 struct rst_str said, size_t step)
{
	size_t n;

	hold_server_run_start(run, how);
	while (said.n > 0) {
		n = said.n < step ? said.n : step;
		hold_server_run_feed(run, said.p, n);
		said.p += n;
		said.n -= n;
	}
	hold_server_run_finish(run);
}

static void check_same(const struct rst_buf *a, const struct rst_buf *b)
{
	hold_server_run_check(rst_str_eq(rst_buf_view(a), rst_buf_view(b)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str said = {(const char *)data, size}, first;
	struct hold_server_run whole, cut;
	char how[HOW_MAX + 1] = "";

	if (!rst_str_split(&said, '\n', &first))
		return 0;
	if (first.n > HOW_MAX)
		first.n = HOW_MAX;
	memcpy(how, first.p, first.n);
	play(&whole, how, said, said.n);
	/* where it is cut, the size of the input decides */
	play(&cut, how, said, 1 + size % STEPS);
	check_same(&whole.events, &cut.events);
	check_same(&whole.output, &cut.output);
	check_same(&whole.input, &cut.input);
	hold_server_run_dial(&whole);
	hold_server_run_free(&cut);
	hold_server_run_free(&whole);
	return 0;
}
