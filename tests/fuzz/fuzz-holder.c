/* SPDX-License-Identifier: MIT */
/*
 * The input is the name of an entry, a blank line, and its content. A name that
 * is understood is the one that its user gets; any name, taken for a user's,
 * comes back as it was. A content that is understood is written, and read as
 * the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-holder.c lib/holder.c lib/str.c
 */
#include "restante/holder.h"

#include <stdlib.h>
#include <string.h>

#include "restante/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_name(struct rst_str name)
{
	char user[RST_HOLDER_NAME_MAX], back[RST_HOLDER_NAME_MAX + 1];
	ssize_t n = rst_holder_user(name, user), m;

	check(n > 0 || n == RST_EPROTO);
	if (n <= 0)
		return;
	m = rst_holder_name((struct rst_str){user, (size_t)n}, back);
	check(m == (ssize_t)name.n && memcmp(back, name.p, name.n) == 0);
	check(memchr(back, '/', name.n) == NULL && back[0] != '.');
}

static void check_user(struct rst_str user)
{
	char name[RST_HOLDER_NAME_MAX + 1], back[RST_HOLDER_NAME_MAX];
	ssize_t n = rst_holder_name(user, name);

	if (n < 0) {
		check(user.n == 0 || user.n > RST_HOLDER_NAME_MAX / 3);
		return;
	}
	check(name[n] == '\0' && strlen(name) == (size_t)n);
	n = rst_holder_user((struct rst_str){name, (size_t)n}, back);
	check(n == (ssize_t)user.n && memcmp(back, user.p, user.n) == 0);
}

static void check_text(struct rst_str text)
{
	char out[RST_HOLDER_TEXT_SIZE];
	struct rst_holder holder, back;

	if (rst_holder_parse(text, &holder) < 0) {
		check(holder.due == 0);
		return;
	}
	check(holder.due >= 0);
	rst_holder_format(&holder, out);
	check(rst_holder_parse((struct rst_str){out, sizeof(out)}, &back) == 0);
	check(back.due == holder.due);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str in = {(const char *)data, size}, name;

	check_text(in);
	check_user(in);
	if (rst_str_split(&in, '\n', &name)) {
		check_name(name);
		check_text(in);
	}
	return 0;
}
