/* SPDX-License-Identifier: MIT */
/*
 * The first octet of the input says when and how messages are answered; the
 *rest is what a server says after the turnaround. However that is cut into
 *pieces, the messages and the replies must be the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-receiver.c lib/receiver.c lib/receiver-command.c
 *	lib/receiver-transaction.c lib/smtp.c lib/buf.c lib/str.c
 */
#include "restante/receiver.h"
#include "buf.h"

#include <stdlib.h>

#define PENDING_MAX 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct rst_receiver *r;
	struct rst_buf in, events, replies;
	unsigned char how;
	uint32_t octets_of; /* the last event was OCTETS of this ticket */
	uint32_t ended[PENDING_MAX];
	unsigned int ended_count;
	int status;
};

static void answer(struct run *run, uint32_t ticket)
{
	rst_receiver_done(run->r, ticket,
			  (enum rst_verdict)((run->how + ticket) % 3), "text");
}

static void log_event(struct run *run, const struct rst_receiver_event *ev)
{
	if (ev->type == RST_RECEIVER_OCTETS && ev->octets.n == 0)
		abort();
	/* the cuts decide how many events the octets come in */
	if (ev->type != RST_RECEIVER_OCTETS || run->octets_of != ev->ticket)
		rst_buf_printf(&run->events, "<%d %u ", (int)ev->type,
			       ev->ticket);
	rst_buf_str(&run->events, ev->id);
	rst_buf_str(&run->events, ev->mail_from);
	rst_buf_str(&run->events, ev->rcpt_to);
	rst_buf_str(&run->events, ev->octets);
	rst_buf_str(&run->events, ev->text);
	if (ev->type != RST_RECEIVER_OCTETS)
		rst_buf_printf(&run->events, " %llu %llu %llu %d>",
			       (unsigned long long)ev->size,
			       (unsigned long long)ev->messages,
			       (unsigned long long)ev->total_octets,
			       (int)ev->drained);
	run->octets_of = ev->type == RST_RECEIVER_OCTETS ? ev->ticket : 0;
}

static void pull(struct run *run)
{
	struct rst_receiver_event ev;

	while (rst_receiver_next(run->r, &ev)) {
		log_event(run, &ev);
		if (ev.type == RST_RECEIVER_BEGIN && (run->how & 4) != 0 &&
		    ev.ticket % 2 == 0)
			answer(run, ev.ticket);
		if (ev.type != RST_RECEIVER_END)
			continue;
		if (run->ended_count == PENDING_MAX)
			abort();
		run->ended[run->ended_count++] = ev.ticket;
	}
}

/* Answer the last message first, so that replies have to wait. */
static bool answer_all(struct run *run)
{
	bool any = run->ended_count > 0;

	while (run->ended_count > 0)
		answer(run, run->ended[--run->ended_count]);
	return any;
}

static void output(struct run *run)
{
	struct rst_str out;

	out.p = rst_receiver_output(run->r, &out.n);
	rst_buf_str(&run->replies, out);
	rst_receiver_sent(run->r, out.n);
}

static void offer(struct run *run)
{
	struct rst_str in;
	ssize_t taken;
	bool more = true;

	while (more && run->status == 0) {
		in = rst_buf_view(&run->in);
		taken = rst_receiver_recv(run->r, in.p, in.n, 0);
		if (taken > (ssize_t)in.n)
			abort();
		if (taken < 0)
			run->status = (int)taken;
		else
			rst_buf_take(&run->in, (size_t)taken);
		pull(run);
		output(run);
		more = taken > 0;
		if (!more || (run->how & 8) != 0 ||
		    run->ended_count == PENDING_MAX)
			more = answer_all(run) || more;
	}
}

static struct rst_buf run_text(struct run *run)
{
	struct rst_buf all = {0};

	answer_all(run);
	pull(run);
	output(run);
	rst_buf_str(&all, rst_buf_view(&run->events));
	rst_buf_puts(&all, "\n");
	rst_buf_str(&all, rst_buf_view(&run->replies));
	rst_buf_printf(&all, "(%d)", run->status < 0);
	return all;
}

static struct rst_buf run(unsigned char how, struct rst_str input, size_t piece)
{
	static const struct rst_receiver_limits limits = {
		.hostname = "laptop",
		.max_message_size = 300,
		.max_pending = PENDING_MAX,
		.idle_timeout_ms = 1000,
	};
	struct run run = {.r = rst_receiver_new(&limits, 0), .how = how};
	struct rst_buf text;
	size_t n;

	if ((how & 64) != 0)
		rst_receiver_say_ahead(run.r);
	for (; input.n > 0 && run.status == 0; input.p += n, input.n -= n) {
		n = input.n < piece ? input.n : piece;
		rst_buf_append(&run.in, input.p, n);
		offer(&run);
	}
	text = run_text(&run);
	rst_buf_clear(&run.in);
	rst_buf_clear(&run.events);
	rst_buf_clear(&run.replies);
	rst_receiver_free(&run.r);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_str input = {(const char *)data + 1, size - 1};
	struct rst_buf whole, cut;
	size_t piece;

	if (size < 2)
		return 0;
	whole = run(data[0], input, input.n);
	for (piece = 1; piece <= 64; piece = piece * 5 + 2) {
		cut = run(data[0], input, piece);
		if (!rst_str_eq(rst_buf_view(&whole), rst_buf_view(&cut)))
			abort();
		rst_buf_clear(&cut);
	}
	rst_buf_clear(&whole);
	return 0;
}
