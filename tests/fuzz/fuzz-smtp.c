/* SPDX-License-Identifier: MIT */
/*
 * The SMTP codec: a piece of the input is parsed as the whole is, views stay
 * inside the input, and what was parsed may be written again.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude
 *	tests/fuzz/fuzz-smtp.c lib/smtp.c lib/str.c
 */
#include <stdlib.h>
#include <string.h>

#include "restante/smtp.h"

#define LINE_MAX_HERE 64
#define REPLY_MAX_HERE 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool inside(struct rst_str s, const char *buf, size_t n)
{
	return s.n == 0 || (s.p >= buf && s.p + s.n <= buf + n);
}

static ssize_t parse_line(const char *buf, size_t n)
{
	struct rst_str line;
	ssize_t used = rst_smtp_line(buf, n, LINE_MAX_HERE, &line);

	must(used <= 0 || (line.p == buf && line.n + 2 == (size_t)used));
	return used;
}

static ssize_t parse_reply(const char *buf, size_t n)
{
	struct rst_smtp_reply reply;
	struct rst_str rest, text = RST_STR("");
	ssize_t used = rst_smtp_reply_parse(buf, n, REPLY_MAX_HERE, &reply);

	if (used <= 0)
		return used;
	must(reply.code >= 200 && reply.code <= 599);
	must(inside(reply.enhanced, buf, (size_t)used) &&
	     inside(reply.text, buf, (size_t)used));
	rest = reply.lines;
	while (rst_smtp_reply_line(&rest, &text))
		must(inside(text, buf, (size_t)used));
	must(rest.n == 0);
	return used;
}

/* Offer more and more: nothing is taken, and then what the whole gives. */
static void check_cuts(ssize_t (*parse)(const char *buf, size_t n),
		       const char *buf, size_t size)
{
	ssize_t whole = parse(buf, size), ret = 0;
	size_t n;

	for (n = 0; n <= size && ret == 0; n++) {
		char *copy = malloc(n == 0 ? 1 : n);

		must(copy != NULL);
		memcpy(copy, buf, n);
		ret = parse(copy, n);
		free(copy);
	}
	must(ret == whole);
}

static void check_path(struct rst_str args)
{
	struct rst_smtp_path path;
	struct rst_str keyword, value;

	if (rst_smtp_path_parse(args, RST_STR("FROM:"), &path) < 0)
		return;
	must(rst_smtp_address_valid(path.address));
	must(inside(path.address, args.p, args.n));
	while (rst_smtp_param_next(&path.params, &keyword, &value) > 0) {
		must(keyword.n > 0 && inside(keyword, args.p, args.n));
		must(inside(value, args.p, args.n));
	}
}

static void check_command(const char *buf, size_t size)
{
	struct rst_smtp_command command;
	struct rst_str line;

	if (rst_smtp_line(buf, size, size, &line) <= 0)
		line = (struct rst_str){buf, size};
	if (rst_smtp_command_parse(line, &command) < 0)
		return;
	must(command.verb.n > 0 && inside(command.args, buf, size));
	check_path(command.args);
}

static void check_xtext(struct rst_str s)
{
	char *coded = malloc(3 * s.n + 1), *back = malloc(3 * s.n + 1);
	size_t n;

	must(coded != NULL && back != NULL);
	(void)rst_xtext_decode(s, back);
	n = rst_xtext_encode(s, coded);
	must(rst_xtext_decode((struct rst_str){coded, n}, back) ==
	     (ssize_t)s.n);
	must(memcmp(back, s.p, s.n) == 0);
	free(coded);
	free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;

	if (size == 0)
		return 0;
	check_cuts(parse_line, buf, size);
	check_cuts(parse_reply, buf, size);
	check_command(buf, size);
	check_xtext((struct rst_str){buf, size});
	return 0;
}
