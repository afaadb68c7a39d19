/* SPDX-License-Identifier: MIT */
/*
 * What a service says to the dialling side of the hold protocol, and the note.
 * The first line of the input names the dialler's commands (d drain, m more,
 * a ack, c commit, r release, b bye; S at its start: a scan); the rest is what
 * the service answers. However that is cut, the same events come out.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-hold-dialler.c lib/hold-dialler.c lib/hold-line.c
 *	lib/envelope.c lib/smtp.c lib/buf.c lib/str.c
 */
#include "hold-private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void say(struct rst_hold_dialler *h, char what)
{
	switch (what) {
	case 'd':
		rst_hold_dialler_drain(h, 0);
		break;
	case 'm':
		rst_hold_dialler_more(h, 0);
		break;
	case 'a':
		rst_hold_dialler_ack(h, RST_STR("a"));
		break;
	case 'c':
		rst_hold_dialler_commit(h, 0);
		break;
	case 'r':
		rst_hold_dialler_release(h, RST_STR("ALL"), 0);
		break;
	case 'b':
		rst_hold_dialler_bye(h, 0);
		break;
	}
}

static void put_str(struct rst_buf *seen, struct rst_str s)
{
	rst_buf_printf(seen, "%zu:", s.n);
	rst_buf_str(seen, s);
}

/* Writes an event down. Octets of one message run together, however they are
   cut. */
static void saw(struct rst_buf *seen, const struct rst_hold_event *ev)
{
	if (ev->type == RST_HOLD_OCTETS) {
		check(ev->octets_view.n > 0);
		rst_buf_str(seen, ev->octets_view);
		return;
	}
	rst_buf_printf(seen, "\n%d", (int)ev->type);
	put_str(seen, ev->id);
	put_str(seen, ev->user);
	put_str(seen, ev->mail_from);
	put_str(seen, ev->rcpt_to);
	put_str(seen, ev->code);
	put_str(seen, ev->text);
	rst_buf_printf(seen, "%llu %lld %llu %llu %llu %lld\n",
		       (unsigned long long)ev->size, (long long)ev->arrived,
		       (unsigned long long)ev->messages,
		       (unsigned long long)ev->octets,
		       (unsigned long long)ev->failed, (long long)ev->due);
}

static ssize_t offer(struct rst_hold_dialler *h, struct rst_str in,
		     struct rst_buf *seen)
{
	size_t used = 0;
	ssize_t ret;

	do {
		struct rst_hold_event ev;
		char *copy = rst_malloc(in.n - used);

		memcpy(copy, in.p + used, in.n - used);
		ret = rst_hold_dialler_recv(h, copy, in.n - used, 0);
		free(copy);
		check(ret <= (ssize_t)(in.n - used));
		if (ret > 0)
			used += (size_t)ret;
		while (rst_hold_dialler_next(h, &ev))
			saw(seen, &ev);
	} while (ret > 0);
	return ret < 0 ? ret : (ssize_t)used;
}

/* @param step octets that arrive at a time */
static void run(struct rst_str says, struct rst_str in, size_t step,
		struct rst_buf *seen)
{
	const struct rst_hold_dialler_limits limits = {.reply_timeout_ms =
							       1000};
	struct rst_hold_dialler *h = rst_hold_dialler_new(
		&limits, says.n > 0 && says.p[0] == 'S', 0);
	size_t used = 0, there = 0, i;
	ssize_t ret = 0;

	for (i = 0; i < says.n; i++)
		say(h, says.p[i]);
	while (there < in.n && ret >= 0) {
		there = in.n - there < step ? in.n : there + step;
		ret = offer(h, (struct rst_str){in.p + used, there - used},
			    seen);
		if (ret > 0)
			used += (size_t)ret;
	}
	rst_buf_printf(seen, "\n%d", ret < 0 ? (int)ret : 0);
	rst_hold_dialler_free(&h);
}

static void check_cuts(struct rst_str says, struct rst_str in)
{
	static const size_t steps[] = {1, 2, 7, 100, 4096};
	struct rst_buf whole = {0};
	size_t i;

	run(says, in, in.n + 1, &whole);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct rst_buf cut = {0};

		/* each step searches the whole line for its end */
		if (steps[i] >= in.n / 1024)
			run(says, in, steps[i], &cut);
		check(cut.used == 0 ||
		      rst_str_eq(rst_buf_view(&whole), rst_buf_view(&cut)));
		rst_buf_clear(&cut);
	}
	rst_buf_clear(&whole);
}

static void check_line(struct rst_str line)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	char *copy = rst_str_dup(line), *out = rst_malloc(line.n + 1);
	ssize_t count = rst_hold_split(copy, line.n, fields);

	check(count != 0 && count <= RST_HOLD_FIELDS_MAX);
	if (count > 0) {
		check(rst_hold_join(fields, (size_t)count, out) == line.n + 1);
		check(memcmp(out, line.p, line.n) == 0);
	}
	free(out);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str in = {(const char *)data, size}, says;

	check_line(in);
	if (rst_str_split(&in, '\n', &says))
		check_cuts(says, in);
	return 0;
}
