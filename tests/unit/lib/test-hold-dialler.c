/* SPDX-License-Identifier: MIT */
#include "hold-private.h"
#include "test-util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VERSION "VERSION\trestante-hold\t1\t0\n"
#define OPEN VERSION "OK\t2\t30\t1700000000\n"
#define OPENED "opened 2 30 1700000000;"

/* ---- lines */

/* A view of a literal that may contain NUL. */
#define L(literal)                           \
	{                                    \
		literal, sizeof(literal) - 1 \
	}

static const struct {
	struct rst_str line;
	ssize_t count;
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
} splits[] = {
	{L(""), 1, {L("")}},
	{L("DRAIN"), 1, {L("DRAIN")}},
	{L("ACK\ta"), 2, {L("ACK"), L("a")}},
	{L("\t\t"), 3, {L(""), L(""), L("")}},
	{L("a\0011\t\001t\001n\001r\0010"), 2, {L("a\001"), L("\t\n\r\0")}},
	{L("1\t2\t3\t4\t5\t6\t7\t8"),
	 8,
	 {L("1"), L("2"), L("3"), L("4"), L("5"), L("6"), L("7"), L("8")}},
	{L("1\t2\t3\t4\t5\t6\t7\t8\t"), RST_EPROTO, {L("")}},
	{L("a\001"), RST_EPROTO, {L("")}},
	{L("a\001\tb"), RST_EPROTO, {L("")}},
	{L("a\0012"), RST_EPROTO, {L("")}},
	{L("a\001\001"), RST_EPROTO, {L("")}},
	{L("a\rb"), RST_EPROTO, {L("")}},
	{L("a\0b"), RST_EPROTO, {L("")}},
	{L("a\nb"), RST_EPROTO, {L("")}},
};

START_TEST(split)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	char *line = rst_str_dup(splits[_i].line);
	ssize_t i;

	ck_assert_int_eq(rst_hold_split(line, splits[_i].line.n, fields),
			 splits[_i].count);
	for (i = 0; i < splits[_i].count; i++)
		ck_assert(rst_str_eq(fields[i], splits[_i].fields[i]));
	for (; splits[_i].count > 0 && i < RST_HOLD_FIELDS_MAX; i++)
		ck_assert_uint_eq(fields[i].n, 0);
	free(line);
}
END_TEST

/* A line that is split and joined is the same again. */
START_TEST(join)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	struct rst_str line = splits[_i].line;
	char *copy = rst_str_dup(line);
	char out[64];
	ssize_t count = rst_hold_split(copy, line.n, fields);

	if (count > 0) {
		size_t n = rst_hold_join(fields, (size_t)count, out);

		ck_assert_uint_eq(n, line.n + 1);
		ck_assert_mem_eq(out, line.p, line.n);
		ck_assert_int_eq(out[n - 1], '\n');
	}
	free(copy);
}
END_TEST

START_TEST(preambles)
{
	size_t len;
	char *text = rst_hold_preamble(rst_str("a\tb\n"), &len);

	ck_assert_str_eq(text, VERSION "USER\ta\001tb\001n\n");
	ck_assert_uint_eq(len, strlen(text));
	free(text);
	text = rst_hold_scan_preamble(&len);
	ck_assert_str_eq(text, VERSION "SCAN\n");
	ck_assert_uint_eq(len, strlen(text));
	free(text);
}
END_TEST

/* ---- the machine: commands, the service's answers, and the events */

static const struct {
	const char *says; /* commands before all input: see say_all() */
	const char *input;
	const char *events;
	ssize_t ret; /* 0, or the error at the end */
} talks[] = {
	{"", "", "", 0},
	{"", OPEN, OPENED, 0},
	{"", VERSION "OK\t0\t0\t0\n", "opened 0 0 0;", 0},
	{"", VERSION "OK\t2\t9\t1\tbob\n", "opened 2 9 1 bob;", 0},
	{"", VERSION "OK\t2\t9\t1\tb\001tob\tfull\n",
	 "opened 2 9 1 b\tob full;", 0},
	{"", VERSION "NO\tNOUSER\tno such user\n",
	 "refused NOUSER no such user;", 0},
	{"", "VERSION\trestante-hold\t1\t7\nNO\tBUSY\n", "refused BUSY ;", 0},
	{"", "NO\tPROTOCOL\tversion\n", "refused PROTOCOL version;", 0},
	{"", VERSION "NO\tBUSY\tx\nOK\t1\t1\t1\n", "refused BUSY x;", 0},
	/* a whole life */
	{"dc",
	 OPEN "MSG\t1\ta1\t5\t1699999999\ts@x\tt@y\nabc\r\n"
	      "MSG\t2\ta2\t0\t1699999999\t\tt+d@y\nEND\t2\nDONE\n",
	 OPENED "message a1 5 1699999999 s@x t@y;octets abc\r\n;whole;"
		"message a2 0 1699999999  t+d@y;whole;drained 2;committed;",
	 0},
	/* octets that look like answers */
	{"d", OPEN "MSG\t1\ta\t7\t1\t\ty\nEND\t0\n\nEND\t1\n",
	 OPENED "message a 7 1  y;octets END\t0\n\n;whole;drained 1;", 0},
	{"afcb", OPEN "GONE\ta1\nKEPT\ta2\tover quota\nDONE\nBYE\n",
	 OPENED "gone a1;kept a2 over quota;committed;closed;", 0},
	/* answers to a commit between two messages */
	{"dac",
	 OPEN "MSG\t1\ta\t1\t1\t\ty\nxGONE\ta1\nDONE\n"
	      "MSG\t2\tb\t1\t1\t\ty\nxEND\t2\n",
	 OPENED "message a 1 1  y;octets x;whole;gone a1;committed;"
		"message b 1 1  y;octets x;whole;drained 2;",
	 0},
	{"dm", OPEN "END\t0\nEND\t0\n", OPENED "drained 0;drained 0;", 0},
	/* BYE commits, without a DONE of its own */
	{"ab", OPEN "GONE\ta1\nBYE\n", OPENED "gone a1;closed;", 0},
	{"b", OPEN "BYE\nGONE\ta1\n", OPENED "closed;", 0},
	{"b", OPEN "BYE\t0\n", OPENED "closed 0;", 0},
	{"b", OPEN "BYE\t1700000000\tmore\n", OPENED "closed 1700000000;", 0},
	{"b", OPEN "BYE\t\n", OPENED "closed;", 0},
	{"b", OPEN "BYE\tsoon\n", OPENED, RST_EPROTO},
	{"b", OPEN "BYE\t-1\n", OPENED, RST_EPROTO},
	{"r", OPEN "RELEASED\t3\t1\t1700000001\n",
	 OPENED "released 3 1 1700000001;", 0},
	{"d", OPEN "NO\tBUSY\tlocked\n", OPENED "refused BUSY locked;", 0},
	/* fields that a later minor version added */
	{"d", VERSION "OK\t1\t1\t1\tnew\nEND\t0\tnew\n",
	 "opened 1 1 1 new;drained 0;", 0},
	/* escapes */
	{"ac", OPEN "KEPT\ta1\ta\001nb\001tc\n", OPENED "kept a1 a\nb\tc;", 0},

	/* answers that no command asked for */
	{"", OPEN "END\t0\n", OPENED, RST_EPROTO},
	{"d", OPEN "END\t0\nEND\t0\n", OPENED "drained 0;", RST_EPROTO},
	{"", OPEN "MSG\t1\ta\t1\t1\t\ty\n", OPENED, RST_EPROTO},
	{"c", OPEN "GONE\ta1\n", OPENED, RST_EPROTO},
	{"ac", OPEN "GONE\ta1\nGONE\ta1\n", OPENED "gone a1;", RST_EPROTO},
	{"a", OPEN "DONE\n", OPENED, RST_EPROTO},
	{"", OPEN "RELEASED\t0\t0\t0\n", OPENED, RST_EPROTO},
	{"", OPEN "BYE\n", OPENED, RST_EPROTO},
	{"", OPEN "HOLDS\tu\t1\t1\t1\n", OPENED, RST_EPROTO},
	{"", OPEN "OK\t1\t1\t1\n", OPENED, RST_EPROTO},
	{"", OPEN VERSION, OPENED, RST_EPROTO},
	{"d", VERSION "END\t0\n", "", RST_EPROTO},
	{"", "OK\t1\t1\t1\n", "", RST_EPROTO},
	/* malformed */
	{"", "VERSION\tother\t1\t0\n", "", RST_EPROTO},
	{"", "VERSION\trestante-hold\t2\t0\n", "", RST_EPROTO},
	{"", "VERSION\trestante-hold\t1\n", "", RST_EPROTO},
	{"", "HELLO\n", "", RST_EPROTO},
	{"", "\n", "", RST_EPROTO},
	{"", VERSION "OK\t1\t1\n", "", RST_EPROTO},
	{"", VERSION "OK\t1\tx\t1\n", "", RST_EPROTO},
	{"", VERSION "OK\t1\t1\t9223372036854775808\n", "", RST_EPROTO},
	{"", VERSION "NO\n", "", RST_EPROTO},
	{"d", OPEN "MSG\t1\ta/b\t1\t1\t\ty\n", OPENED, RST_EPROTO},
	{"d", OPEN "MSG\t1\ta\t-1\t1\t\ty\n", OPENED, RST_EPROTO},
	{"d", OPEN "MSG\t1\ta\t18446744073709551616\t1\t\ty\n", OPENED,
	 RST_EPROTO},
	{"d", OPEN "MSG\tx\ta\t1\t1\t\ty\n", OPENED, RST_EPROTO},
	{"d", OPEN "MSG\t1\ta\t1\t1\t\n", OPENED, RST_EPROTO},
	{"ac", OPEN "GONE\t\n", OPENED, RST_EPROTO},
	{"ac", OPEN "GONE\ta\001x\n", OPENED, RST_EPROTO},
	{"ac", OPEN "GONE\ta\r\n", OPENED, RST_EPROTO},
	{"r", OPEN "RELEASED\t1\t0\tnever\n", OPENED, RST_EPROTO},
	/* S: a scan */
	{"S", VERSION "HOLDS\tu\t2\t30\t9\nHOLDS\tv\t1\t1\t8\nEND\t7\n",
	 "user u 2 30 9;user v 1 1 8;scanned 7;", 0},
	{"S", VERSION "END\t7\t2\tmore\n", "scanned 7 2;", 0},
	{"S", VERSION "END\t7\tfew\n", "", RST_EPROTO},
	{"S", VERSION "NO\tPROTOCOL\tnot for you\n",
	 "refused PROTOCOL not for you;", 0},
	{"S", VERSION "OK\t1\t1\t1\n", "", RST_EPROTO},
	{"S", VERSION "HOLDS\t\t2\t30\t9\n", "", RST_EPROTO},
	{"S", VERSION "HOLDS\tu\t2\t30\n", "", RST_EPROTO},
	{"S", "HOLDS\tu\t2\t30\t9\n", "", RST_EPROTO},
};

/* The events as text; octets of one message run together. */
struct seen {
	char text[4096];
	bool in_octets;
};

static void saw(struct seen *seen, const struct rst_hold_event *ev)
{
	char *at = seen->text + strlen(seen->text);
	size_t room = sizeof(seen->text) - strlen(seen->text);

#define S(view) (int)(view).n, (view).p
	if (ev->type == RST_HOLD_OCTETS) {
		snprintf(at, room, "%s%.*s", seen->in_octets ? "" : "octets ",
			 S(ev->octets_view));
		seen->in_octets = true;
		return;
	}
	if (seen->in_octets) {
		*at++ = ';';
		room--;
	}
	seen->in_octets = false;
	switch (ev->type) {
	case RST_HOLD_OPENED:
		snprintf(at, room,
			 "opened %" PRIu64 " %" PRIu64 " %" PRId64 "%s%.*s%s",
			 ev->messages, ev->octets, ev->due,
			 ev->user.n > 0 ? " " : "", S(ev->user),
			 ev->full ? " full" : "");
		break;
	case RST_HOLD_REFUSED:
		snprintf(at, room, "refused %.*s %.*s", S(ev->code),
			 S(ev->text));
		break;
	case RST_HOLD_MESSAGE:
		snprintf(at, room,
			 "message %.*s %" PRIu64 " %" PRId64 " %.*s %.*s",
			 S(ev->id), ev->size, ev->arrived, S(ev->mail_from),
			 S(ev->rcpt_to));
		break;
	case RST_HOLD_MESSAGE_END:
		snprintf(at, room, "whole");
		break;
	case RST_HOLD_DRAINED:
		snprintf(at, room, "drained %" PRIu64, ev->messages);
		break;
	case RST_HOLD_GONE:
		snprintf(at, room, "gone %.*s", S(ev->id));
		break;
	case RST_HOLD_KEPT:
		snprintf(at, room, "kept %.*s %.*s", S(ev->id), S(ev->text));
		break;
	case RST_HOLD_COMMITTED:
		snprintf(at, room, "committed");
		break;
	case RST_HOLD_RELEASED:
		snprintf(at, room, "released %" PRIu64 " %" PRIu64 " %" PRId64,
			 ev->messages, ev->failed, ev->due);
		break;
	case RST_HOLD_USER:
		snprintf(at, room, "user %.*s %" PRIu64 " %" PRIu64 " %" PRId64,
			 S(ev->user), ev->messages, ev->octets, ev->due);
		break;
	case RST_HOLD_SCANNED:
		snprintf(at, room, "scanned %" PRIu64, ev->messages);
		if (ev->failed > 0)
			snprintf(at, room, "scanned %" PRIu64 " %" PRIu64,
				 ev->messages, ev->failed);
		break;
	case RST_HOLD_CLOSED:
		if (ev->due < 0)
			snprintf(at, room, "closed");
		else
			snprintf(at, room, "closed %" PRId64, ev->due);
		break;
	case RST_HOLD_OCTETS:
		break;
	}
#undef S
	strcat(seen->text, ";");
}

static struct rst_hold_dialler *say_all(const char *says)
{
	const struct rst_hold_dialler_limits limits = {.reply_timeout_ms =
							       1000};
	struct rst_hold_dialler *h =
		rst_hold_dialler_new(&limits, *says == 'S', 0);

	for (; *says != '\0'; says++) {
		switch (*says) {
		case 'd':
			rst_hold_dialler_drain(h, 0);
			break;
		case 'm':
			rst_hold_dialler_more(h, 0);
			break;
		case 'a':
			rst_hold_dialler_ack(h, RST_STR("a1"));
			break;
		case 'f':
			rst_hold_dialler_fallback(h, RST_STR("a2"),
						  RST_STR("552 5.2.2\tfull"));
			break;
		case 'c':
			rst_hold_dialler_commit(h, 0);
			break;
		case 'r':
			rst_hold_dialler_release(h, RST_STR("EXPIRED"), 0);
			break;
		case 'b':
			rst_hold_dialler_bye(h, 0);
			break;
		}
	}
	return h;
}

/* Offers the input in an allocation of its own: ASan then sees a read behind
   its end, and a view that outlives the call. */
static ssize_t offer(struct rst_hold_dialler *h, const char *buf, size_t len,
		     struct seen *seen)
{
	size_t used = 0;
	ssize_t ret;

	do {
		struct rst_hold_event ev;
		char *copy = rst_malloc(len - used);

		memcpy(copy, buf + used, len - used);
		ret = rst_hold_dialler_recv(h, copy, len - used, 0);
		free(copy);
		if (ret > 0)
			used += (size_t)ret;
		while (rst_hold_dialler_next(h, &ev))
			saw(seen, &ev);
	} while (ret > 0);
	return ret < 0 ? ret : (ssize_t)used;
}

/* @param step octets that arrive at a time */
static void run_talk(int i, size_t step)
{
	struct rst_hold_dialler *h = say_all(talks[i].says);
	struct seen seen = {0};
	const char *input = talks[i].input;
	size_t len = strlen(input), used = 0, there = 0;
	ssize_t ret = 0;

	while (there < len && ret >= 0) {
		there = len - there < step ? len : there + step;
		ret = offer(h, input + used, there - used, &seen);
		if (ret > 0)
			used += (size_t)ret;
	}
	ck_assert_str_eq(seen.text, talks[i].events);
	ck_assert_int_eq(ret < 0 ? ret : 0, talks[i].ret);
	rst_hold_dialler_free(&h);
	ck_assert_ptr_null(h);
}

START_TEST(talk_whole)
{
	run_talk(_i, 10000);
}
END_TEST

START_TEST(talk_cut)
{
	size_t step;

	for (step = 1; step < 20; step++)
		run_talk(_i, step);
}
END_TEST

START_TEST(output)
{
	struct rst_hold_dialler *h = say_all("dafcmrb");
	size_t len;
	const char *out = rst_hold_dialler_output(h, &len);
	const char want[] = "DRAIN\nACK\ta1\nFALLBACK\ta2\t552 5.2.2\001tfull\n"
			    "COMMIT\nMORE\nRELEASE\tEXPIRED\nBYE\n";

	ck_assert_uint_eq(len, strlen(want));
	ck_assert_mem_eq(out, want, len);
	rst_hold_dialler_sent(h, 6);
	out = rst_hold_dialler_output(h, &len);
	ck_assert_uint_eq(len, strlen(want) - 6);
	ck_assert_mem_eq(out, want + 6, len);
	rst_hold_dialler_sent(h, len);
	(void)rst_hold_dialler_output(h, &len);
	ck_assert_uint_eq(len, 0);
	rst_hold_dialler_free(&h);
}
END_TEST

START_TEST(reply_is_cut)
{
	struct rst_hold_dialler *h = say_all("");
	char reply[2 * RST_HOLD_LINE_MAX];
	size_t len;

	memset(reply, '\t', sizeof(reply));
	rst_hold_dialler_fallback(h, RST_STR("a"),
				  (struct rst_str){reply, sizeof(reply)});
	(void)rst_hold_dialler_output(h, &len);
	ck_assert_uint_lt(len, RST_HOLD_LINE_MAX);
	rst_hold_dialler_free(&h);
}
END_TEST

START_TEST(line_too_long)
{
	struct rst_hold_dialler *h = say_all("");
	char line[RST_HOLD_LINE_MAX];

	memset(line, 'x', sizeof(line));
	ck_assert_int_eq(rst_hold_dialler_recv(h, line, sizeof(line) - 1, 0),
			 0);
	ck_assert_int_eq(rst_hold_dialler_recv(h, line, sizeof(line), 0),
			 RST_ELIMIT);
	rst_hold_dialler_free(&h);
}
END_TEST

START_TEST(one_event_at_a_time)
{
	struct rst_hold_dialler *h = say_all("d");
	struct rst_hold_event ev;
	const char *in = OPEN "MSG\t1\ta\t3\t1\t\ty\n";

	ck_assert_int_eq(rst_hold_dialler_recv(h, in, strlen(in), 0),
			 strlen(VERSION));
	in += strlen(VERSION);
	ck_assert_int_gt(rst_hold_dialler_recv(h, in, strlen(in), 0), 0);
	/* OPENED has not been pulled */
	ck_assert_int_eq(rst_hold_dialler_recv(h, "END\t1\n", 6, 0), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert(!rst_hold_dialler_next(h, &ev));
	in += strlen(in) - strlen("MSG\t1\ta\t3\t1\t\ty\n");
	ck_assert_uint_eq(rst_hold_dialler_body_left(h), 0);
	ck_assert_int_eq(rst_hold_dialler_recv(h, in, strlen(in), 0),
			 strlen(in));
	ck_assert_uint_eq(rst_hold_dialler_body_left(h), 3);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_recv(h, "ab", 2, 0), 2);
	ck_assert_uint_eq(rst_hold_dialler_body_left(h), 1);
	ck_assert_int_eq(rst_hold_dialler_recv(h, "c", 1, 0), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_rst_str_eq(ev.octets_view, "ab");
	/* no octet behind the message is taken before its end is pulled */
	ck_assert_int_eq(rst_hold_dialler_recv(h, "cEND\t1\n", 7, 0), 1);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_recv(h, "END\t1\n", 6, 0), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(ev.type, RST_HOLD_MESSAGE_END);
	ck_assert(rst_hold_dialler_draining(h));
	ck_assert_int_eq(rst_hold_dialler_recv(h, "END\t1\n", 6, 0), 6);
	ck_assert(!rst_hold_dialler_draining(h));
	rst_hold_dialler_free(&h);
}
END_TEST

START_TEST(deadlines)
{
	const struct rst_hold_dialler_limits limits = {.reply_timeout_ms =
							       1000};
	struct rst_hold_dialler *h = rst_hold_dialler_new(&limits, false, 5000);
	struct rst_hold_event ev;

	ck_assert_int_eq(rst_hold_dialler_deadline(h), 6000);
	ck_assert_int_gt(
		rst_hold_dialler_recv(h, VERSION, strlen(VERSION), 5100), 0);
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 6100);
	ck_assert_int_gt(rst_hold_dialler_recv(h, "OK\t1\t1\t1\n", 9, 5200), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_deadline(h), -1);
	/* acknowledgements are not answered before COMMIT */
	rst_hold_dialler_ack(h, RST_STR("a"));
	ck_assert_int_eq(rst_hold_dialler_deadline(h), -1);
	rst_hold_dialler_commit(h, 9000);
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 10000);
	/* a further command does not put the first off */
	rst_hold_dialler_more(h, 9500);
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 10000);
	ck_assert_int_gt(rst_hold_dialler_recv(h, "GONE\ta\n", 7, 9600), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 10600);
	ck_assert_int_gt(rst_hold_dialler_recv(h, "DONE\n", 5, 9700), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 10700);
	ck_assert_int_gt(rst_hold_dialler_recv(h, "END\t0\n", 6, 9800), 0);
	ck_assert(rst_hold_dialler_next(h, &ev));
	ck_assert_int_eq(rst_hold_dialler_deadline(h), -1);
	rst_hold_dialler_bye(h, 20000);
	ck_assert_int_eq(rst_hold_dialler_deadline(h), 21000);
	ck_assert_int_gt(rst_hold_dialler_recv(h, "BYE\n", 4, 20001), 0);
	ck_assert_int_eq(rst_hold_dialler_deadline(h), -1);
	rst_hold_dialler_free(&h);
	rst_hold_dialler_free(&h);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hold");
	TCase *tc = tcase_create("lines");

	tcase_add_loop_test(tc, split, 0, N_ELEMENTS(splits));
	tcase_add_loop_test(tc, join, 0, N_ELEMENTS(splits));
	tcase_add_test(tc, preambles);
	suite_add_tcase(suite, tc);

	tc = tcase_create("machine");
	tcase_add_loop_test(tc, talk_whole, 0, N_ELEMENTS(talks));
	tcase_add_loop_test(tc, talk_cut, 0, N_ELEMENTS(talks));
	tcase_add_test(tc, output);
	tcase_add_test(tc, reply_is_cut);
	tcase_add_test(tc, line_too_long);
	tcase_add_test(tc, one_event_at_a_time);
	tcase_add_test(tc, deadlines);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
