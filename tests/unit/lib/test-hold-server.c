/* SPDX-License-Identifier: MIT */
/* Whole conversations, each also cut at every octet; see hold-server-run.h for
   what the hold does, and for '|' and '!'. */
#include "restante/hold-server.h"

#include "hold-server-run.h"
#include "test-util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VERSION "VERSION\trestante-hold\t1\t0\n"
#define USER VERSION "USER\tu@x\n"
#define OK VERSION "OK\t3\t16\t1700000000\tu\n"
#define M1 "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc\r\n"
#define M2 "MSG\t2\tm2\t0\t1699999999\t\tt+\0011\001td@y\n"
#define M3 "MSG\t3\tm3\t11\t1699999999\ts@x\tt@y\n\nEND\t9\nBYE\n"
#define ALL M1 M2 M3 "END\t3\n"
#define PROTO "NO\tPROTOCOL\t"
#define NOT_NOW ": not now, or not at all"
#define FORTY "1234567890123456789012345678901234567890"

static const struct {
	const char *how, *said, *events, *output;
} talks[] = {
	/* opening */
	{"", "", "", ""},
	{"", VERSION, "", VERSION},
	{"", "VERSION\trestante-hold\t1\t9\tnew\n", "", VERSION},
	{"", "VERSION\trestante-hold\t2\t0\n",
	 "error another protocol or version;",
	 PROTO "another protocol or version\n"},
	{"", "VERSION\tother\t1\t0\n", "error another protocol or version;",
	 PROTO "another protocol or version\n"},
	{"", USER, "user u@x;", OK},
	{"", VERSION "USER\t\tnew\n", "user;", OK},
	{"", VERSION "USER\ta\001tb\001n\0011\n", "user a\tb\n\001;", OK},
	{"u", USER "DRAIN\n", "user u@x;", VERSION "NO\tNOUSER\tno\001tsuch\n"},
	{"e", USER, "user u@x;", VERSION "NO\tNOTENROLLED\tno\n"},
	{"t", USER, "user u@x;", VERSION "NO\tTEMPFAIL\tdisk\n"},

	/* a scan */
	{"", VERSION "SCAN\n", "scan;",
	 VERSION "HOLDS\ta\001tb\t1\t2\t3\nHOLDS\tc\t0\t0\t0\nEND\t5\t1\n"},
	{"", VERSION "SCAN\tnew\nUSER\tu@x\nDRAIN\n", "scan;",
	 VERSION "HOLDS\ta\001tb\t1\t2\t3\nHOLDS\tc\t0\t0\t0\nEND\t5\t1\n"},
	{"t", VERSION "SCAN\n", "scan;", VERSION "NO\tTEMPFAIL\tnot yet\n"},

	/* a listing */
	{"", USER "DRAIN\n", "user u@x;drain;", OK ALL},
	{"", USER "DRAIN\tnew\n", "user u@x;drain;", OK ALL},
	{"z", USER "DRAIN\nMORE\nDRAIN\n", "user u@x;drain;more;drain;",
	 OK "END\t0\nEND\t0\nEND\t0\n"},
	{"", USER "DRAIN\nMORE\n", "user u@x;drain;more;", OK ALL "END\t0\n"},
	{"", USER "DRAIN\n||||MORE\nDRAIN\n", "user u@x;drain;more;drain;",
	 OK ALL "END\t0\n" ALL},
	{"b", USER "DRAIN\nDRAIN\n", "user u@x;drain;",
	 OK "NO\tBUSY\tlocked\n"},
	/* it cannot be read to its end: no line gets into it */
	{"f", USER "DRAIN\n", "user u@x;drain;",
	 OK "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc"},

	/* marks; both ways, and of messages that were not listed */
	{"", USER "DRAIN\nACK\tm1\nFALLBACK\tm3\t552 5.3.4 \001tno\nCOMMIT\n",
	 "user u@x;drain;ack m1;fallback m3 552 5.3.4 \tno;commit;",
	 OK "GONE\tm1\nGONE\tm3\nDONE\n" ALL},
	{"k", USER "DRAIN\nACK\tm1\nFALLBACK\tx\t\nCOMMIT\n",
	 "user u@x;drain;ack m1;fallback x;commit;",
	 OK "KEPT\tm1\tover\001nquota\nKEPT\tx\tover\001nquota\nDONE\n" ALL},
	{"", USER "DRAIN\nCOMMIT\nCOMMIT\n", "user u@x;drain;commit;commit;",
	 OK "DONE\nDONE\n" ALL},
	{"", USER "DRAIN\nACK\tm1\nCOMMIT\nACK\tm2\nCOMMIT\n",
	 "user u@x;drain;ack m1;commit;ack m2;commit;",
	 OK "GONE\tm1\nDONE\nGONE\tm2\nDONE\n" ALL},
	/* between two messages */
	{"", USER "DRAIN\n|||||ACK\tm1\nCOMMIT\n",
	 "user u@x;drain;ack m1;commit;",
	 OK M1 M2 "GONE\tm1\nDONE\n" M3 "END\t3\n"},
	/* inside a message: answered after it, and what is behind the COMMIT
	   is marked too */
	{"", USER "DRAIN\n||ACK\tm1\nCOMMIT\nACK\tm2\nCOMMIT\n",
	 "user u@x;drain;ack m1;ack m2;commit;commit;",
	 OK M1 "GONE\tm1\nGONE\tm2\nDONE\nDONE\n" M2 M3 "END\t3\n"},
	/* as many marks as are allowed, and one more */
	{"", USER "DRAIN\nACK\ta\nACK\ta\nFALLBACK\ta\tr\nCOMMIT\nACK\tb\n",
	 "user u@x;drain;ack a;ack a;fallback a r;commit;ack b;",
	 OK "GONE\ta\nGONE\ta\nGONE\ta\nDONE\n" ALL},
	{"z", USER "DRAIN\nACK\ta\nACK\tb\nACK\tc\nFALLBACK\td\tr\n",
	 "user u@x;drain;ack a;ack b;ack c;"
	 "error too many marks without COMMIT;",
	 OK PROTO "too many marks without COMMIT\n"},
	{"", USER "DRAIN\n||ACK\ta\nACK\tb\nACK\tc\nCOMMIT\nACK\td\n",
	 "user u@x;drain;ack a;ack b;ack c;"
	 "error too many marks without COMMIT;",
	 OK "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc"},

	/* fallback delivery without a listing */
	{"", USER "RELEASE\tALL\nRELEASE\tEXPIRED\nRELEASE\tm2\tnew\n",
	 "user u@x;release all;release expired;release m2;",
	 OK "RELEASED\t2\t1\t0\nRELEASED\t2\t1\t0\nRELEASED\t2\t1\t0\n"},
	{"b", USER "RELEASE\tALL\nRELEASE\tALL\n", "user u@x;release all;",
	 OK "NO\tBUSY\tlocked\n"},
	{"", USER "RELEASE\tall\nRELEASE\tALL\n",
	 "user u@x;release all;release all;",
	 OK "RELEASED\t2\t1\t0\nRELEASED\t2\t1\t0\n"},
	{"", USER "RELEASE\t\n", "user u@x;error RELEASE of what?;",
	 OK PROTO "RELEASE of what?\n"},
	{"", USER "RELEASE\t.x\n", "user u@x;error RELEASE of what?;",
	 OK PROTO "RELEASE of what?\n"},
	/* not while a listing goes on, nor is anything behind it read */
	{"", USER "DRAIN\n||RELEASE\tALL\nACK\tm1\nCOMMIT\n",
	 "user u@x;drain;release all;ack m1;commit;",
	 OK ALL "RELEASED\t2\t1\t0\nGONE\tm1\nDONE\n"},
	{"", USER "DRAIN\n||MORE\nACK\tm1\nCOMMIT\n",
	 "user u@x;drain;more;ack m1;commit;",
	 OK ALL "GONE\tm1\nDONE\nEND\t0\n"},
	{"", USER "DRAIN\nCOMMIT\nRELEASE\tALL\n",
	 "user u@x;drain;commit;release all;",
	 OK "DONE\n" ALL "RELEASED\t2\t1\t0\n"},

	/* the end */
	{"", USER "BYE\n", "user u@x;bye;", OK "BYE\n"},
	{"", USER "BYE\nDRAIN\nFOO\n", "user u@x;bye;", OK "BYE\n"},
	{"", USER "RELEASE\tALL\nBYE\n", "user u@x;release all;bye;",
	 OK "RELEASED\t2\t1\t0\nBYE\n"},
	/* before a message, no one is begun; nothing is known of what is due */
	{"", USER "DRAIN\nACK\tm1\nBYE\n", "user u@x;drain;ack m1;bye;",
	 OK "GONE\tm1\nBYE\n"},
	{"", USER "DRAIN\n||ACK\tm1\nCOMMIT\nACK\tm2\nBYE\n",
	 "user u@x;drain;ack m1;ack m2;commit;bye;",
	 OK M1 "GONE\tm1\nGONE\tm2\nDONE\nBYE\n"},
	{"", USER "DRAIN\n|||||||||||ACK\tm1\nBYE\tnew\n",
	 "user u@x;drain;ack m1;bye listed;",
	 OK M1 M2 M3 "END\t3\nGONE\tm1\n"
		     "BYE\t7\n"},
	{"z", USER "DRAIN\n|MORE\nBYE\n", "user u@x;drain;more;bye;",
	 OK "END\t0\nBYE\n"},
	{"zd", USER "DRAIN\n|BYE\n", "user u@x;drain;bye listed;",
	 OK "END\t0\nBYE\n"},

	/* not now */
	{"", "USER\tu@x\n", "error USER?u@x" NOT_NOW ";",
	 PROTO "USER?u@x" NOT_NOW "\n"},
	{"", "SCAN\n", "error SCAN" NOT_NOW ";", PROTO "SCAN" NOT_NOW "\n"},
	{"", "BYE\n", "error BYE" NOT_NOW ";", PROTO "BYE" NOT_NOW "\n"},
	{"", VERSION "VERSION\tx\t1\t0\n", "error VERSION?x?1?0" NOT_NOW ";",
	 VERSION PROTO "VERSION?x?1?0" NOT_NOW "\n"},
	{"", VERSION "DRAIN\n", "error DRAIN" NOT_NOW ";",
	 VERSION PROTO "DRAIN" NOT_NOW "\n"},
	{"", VERSION "MORE\n", "error MORE" NOT_NOW ";",
	 VERSION PROTO "MORE" NOT_NOW "\n"},
	{"", VERSION "ACK\ta\n", "error ACK?a" NOT_NOW ";",
	 VERSION PROTO "ACK?a" NOT_NOW "\n"},
	{"", VERSION "FALLBACK\ta\tr\n", "error FALLBACK?a?r" NOT_NOW ";",
	 VERSION PROTO "FALLBACK?a?r" NOT_NOW "\n"},
	{"", VERSION "COMMIT\n", "error COMMIT" NOT_NOW ";",
	 VERSION PROTO "COMMIT" NOT_NOW "\n"},
	{"", VERSION "RELEASE\tALL\n", "error RELEASE?ALL" NOT_NOW ";",
	 VERSION PROTO "RELEASE?ALL" NOT_NOW "\n"},
	{"", VERSION "BYE\n", "error BYE" NOT_NOW ";",
	 VERSION PROTO "BYE" NOT_NOW "\n"},
	{"", USER VERSION,
	 "user u@x;error VERSION?restante-hold?1?0" NOT_NOW ";",
	 OK PROTO "VERSION?restante-hold?1?0" NOT_NOW "\n"},
	{"", USER "USER\tv\n", "user u@x;error USER?v" NOT_NOW ";",
	 OK PROTO "USER?v" NOT_NOW "\n"},
	{"", USER "SCAN\n", "user u@x;error SCAN" NOT_NOW ";",
	 OK PROTO "SCAN" NOT_NOW "\n"},
	{"", USER "MORE\n", "user u@x;error MORE before DRAIN;",
	 OK PROTO "MORE before DRAIN\n"},
	{"", USER "RELEASE\tALL\nMORE\n",
	 "user u@x;release all;error MORE before DRAIN;",
	 OK "RELEASED\t2\t1\t0\n" PROTO "MORE before DRAIN\n"},
	{"", USER "ACK\ta\n",
	 "user u@x;error a mark before DRAIN, or of a bad id;",
	 OK PROTO "a mark before DRAIN, or of a bad id\n"},
	{"", USER "FALLBACK\ta\tr\n",
	 "user u@x;error a mark before DRAIN, or of a bad id;",
	 OK PROTO "a mark before DRAIN, or of a bad id\n"},
	{"", USER "COMMIT\n", "user u@x;error COMMIT before DRAIN;",
	 OK PROTO "COMMIT before DRAIN\n"},
	{"z", USER "DRAIN\nACK\ta/b\n",
	 "user u@x;drain;error a mark before DRAIN, or of a bad id;",
	 OK PROTO "a mark before DRAIN, or of a bad id\n"},
	{"z", USER "DRAIN\nFALLBACK\t\tr\n",
	 "user u@x;drain;error a mark before DRAIN, or of a bad id;",
	 OK PROTO "a mark before DRAIN, or of a bad id\n"},

	/* not at all */
	{"", "\n", "error " NOT_NOW ";", PROTO NOT_NOW "\n"},
	{"", VERSION "USER\n", "error USER" NOT_NOW ";",
	 VERSION PROTO "USER" NOT_NOW "\n"},
	{"", "VERSION\trestante-hold\t1\n",
	 "error VERSION?restante-hold?1" NOT_NOW ";",
	 PROTO "VERSION?restante-hold?1" NOT_NOW "\n"},
	{"z", USER "DRAIN\nACK\n", "user u@x;drain;error ACK" NOT_NOW ";",
	 OK PROTO "ACK" NOT_NOW "\n"},
	{"z", USER "DRAIN\nFALLBACK\ta\n",
	 "user u@x;drain;error FALLBACK?a" NOT_NOW ";",
	 OK PROTO "FALLBACK?a" NOT_NOW "\n"},
	{"", USER "RELEASE\n", "user u@x;error RELEASE" NOT_NOW ";",
	 OK PROTO "RELEASE" NOT_NOW "\n"},
	{"", USER "drain\n", "user u@x;error drain" NOT_NOW ";",
	 OK PROTO "drain" NOT_NOW "\n"},
	{"", USER "12345678901234567890123456789012\n",
	 "user u@x;error 12345678901234567890123456789012" NOT_NOW ";",
	 OK PROTO "12345678901234567890123456789012" NOT_NOW "\n"},
	{"", USER FORTY "\n",
	 "user u@x;error 12345678901234567890123456789..." NOT_NOW ";",
	 OK PROTO "12345678901234567890123456789..." NOT_NOW "\n"},
	{"", USER "\303\251\0010x\n", "user u@x;error ??" NOT_NOW ";",
	 OK PROTO "??" NOT_NOW "\n"},
	{"", USER "DRAIN\r\n", "user u@x;error malformed line;",
	 OK PROTO "malformed line\n"},
	{"", USER "ACK\ta\001x\n", "user u@x;error malformed line;",
	 OK PROTO "malformed line\n"},
	{"", USER "1\t2\t3\t4\t5\t6\t7\t8\t9\n",
	 "user u@x;error malformed line;", OK PROTO "malformed line\n"},
	/* inside a message without a word */
	{"", USER "DRAIN\n||FOO\nACK\tm1\n",
	 "user u@x;drain;error FOO" NOT_NOW ";",
	 OK "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc"},
	/* and between two with one */
	{"", USER "DRAIN\n|||FOO\nACK\tm1\n",
	 "user u@x;drain;error FOO" NOT_NOW ";",
	 OK "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc\r"},
	{"", USER "DRAIN\n||||FOO\nACK\tm1\n",
	 "user u@x;drain;error FOO" NOT_NOW ";",
	 OK M1 PROTO "FOO" NOT_NOW "\n"},

	/* the dialler is gone: what was read is carried out, without a word */
	{"", USER "!DRAIN\nACK\tm1\n", "user u@x;ack m1;", OK},
	{"",
	 USER "DRAIN\n||!ACK\tm1\nFALLBACK\tm2\tno\nCOMMIT\nACK\tm3\nBYE\n"
	      "ACK\tm4\n",
	 "user u@x;drain;ack m1;fallback m2 no;ack m3;",
	 OK "MSG\t1\tm1\t5\t1699999999\ts@x\tt@y\nabc"},
	{"", USER "DRAIN\n!MORE\nACK\tm1\nRELEASE\tALL\nACK\tm2\n",
	 "user u@x;drain;ack m1;release all;ack m2;", OK},
	{"", USER "DRAIN\n||COMMIT\nACK\tm1\nBYE\n!ACK\tm2\n",
	 "user u@x;drain;ack m1;commit;bye;", OK M1 "GONE\tm1\nDONE\nBYE\n"},
	{"", USER "DRAIN\n!FOO\nACK\tm1\n",
	 "user u@x;drain;error FOO" NOT_NOW ";", OK},
	{"", USER "!MORE\nACK\tm1\n", "user u@x;error MORE before DRAIN;", OK},
	{"", VERSION "!USER\tu@x\nDRAIN\n", "", VERSION},
	{"", "!" USER, "", ""},
};

/* @param step octets that arrive at a time */
static void run_talk(int i, size_t step)
{
	const char *said = talks[i].said;
	size_t left = strlen(said), n;
	struct hold_server_run run;

	hold_server_run_start(&run, talks[i].how);
	while (left > 0) {
		n = left < step ? left : step;
		hold_server_run_feed(&run, said, n);
		said += n;
		left -= n;
	}
	hold_server_run_finish(&run);
	ck_assert_rst_str_eq(rst_buf_view(&run.events), talks[i].events);
	ck_assert_rst_str_eq(rst_buf_view(&run.output), talks[i].output);
	hold_server_run_dial(&run);
	hold_server_run_free(&run);
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

/* ---- one thing at a time */

static struct rst_hold_server *start(const char *said)
{
	const struct rst_hold_server_limits limits = {.max_marks = 10};
	struct rst_hold_server *s = rst_hold_server_new(&limits);
	size_t len = strlen(said), n;

	while ((n = rst_hold_server_recv(s, said, len)) > 0) {
		struct rst_hold_server_event ev;

		said += n;
		len -= n;
		while (rst_hold_server_next(s, &ev))
			rst_hold_server_ok(
				s, RST_STR("u"),
				&(struct rst_hold_server_held){1, 2, 3, false});
	}
	ck_assert_uint_eq(len, 0);
	return s;
}

static void offer(struct rst_hold_server *s, const char *line, bool taken)
{
	ck_assert_uint_eq(rst_hold_server_recv(s, line, strlen(line)),
			  taken ? strcspn(line, "\n") + 1 : 0);
}

static void pull(struct rst_hold_server *s,
		 enum rst_hold_server_event_type type)
{
	struct rst_hold_server_event ev;

	ck_assert(rst_hold_server_next(s, &ev));
	ck_assert_int_eq(ev.type, type);
}

static void pull_nothing(struct rst_hold_server *s)
{
	struct rst_hold_server_event ev;

	ck_assert(!rst_hold_server_next(s, &ev));
}

static void check_output(struct rst_hold_server *s, const char *want)
{
	size_t len;
	const char *out = rst_hold_server_output(s, &len);

	ck_assert_rst_str_eq(((struct rst_str){out, len}), want);
	rst_hold_server_sent(s, len);
}

static void message(struct rst_hold_server *s, uint64_t size)
{
	const struct rst_hold_server_message msg = {
		.id = RST_STR("a"),
		.size = size,
		.mail_from = RST_STR(""),
		.rcpt_to = RST_STR("t@y"),
	};
	size_t len;

	ck_assert(rst_hold_server_may_list(s));
	rst_hold_server_message(s, &msg);
	(void)rst_hold_server_output(s, &len);
	rst_hold_server_sent(s, len);
}

/* No line is taken before the event of the last one is pulled and answered. */
START_TEST(one_event_at_a_time)
{
	struct rst_hold_server *s = start(VERSION);

	offer(s, "USER\tu\nDRAIN\n", true);
	offer(s, "DRAIN\n", false);
	ck_assert(!rst_hold_server_wants_input(s));
	pull(s, RST_HOLD_SERVER_USER);
	pull_nothing(s);
	offer(s, "DRAIN\n", false);
	rst_hold_server_ok(s, RST_STR("u"),
			   &(struct rst_hold_server_held){0, 0, 0, false});
	offer(s, "DRAIN\n", true);
	ck_assert(rst_hold_server_wants_input(s));
	ck_assert(!rst_hold_server_may_list(s));
	offer(s, "ACK\ta\n", false);
	pull(s, RST_HOLD_SERVER_DRAIN);
	ck_assert(rst_hold_server_may_list(s));
	offer(s, "ACK\ta\n", true);
	ck_assert(!rst_hold_server_may_list(s));
	pull(s, RST_HOLD_SERVER_ACK);
	/* there is no event until it is pulled, but one is due */
	offer(s, "COMMIT\n", true);
	ck_assert(!rst_hold_server_may_list(s));
	offer(s, "ACK\tb\n", false);
	pull(s, RST_HOLD_SERVER_COMMIT);
	offer(s, "ACK\tb\n", false);
	ck_assert(!rst_hold_server_may_list(s));
	rst_hold_server_done(s);
	ck_assert(rst_hold_server_may_list(s));
	offer(s, "ACK\tb\n", true);
	rst_hold_server_free(&s);
	ck_assert_ptr_null(s);
	rst_hold_server_free(&s);
}
END_TEST

START_TEST(views)
{
	struct rst_hold_server *s = start(USER "DRAIN\n");
	struct rst_hold_server_event ev;
	char line[] = "FALLBACK\tid-1\t5\001t\n";

	ck_assert_uint_gt(rst_hold_server_recv(s, line, strlen(line)), 0);
	memset(line, 'x', strlen(line));
	ck_assert(rst_hold_server_next(s, &ev));
	ck_assert_rst_str_eq(ev.id, "id-1");
	ck_assert_rst_str_eq(ev.text, "5\t");
	ck_assert_rst_str_eq(ev.user, "");
	/* until the next call of _recv */
	pull_nothing(s);
	ck_assert_rst_str_eq(ev.id, "id-1");
	rst_hold_server_free(&s);
}
END_TEST

/* Nothing that the caller says at the wrong time is said. */
START_TEST(answers_nobody_asked_for)
{
	struct rst_hold_server *s = start(USER "DRAIN\n");
	size_t len;

	(void)rst_hold_server_output(s, &len);
	rst_hold_server_sent(s, len);
	message(s, 2);
	rst_hold_server_ok(s, RST_STR("u"),
			   &(struct rst_hold_server_held){1, 2, 3, false});
	rst_hold_server_gone(s, RST_STR("a"));
	rst_hold_server_kept(s, RST_STR("a"), "why");
	rst_hold_server_done(s);
	rst_hold_server_released(s, 1, 2, 3);
	rst_hold_server_bye(s, 4);
	rst_hold_server_holds(s, RST_STR("u"), 1, 2, 3);
	rst_hold_server_scanned(s, 1, 2);
	check_output(s, "");
	ck_assert(!rst_hold_server_ended(s));
	rst_hold_server_no(s, RST_HOLD_NO_TEMP, "disk");
	ck_assert(rst_hold_server_ended(s));
	ck_assert_uint_eq(rst_hold_server_body_left(s), 2);
	rst_hold_server_no(s, RST_HOLD_NO_TEMP, "disk");
	check_output(s, "");
	rst_hold_server_free(&s);

	s = start(USER);
	rst_hold_server_no(s, RST_HOLD_NO_TEMP, "disk");
	rst_hold_server_no(s, RST_HOLD_NO_TEMP, "disk");
	check_output(s, VERSION "OK\t1\t2\t3\tu\nNO\tTEMPFAIL\tdisk\n");
	rst_hold_server_free(&s);
}
END_TEST

/* The caller writes the octets itself; a message of any size costs nothing. */
START_TEST(body_is_counted)
{
	struct rst_hold_server *s = start(USER "DRAIN\n");
	const uint64_t size = UINT64_C(1) << 40;
	size_t len;

	(void)rst_hold_server_output(s, &len);
	rst_hold_server_sent(s, len);
	message(s, size);
	ck_assert(!rst_hold_server_may_list(s));
	ck_assert_uint_eq(rst_hold_server_body_left(s), size);
	rst_hold_server_body_sent(s, size - 1);
	offer(s, "COMMIT\n", true);
	pull_nothing(s);
	check_output(s, "");
	ck_assert_uint_eq(rst_hold_server_body_left(s), 1);
	rst_hold_server_body_sent(s, 1);
	ck_assert(!rst_hold_server_may_list(s));
	pull(s, RST_HOLD_SERVER_COMMIT);
	rst_hold_server_done(s);
	ck_assert(rst_hold_server_may_list(s));
	rst_hold_server_end(s);
	ck_assert(!rst_hold_server_may_list(s));
	check_output(s, "DONE\nEND\t1\n");
	rst_hold_server_free(&s);
}
END_TEST

/* The driver reads on while it may hear something, and only then. */
START_TEST(wants_input)
{
	struct rst_hold_server *s = start(USER "DRAIN\n");
	size_t len;

	pull_nothing(s);
	(void)rst_hold_server_output(s, &len);
	rst_hold_server_sent(s, len);
	message(s, 1);
	offer(s, "RELEASE\tA", false);
	ck_assert(rst_hold_server_wants_input(s));
	offer(s, "RELEASE\tALL\nACK\ta\n", false);
	ck_assert(!rst_hold_server_wants_input(s));
	rst_hold_server_body_sent(s, 1);
	rst_hold_server_end(s);
	offer(s, "RELEASE\tALL\nACK\ta\n", true);
	ck_assert(rst_hold_server_wants_input(s));
	pull(s, RST_HOLD_SERVER_RELEASE_ALL);
	rst_hold_server_released(s, 0, 0, 0);
	offer(s, "BYE\n", true);
	ck_assert(!rst_hold_server_wants_input(s));
	rst_hold_server_free(&s);

	/* the end of the connection is to be seen during a scan */
	s = start(VERSION "SCAN\n");
	ck_assert(rst_hold_server_wants_input(s));
	offer(s, "more", false);
	ck_assert(rst_hold_server_wants_input(s));
	offer(s, "more\n", false);
	ck_assert(!rst_hold_server_wants_input(s));
	rst_hold_server_scanned(s, 0, 0);
	ck_assert(rst_hold_server_ended(s));
	rst_hold_server_free(&s);
}
END_TEST

START_TEST(line_too_long)
{
	struct rst_hold_server *s = start(VERSION);
	char line[RST_HOLD_LINE_MAX + 1];

	memset(line, 'x', sizeof(line));
	memcpy(line, "USER\t", 5);
	line[RST_HOLD_LINE_MAX] = '\n';
	ck_assert_uint_eq(rst_hold_server_recv(s, line, RST_HOLD_LINE_MAX - 1),
			  0);
	pull_nothing(s);
	line[RST_HOLD_LINE_MAX - 1] = '\n';
	ck_assert_uint_eq(rst_hold_server_recv(s, line, sizeof(line)),
			  RST_HOLD_LINE_MAX);
	pull(s, RST_HOLD_SERVER_USER);
	rst_hold_server_ok(s, RST_STR("u"),
			   &(struct rst_hold_server_held){0, 0, 0, true});
	check_output(s, VERSION "OK\t0\t0\t0\tu\tfull\n");
	line[RST_HOLD_LINE_MAX - 1] = 'x';
	ck_assert_uint_eq(rst_hold_server_recv(s, line, sizeof(line)), 0);
	pull(s, RST_HOLD_SERVER_ERROR);
	check_output(s, PROTO "line too long\n");
	ck_assert(rst_hold_server_ended(s));
	rst_hold_server_free(&s);

	/* one that has to wait for its turn is an error only then */
	s = start(VERSION);
	offer(s, "USER\tu\n", true);
	ck_assert_uint_eq(rst_hold_server_recv(s, line, sizeof(line)), 0);
	ck_assert(!rst_hold_server_wants_input(s));
	pull(s, RST_HOLD_SERVER_USER);
	pull_nothing(s);
	rst_hold_server_free(&s);
}
END_TEST

/* ---- both machines */

struct pair {
	struct rst_hold_dialler *dialler;
	struct hold_server_run server;
	size_t said; /* octets of the server's output that the dialler took */
	struct rst_buf heard;
};

static void heard(struct pair *pair, const struct rst_hold_event *ev)
{
	static const char *const names[] = {
		[RST_HOLD_OPENED] = "opened",
		[RST_HOLD_REFUSED] = "refused",
		[RST_HOLD_MESSAGE] = "message",
		[RST_HOLD_MESSAGE_END] = "whole",
		[RST_HOLD_DRAINED] = "drained",
		[RST_HOLD_GONE] = "gone",
		[RST_HOLD_KEPT] = "kept",
		[RST_HOLD_COMMITTED] = "committed",
		[RST_HOLD_RELEASED] = "released",
		[RST_HOLD_USER] = "user",
		[RST_HOLD_SCANNED] = "scanned",
		[RST_HOLD_CLOSED] = "closed",
	};

	if (ev->type == RST_HOLD_OCTETS) {
		rst_buf_str(&pair->heard, ev->octets_view);
		return;
	}
	rst_buf_printf(&pair->heard, "%s", names[ev->type]);
	if (ev->type == RST_HOLD_MESSAGE || ev->type == RST_HOLD_GONE ||
	    ev->type == RST_HOLD_KEPT) {
		rst_buf_puts(&pair->heard, " ");
		rst_buf_str(&pair->heard, ev->id);
	}
	if (ev->type == RST_HOLD_CLOSED)
		rst_buf_printf(&pair->heard, " %" PRId64, ev->due);
	if (ev->type == RST_HOLD_MESSAGE) {
		rst_buf_puts(&pair->heard, " ");
		rst_buf_str(&pair->heard, ev->rcpt_to);
	}
	rst_buf_puts(&pair->heard, ";");
}

/* All that either has to say goes over, as much at a time as step. */
static void carry(struct pair *pair, size_t step)
{
	struct rst_hold_event ev;
	struct rst_str out;
	const char *said;
	ssize_t taken;
	size_t len;

	while (said = rst_hold_dialler_output(pair->dialler, &len), len > 0) {
		len = len < step ? len : step;
		hold_server_run_feed(&pair->server, said, len);
		rst_hold_dialler_sent(pair->dialler, len);
	}
	do {
		out = rst_buf_view(&pair->server.output);
		out.p += pair->said;
		out.n -= pair->said;
		taken = rst_hold_dialler_recv(pair->dialler, out.p, out.n, 0);
		ck_assert_int_ge(taken, 0);
		pair->said += (size_t)taken;
		while (rst_hold_dialler_next(pair->dialler, &ev))
			heard(pair, &ev);
	} while (taken > 0);
}

static void pair_start(struct pair *pair, const char *how, bool scan)
{
	const struct rst_hold_dialler_limits limits = {0};
	size_t len;
	char *preamble = scan ? rst_hold_scan_preamble(&len)
			      : rst_hold_preamble(RST_STR("u@x"), &len);

	*pair = (struct pair){
		.dialler = rst_hold_dialler_new(&limits, scan, 0),
	};
	hold_server_run_start(&pair->server, how);
	hold_server_run_feed(&pair->server, preamble, len);
	free(preamble);
}

static void pair_end(struct pair *pair, const char *want)
{
	ck_assert_rst_str_eq(rst_buf_view(&pair->heard), want);
	rst_buf_clear(&pair->heard);
	hold_server_run_free(&pair->server);
	rst_hold_dialler_free(&pair->dialler);
}

static void play_drain(size_t step)
{
	struct pair pair;

	pair_start(&pair, "k", false);
	rst_hold_dialler_drain(pair.dialler, 0);
	carry(&pair, step);
	/* into the first message */
	(void)hold_server_run_list(&pair.server);
	(void)hold_server_run_list(&pair.server);
	carry(&pair, step);
	rst_hold_dialler_ack(pair.dialler, RST_STR("m1"));
	rst_hold_dialler_commit(pair.dialler, 0);
	carry(&pair, step);
	hold_server_run_finish(&pair.server);
	carry(&pair, step);
	pair.server.how = "";
	rst_hold_dialler_fallback(pair.dialler, RST_STR("m3"),
				  RST_STR("552\r\n5.3.4"));
	rst_hold_dialler_more(pair.dialler, 0);
	rst_hold_dialler_commit(pair.dialler, 0);
	rst_hold_dialler_release(pair.dialler, RST_STR("EXPIRED"), 0);
	rst_hold_dialler_release(pair.dialler, RST_STR("m2"), 0);
	carry(&pair, step);
	rst_hold_dialler_bye(pair.dialler, 0);
	carry(&pair, step);
	ck_assert(rst_hold_server_ended(pair.server.server));
	ck_assert_rst_str_eq(rst_buf_view(&pair.server.events),
			     "user u@x;drain;ack m1;commit;"
			     "fallback m3 552\r\n5.3.4;more;commit;"
			     "release expired;release m2;bye listed;");
	pair_end(&pair, "opened;message m1 t@y;abc\r\nwhole;"
			"kept m1;committed;"
			"message m2 t+\001\td@y;whole;"
			"message m3 t@y;\nEND\t9\nBYE\nwhole;drained;"
			"gone m3;committed;drained;released;released;"
			"closed 7;");
}

START_TEST(pair_drain)
{
	size_t step;

	for (step = 1; step < 40; step++)
		play_drain(step);
}
END_TEST

START_TEST(pair_refused)
{
	struct pair pair;

	pair_start(&pair, "u", false);
	rst_hold_dialler_drain(pair.dialler, 0);
	carry(&pair, 100);
	pair_end(&pair, "refused;");
	pair_start(&pair, "b", false);
	rst_hold_dialler_drain(pair.dialler, 0);
	carry(&pair, 100);
	pair_end(&pair, "opened;refused;");
}
END_TEST

START_TEST(pair_scan)
{
	struct pair pair;

	pair_start(&pair, "", true);
	carry(&pair, 100);
	pair_end(&pair, "user;user;scanned;");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hold-server");
	TCase *tc = tcase_create("talks");

	tcase_add_loop_test(tc, talk_whole, 0, N_ELEMENTS(talks));
	tcase_add_loop_test(tc, talk_cut, 0, N_ELEMENTS(talks));
	suite_add_tcase(suite, tc);

	tc = tcase_create("machine");
	tcase_add_test(tc, one_event_at_a_time);
	tcase_add_test(tc, views);
	tcase_add_test(tc, answers_nobody_asked_for);
	tcase_add_test(tc, body_is_counted);
	tcase_add_test(tc, wants_input);
	tcase_add_test(tc, line_too_long);
	suite_add_tcase(suite, tc);

	tc = tcase_create("pair");
	tcase_add_test(tc, pair_drain);
	tcase_add_test(tc, pair_refused);
	tcase_add_test(tc, pair_scan);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
