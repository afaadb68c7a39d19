/* SPDX-License-Identifier: MIT */
/*
 * Push against receiver, over a network in memory that cuts the octets
 * anywhere. For the plain way the network hides XRESTANTE from policyd.
 */
#include "buf.h"
#include "restante/push.h"
#include "restante/receiver.h"
#include "test-util.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES_MAX 1100
#define MAX_OUTPUT 4096
#define WINDOW 20

/** How the network cuts: one octet, all there is, up to here, or at random. */
#define CUT_NONE SIZE_MAX
#define CUT_RANDOM 0

struct message {
	struct rst_str octets;
	enum rst_verdict verdict; /* of the client */
	/* seen at the client */
	struct rst_buf stored;
	unsigned int begins, ends;
	/* seen at policyd */
	unsigned int results;
	enum rst_verdict result;
};

struct world {
	struct rst_push *push;
	struct rst_receiver *receiver;
	struct rst_buf to_client, to_push; /* the wires */
	size_t cut_to_client;              /* CUT_RANDOM, CUT_NONE, or octets */
	size_t cut_once; /* the first octets to the client come alone */
	bool hide_xrestante, first_output;
	unsigned int seed;

	struct message *messages;
	unsigned int count, started, answered;
	uint64_t fed;
	bool feeding;

	/* messages that have ended at the client and are not answered */
	struct {
		unsigned int message;
		uint32_t ticket;
	} waiting[WINDOW];
	unsigned int waiting_count, storing;
	uint32_t storing_ticket;

	bool ready, extended, push_closed, client_closed, drained;
	size_t push_peak;
};

static unsigned int roll(struct world *w, unsigned int n)
{
	/* the test's own generator: the same cuts on every machine */
	w->seed = w->seed * 1103515245U + 12345U;
	return (w->seed >> 16) % n;
}

static const struct rst_push_limits push_limits = {
	.hostname = "mx",
	.max_output = MAX_OUTPUT,
	.max_unanswered = WINDOW,
	.reply_timeout_ms = 1000,
};

static const struct rst_receiver_limits receiver_limits = {
	.hostname = "laptop",
	.max_message_size = 1 << 20,
	.max_pending = WINDOW / 2,
	.idle_timeout_ms = 1000,
};

static void world_init(struct world *w, struct message *messages,
		       unsigned int count, bool plain)
{
	*w = (struct world){
		.push = rst_push_new(&push_limits, 0),
		.receiver = rst_receiver_new(&receiver_limits, 0),
		.messages = messages,
		.count = count,
		.hide_xrestante = plain,
		.cut_to_client = CUT_NONE,
		.cut_once = CUT_NONE,
		.seed = 1,
	};
}

static void world_free(struct world *w)
{
	unsigned int i;

	for (i = 0; i < w->count; i++) {
		rst_buf_clear(&w->messages[i].stored);
		w->messages[i] = (struct message){
			.octets = w->messages[i].octets,
			.verdict = w->messages[i].verdict,
		};
	}
	rst_buf_clear(&w->to_client);
	rst_buf_clear(&w->to_push);
	rst_push_free(&w->push);
	rst_receiver_free(&w->receiver);
}

/* ---- policyd */

static unsigned int id_number(struct rst_str id)
{
	uint64_t number;

	ck_assert_uint_gt(id.n, 1);
	ck_assert_int_eq(id.p[0], 'm');
	ck_assert(
		rst_str_to_u64((struct rst_str){id.p + 1, id.n - 1}, &number));
	return (unsigned int)number;
}

static void push_events(struct world *w)
{
	struct rst_push_event ev;
	struct message *m;

	while (rst_push_next(w->push, &ev)) {
		if (ev.type == RST_PUSH_READY) {
			w->ready = true;
			w->extended = ev.extended;
		} else if (ev.type == RST_PUSH_CLOSED) {
			w->push_closed = true;
		} else {
			m = &w->messages[id_number(ev.id)];
			/* in the order of the messages */
			ck_assert_ptr_eq(m, w->messages + w->answered);
			m->results++;
			m->result = ev.verdict;
			w->answered++;
		}
	}
}

static bool start_message(struct world *w)
{
	char id[24];
	struct rst_push_message msg = {
		.mail_from = RST_STR("s@x"),
		.rcpt_to = RST_STR("r@y"),
	};

	if (w->feeding || w->started == w->count || !rst_push_ready(w->push))
		return false;
	(void)snprintf(id, sizeof(id), "m%u", w->started);
	msg.id = rst_str(id);
	msg.size = w->messages[w->started].octets.n;
	ck_assert_int_eq(rst_push_message(w->push, &msg, 0), 0);
	w->feeding = msg.size > 0;
	w->fed = 0;
	w->started++;
	return true;
}

static bool feed_message(struct world *w)
{
	struct rst_str octets;
	size_t room, n;

	if (!w->feeding)
		return false;
	room = rst_push_room(w->push);
	octets = w->messages[w->started - 1].octets;
	n = rst_push_octets(w->push, octets.p + w->fed,
			    octets.n - (size_t)w->fed, 0);
	ck_assert_uint_le(n, room);
	w->fed += n;
	w->feeding = w->fed < octets.n;
	return n > 0;
}

static bool drive_push(struct world *w)
{
	size_t n;
	const char *out;
	bool moved = false;

	while (start_message(w) || feed_message(w))
		moved = true;
	if (w->ready && !w->feeding && w->started == w->count)
		rst_push_quit(w->push, 0);
	out = rst_push_output(w->push, &n);
	if (n > w->push_peak)
		w->push_peak = n;
	/* the wire is short too, or nothing would push back */
	if (n > 0 && w->to_client.used < MAX_OUTPUT) {
		rst_buf_append(&w->to_client, out, n);
		rst_push_sent(w->push, n);
		moved = true;
	}
	return moved;
}

/* ---- client */

static void client_event(struct world *w, const struct rst_receiver_event *ev)
{
	struct message *m = &w->messages[w->storing];

	switch (ev->type) {
	case RST_RECEIVER_BEGIN:
		/* plain messages have no id: they come in order */
		w->storing = w->extended ? id_number(ev->id) : w->started - 1;
		w->storing_ticket = ev->ticket;
		w->messages[w->storing].begins++;
		break;
	case RST_RECEIVER_OCTETS:
		ck_assert_uint_eq(ev->ticket, w->storing_ticket);
		rst_buf_str(&m->stored, ev->octets);
		break;
	case RST_RECEIVER_END:
		m->ends++;
		ck_assert_uint_lt(w->waiting_count, WINDOW);
		w->waiting[w->waiting_count].message = w->storing;
		w->waiting[w->waiting_count++].ticket = ev->ticket;
		break;
	case RST_RECEIVER_CLOSED:
		w->client_closed = true;
		w->drained = ev->drained;
		break;
	case RST_RECEIVER_CANCEL:
	case RST_RECEIVER_SUMMARY:
	case RST_RECEIVER_FORGET:
		ck_abort();
	}
}

/* Store some of the messages that have ended, in any order. */
static bool answer_some(struct world *w)
{
	unsigned int i;

	if (w->waiting_count == 0)
		return false;
	i = roll(w, w->waiting_count);
	rst_receiver_done(w->receiver, w->waiting[i].ticket,
			  w->messages[w->waiting[i].message].verdict,
			  "as you like");
	w->waiting[i] = w->waiting[--w->waiting_count];
	return true;
}

/* policyd then sees an ordinary server. */
static void hide_xrestante(struct rst_buf *wire)
{
	char *word =
		memmem(wire->data + wire->start, wire->used, "XRESTANTE", 9);

	if (word != NULL)
		memcpy(word, "XSOMETHIN", 9);
}

static bool client_output(struct world *w)
{
	size_t n;
	const char *out = rst_receiver_output(w->receiver, &n);

	if (n == 0)
		return false;
	rst_buf_append(&w->to_push, out, n);
	rst_receiver_sent(w->receiver, n);
	if (w->hide_xrestante)
		hide_xrestante(&w->to_push);
	return true;
}

/* ---- the network */

static size_t cut(struct world *w, size_t limit, size_t n)
{
	if (limit == CUT_RANDOM)
		limit = 1 + roll(w, 5000);
	return n < limit ? n : limit;
}

static bool to_client(struct world *w)
{
	struct rst_receiver_event ev;
	struct rst_str wire = rst_buf_view(&w->to_client);
	size_t n = cut(w, w->cut_to_client, wire.n);
	ssize_t taken;
	bool moved = false;

	if (w->cut_once != CUT_NONE && w->cut_once > 0 && n >= w->cut_once)
		n = w->cut_once;
	for (;;) {
		/* octets not taken are offered again with those behind them */
		taken = rst_receiver_recv(w->receiver, wire.p, n, 0);
		ck_assert_int_ge(taken, 0);
		while (rst_receiver_next(w->receiver, &ev))
			client_event(w, &ev);
		rst_buf_take(&w->to_client, (size_t)taken);
		if (w->cut_once != CUT_NONE && w->cut_once > 0)
			w->cut_once -= (size_t)taken < w->cut_once
					       ? (size_t)taken
					       : w->cut_once;
		if (taken > 0) {
			moved = true;
			break;
		}
		if (n == wire.n)
			break;
		n++;
	}
	return moved;
}

static bool to_push(struct world *w)
{
	struct rst_str wire = rst_buf_view(&w->to_push);
	ssize_t taken = 0;
	size_t n;

	if (wire.n == 0)
		return false;
	n = cut(w, w->cut_to_client, wire.n);
	while ((taken = rst_push_recv(w->push, wire.p, n, 0)) == 0 &&
	       n < wire.n)
		n++;
	ck_assert_int_ge(taken, 0);
	rst_buf_take(&w->to_push, (size_t)taken);
	push_events(w);
	return taken > 0;
}

static void run(struct world *w)
{
	bool moved = true;
	int rounds = 0;

	while (moved && ++rounds < 10000000) {
		moved = drive_push(w);
		moved = to_client(w) || moved;
		moved = client_output(w) || moved;
		/* now and then a slow disk: the window fills */
		if (!moved || roll(w, 4) == 0)
			moved = answer_some(w) || moved;
		moved = to_push(w) || moved;
	}
	ck_assert(w->push_closed);
	ck_assert(w->client_closed);
	ck_assert(w->drained);
}

static void check_stored(const struct message *m, bool extended)
{
	struct rst_str got = rst_buf_view(&m->stored);
	bool ends = m->octets.n == 0 ||
		    (m->octets.n > 1 &&
		     memcmp(m->octets.p + m->octets.n - 2, "\r\n", 2) == 0);

	/* DATA cannot carry a last line without its end */
	if (!extended && !ends) {
		ck_assert_uint_gt(got.n, 2);
		got.n -= 2;
	}
	ck_assert_uint_eq(got.n, m->octets.n);
	ck_assert(memcmp(got.p, m->octets.p, got.n) == 0);
}

static void check(const struct world *w)
{
	const struct message *m;
	unsigned int i;

	ck_assert_int_eq(w->extended, !w->hide_xrestante);
	for (i = 0; i < w->count; i++) {
		m = &w->messages[i];
		ck_assert_uint_eq(m->begins, 1);
		ck_assert_uint_eq(m->ends, 1);
		ck_assert_uint_eq(m->results, 1);
		ck_assert_int_eq(m->result, m->verdict);
		check_stored(m, w->extended);
	}
	/* the commands, stuffing and dot of one message may exceed it */
	ck_assert_uint_le(w->push_peak, MAX_OUTPUT + 1500);
}

static void transfer(struct message *messages, unsigned int count, bool plain,
		     size_t each, size_t once)
{
	struct world w;

	world_init(&w, messages, count, plain);
	w.cut_to_client = each;
	w.cut_once = once;
	run(&w);
	check(&w);
	world_free(&w);
}

/* ---- messages */

static char large[70000], long_line[3000];

static struct message small[] = {
	{.octets = {"", 0}},
	{.octets = {"\0", 1}, .verdict = RST_VERDICT_TEMPFAIL},
	{.octets = {"a: b\r\n\r\nx\0y\r\n", 14}},
	{.octets = {".\r\n..\r\n.a\r\n\r\n.\r\n", 17}},
	{.octets = {"\r\n.\r\n", 5}, .verdict = RST_VERDICT_REFUSED},
	{.octets = {"a\rb\r.\r\r\n", 8}},
	{.octets = {"no end", 6}},
	{.octets = {"ends in CR\r", 11}},
	{.octets = {".", 1}},
	{.octets = {"QUIT\r\nBDAT 5 LAST\r\n", 19}},
	{.octets = {"\xff\xfe\r\n", 4}, .verdict = RST_VERDICT_TEMPFAIL},
	{.octets = {long_line, sizeof(long_line)}},
};

static struct message big[] = {
	{.octets = {large, sizeof(large)}},
	{.octets = {"between\r\n", 9}},
	{.octets = {large, sizeof(large)}, .verdict = RST_VERDICT_REFUSED},
	{.octets = {large + 1, sizeof(large) - 1}},
};

static void fill(void)
{
	static const char pattern[] = "\r\n.\r\n..\rx\0y";
	unsigned int seed = 7;
	size_t i;

	memset(long_line, 'l', sizeof(long_line));
	for (i = 0; i < sizeof(large); i++) {
		seed = seed * 1103515245U + 12345U;
		large[i] = pattern[(seed >> 16) % (sizeof(pattern) - 1)];
	}
	/* no bare LF is ever held; one might end up with a dot more */
	for (i = 0; i < sizeof(large); i++) {
		if (large[i] == '\n' && (i == 0 || large[i - 1] != '\r'))
			large[i] = 'z';
	}
}

/* _i: 0 extended, 1 plain, as in all that follow */
START_TEST(test_octet_by_octet)
{
	transfer(small, N_ELEMENTS(small), _i == 1, 1, CUT_NONE);
}
END_TEST

START_TEST(test_whole)
{
	transfer(small, N_ELEMENTS(small), _i == 1, CUT_NONE, CUT_NONE);
	transfer(big, N_ELEMENTS(big), _i == 1, CUT_NONE, CUT_NONE);
}
END_TEST

/* One cut, behind each octet in turn; the long line is left out. */
START_TEST(test_one_cut_everywhere)
{
	size_t at;

	for (at = 1; at < 1200; at++)
		transfer(small, N_ELEMENTS(small) - 1, _i == 1, CUT_NONE, at);
}
END_TEST

START_TEST(test_random_cuts)
{
	struct world w;
	unsigned int seed;

	for (seed = 0; seed < 20; seed++) {
		world_init(&w, big, N_ELEMENTS(big), _i == 1);
		w.cut_to_client = CUT_RANDOM;
		w.seed = seed;
		run(&w);
		check(&w);
		world_free(&w);
	}
}
END_TEST

/* Many times the window, verdicts of all kinds, answered in any order. */
START_TEST(test_many)
{
	struct message *many = rst_calloc(MESSAGES_MAX, sizeof(*many));
	unsigned int i;

	for (i = 0; i < MESSAGES_MAX; i++) {
		many[i].octets = small[i % (N_ELEMENTS(small) - 1)].octets;
		many[i].verdict = (enum rst_verdict)(i * 7 % 3);
	}
	transfer(many, MESSAGES_MAX, _i == 1, CUT_NONE, CUT_NONE);
	transfer(many, MESSAGES_MAX, _i == 1, CUT_RANDOM, CUT_NONE);
	free(many);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("turned");
	TCase *tc = tcase_create("transfers");

	fill();
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_octet_by_octet, 0, 2);
	tcase_add_loop_test(tc, test_whole, 0, 2);
	tcase_add_loop_test(tc, test_one_cut_everywhere, 0, 2);
	tcase_add_loop_test(tc, test_random_cuts, 0, 2);
	tcase_add_loop_test(tc, test_many, 0, 2);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
