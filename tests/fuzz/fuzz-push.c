/* SPDX-License-Identifier: MIT */
/*
 * The input is what a client says after the turnaround. However it is cut into
 * pieces, the commands and the results must be the same. A '~' ends a part that
 * the client sends before policyd's commands leave. Messages of all sizes are
 * pushed as long as the input lasts.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-push.c lib/push.c lib/push-notice.c lib/push-output.c
 *	lib/push-reply.c lib/smtp.c lib/buf.c lib/str.c
 */
#include "restante/push.h"
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX 300
#define WINDOW 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct rst_push *p;
	struct rst_buf in, log;
	unsigned int started, results;
	uint64_t left; /* of the message that is being fed */
	int status;
};

static void log_events(struct run *r)
{
	struct rst_push_event ev;

	while (rst_push_next(r->p, &ev)) {
		rst_buf_printf(&r->log, "<%d %d %d %u ", (int)ev.type,
			       (int)ev.extended, (int)ev.verdict, ev.code);
		rst_buf_str(&r->log, ev.id);
		rst_buf_str(&r->log, ev.text);
		rst_buf_puts(&r->log, ">");
		if (ev.type == RST_PUSH_RESULT && ++r->results > r->started)
			abort();
	}
}

static void start_message(struct run *r)
{
	static const char *const senders[] = {"", "s@x", "\xc3\xa9@x"};
	char id[16];
	struct rst_push_message msg = {
		.mail_from = rst_str(senders[r->started % 3]),
		.rcpt_to = RST_STR("r@y"),
		.size = r->started * 97 % 700,
	};

	(void)snprintf(id, sizeof(id), "m%u", r->started++);
	msg.id = rst_str(id);
	rst_push_forget(r->p, msg.id);
	r->left = rst_push_message(r->p, &msg, 0) == 0 ? msg.size : 0;
}

static void feed_message(struct run *r)
{
	static const char octets[] = ".a\r\n..\r\nx\r.\r\n";
	size_t n = r->left < 13 ? (size_t)r->left : 13, taken, room;

	do {
		room = rst_push_room(r->p);
		taken = rst_push_octets(r->p, octets, n, 0);
		if (taken > room || taken > n)
			abort();
		r->left -= taken;
		n = r->left < 13 ? (size_t)r->left : 13;
	} while (taken > 0 && r->left > 0);
}

static void output(struct run *r)
{
	struct rst_str out;

	out.p = rst_push_output(r->p, &out.n);
	if (out.n > OUTPUT_MAX + 16 * 1024)
		abort();
	rst_buf_str(&r->log, out);
	rst_push_sent(r->p, out.n);
}

static void caller(struct run *r)
{
	log_events(r);
	while (r->left == 0 && r->started < 40 && rst_push_ready(r->p))
		start_message(r);
	if (r->left > 0)
		feed_message(r);
	if (r->started == 40)
		rst_push_quit(r->p, 0);
	log_events(r);
	output(r);
	if (rst_push_unanswered(r->p) > WINDOW)
		abort();
}

static void client_sends(struct run *r, struct rst_str text, size_t piece)
{
	struct rst_str in;
	ssize_t taken;
	size_t n;

	for (; text.n > 0 && r->status == 0; text.p += n, text.n -= n) {
		n = text.n < piece ? text.n : piece;
		rst_buf_append(&r->in, text.p, n);
		in = rst_buf_view(&r->in);
		taken = rst_push_recv(r->p, in.p, in.n, 0);
		if (taken > (ssize_t)in.n)
			abort();
		if (taken < 0)
			r->status = (int)taken;
		else
			rst_buf_take(&r->in, (size_t)taken);
	}
}

static char *run(struct rst_str input, size_t piece)
{
	static const struct rst_push_limits limits = {
		.hostname = "mx",
		.max_output = OUTPUT_MAX,
		.max_unanswered = WINDOW,
		.reply_timeout_ms = 1000,
	};
	struct run r = {.p = rst_push_new(&limits, 0)};
	struct rst_str turn;
	char *log;

	while (rst_str_split(&input, '~', &turn)) {
		client_sends(&r, turn, piece);
		caller(&r);
	}
	rst_buf_printf(&r.log, "(%d)", r.status < 0);
	log = rst_str_dup(rst_buf_view(&r.log));
	rst_buf_clear(&r.in);
	rst_buf_clear(&r.log);
	rst_push_free(&r.p);
	return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str input = {(const char *)data, size};
	char *whole, *cut;
	size_t piece;

	if (size == 0)
		return 0;
	whole = run(input, size);
	for (piece = 1; piece <= 64; piece = piece * 5 + 2) {
		cut = run(input, piece);
		if (strcmp(whole, cut) != 0)
			abort();
		free(cut);
	}
	free(whole);
	return 0;
}
