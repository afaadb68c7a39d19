/* SPDX-License-Identifier: MIT */
/*
 * The first line of the input says how the provider's questions are answered
 * (see provider-run.h); the rest is what the client sends. However that is cut
 * into pieces, the whole conversation must be the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib -Itests/unit
 *	tests/fuzz/fuzz-provider.c lib/provider.c lib/base64.c lib/smtp.c
 *	lib/buf.c lib/str.c
 */
#include "provider-run.h"

#define ANSWERS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *run(struct rst_str input, const char *answers, size_t piece)
{
	static const struct rst_provider_limits limits = PROVIDER_RUN_LIMITS;
	struct provider_run run;
	size_t n;

	provider_run_start(&run, &limits, answers);
	while (input.n > 0) {
		n = input.n < piece ? input.n : piece;
		provider_run_feed(&run, input.p, n);
		input.p += n;
		input.n -= n;
	}
	return provider_run_end(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str rest = {(const char *)data, size}, first;
	char answers[ANSWERS_MAX + 1];
	char *whole, *cut;
	size_t piece;

	if (size == 0 || !rst_str_split(&rest, '\n', &first))
		return 0;
	first.n = first.n > ANSWERS_MAX ? ANSWERS_MAX : first.n;
	memcpy(answers, first.p, first.n);
	answers[first.n] = '\0';

	whole = run(rest, answers, rest.n);
	for (piece = 1; piece <= 64; piece = piece * 3 + 1) {
		cut = run(rest, answers, piece);
		if (strcmp(whole, cut) != 0)
			abort();
		free(cut);
	}
	/* the caller has to confirm the sign-in and ATRN before a turn */
	if (strchr(answers, 'o') == NULL &&
	    (strstr(whole, "\r\n235") != NULL ||
	     strstr(whole, ">235") != NULL || strstr(whole, "<ATRN") != NULL))
		abort();
	free(whole);
	return 0;
}
