/* SPDX-License-Identifier: MIT */
/*
 * The input is what an operator's program says. However it is cut into pieces,
 * the answers must be the same, each is one line, and after NO comes nothing.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-control.c lib/control.c lib/auth-line.c lib/base64.c
 *	lib/buf.c lib/str.c
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct rst_control *control, struct rst_buf *story)
{
	struct rst_control_event ev;

	while (rst_control_next(control, &ev)) {
		if (ev.type == RST_CONTROL_KICK) {
			rst_buf_puts(story, "kick ");
			rst_buf_str(story, ev.user);
			rst_control_kicked(control, ev.user.n);
		} else if (ev.type == RST_CONTROL_HOLDERS) {
			rst_control_holders(control, RST_STR("/a\tb"));
		} else {
			const struct rst_control_session session = {
				.user = rst_buf_view(story),
				.remote = RST_STR("::1")};

			rst_control_session(control, &session);
			rst_control_end(control);
		}
	}
}

static void take_output(struct rst_control *control, struct rst_buf *story)
{
	size_t len;
	const char *out = rst_control_output(control, &len);

	if (len > 0 && out[len - 1] != '\n')
		abort();
	rst_buf_append(story, out, len);
	rst_control_sent(control, len);
}

/* @param chunk octets that come at once */
static void run(const char *input, size_t size, size_t chunk,
		struct rst_buf *story)
{
	struct rst_control *control = rst_control_new();
	size_t start = 0, end = 0, n;

	/* views of the story are escaped: it must not grow meanwhile */
	while (end < size && story->used < 65536) {
		end = size - end > chunk ? end + chunk : size;
		do {
			n = rst_control_recv(control, input + start,
					     end - start);
			start += n;
			answer(control, story);
			take_output(control, story);
		} while (n > 0 && story->used < 65536);
	}
	if (rst_control_ended(control) &&
	    rst_control_recv(control, "WHO\n", 4) != 0)
		abort();
	rst_control_free(&control);
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
