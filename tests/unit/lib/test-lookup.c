/* SPDX-License-Identifier: MIT */
#include "restante/lookup.h"

#include <stdio.h>
#include <string.h>

#include "test-util.h"

#define HELLO "VERSION\t1\t1\n"
#define READY HELLO "SPID\t4711\n"
#define T0 1000

static const struct rst_lookup_limits limits = {
	.handshake_timeout_ms = 5000,
	.request_timeout_ms = 3000,
	.max_requests = 4,
};

static struct rst_lookup *lookup;
static char story[4096];

static void setup(void)
{
	lookup = rst_lookup_new(&limits, T0);
	story[0] = '\0';
}

static void teardown(void)
{
	rst_lookup_free(&lookup);
	ck_assert_ptr_null(lookup);
	rst_lookup_free(&lookup);
}

static void pull(void)
{
	static const char *const results[] = {"found", "none", "unknown"};
	struct rst_lookup_answer answer;

	while (rst_lookup_next(lookup, &answer)) {
		size_t used = strlen(story);

		(void)snprintf(story + used, sizeof(story) - used,
			       "%u=%s(%.*s) ", answer.id,
			       results[answer.result], (int)answer.fields.n,
			       answer.fields.p);
	}
}

/* @return the last status; the story has what was pulled */
static ssize_t feed(const char *text, size_t len)
{
	size_t done = 0;
	ssize_t n;

	do {
		n = rst_lookup_recv(lookup, text + done, len - done);
		if (n > 0)
			done += (size_t)n;
		pull();
	} while (n > 0);
	return n;
}

static void expect_output(const char *want)
{
	size_t len;
	const char *out = rst_lookup_output(lookup, &len);

	ck_assert_rst_str_eq(((struct rst_str){out, len}), want);
	rst_lookup_sent(lookup, len);
}

static ssize_t ask(enum rst_lookup_question question, const char *user)
{
	return rst_lookup_ask(lookup, question, rst_str(user),
			      RST_STR("192.0.2.1"), T0);
}

static void ready_with_two(void)
{
	ck_assert_int_eq(feed(READY, strlen(READY)), 0);
	ck_assert_int_eq(ask(RST_LOOKUP_PASS, "bob@x"), 1);
	ck_assert_int_eq(ask(RST_LOOKUP_USER, "bob@x"), 2);
}

static const struct {
	const char *said, *story;
} answers[] = {
	{"PASS\t1\tuser=bob@x\tnologin\tpass_changed=7\n",
	 "1=found(nologin\tpass_changed=7) "},
	{"USER\t2\tbob@x\tuid=8\trestante=yes\n",
	 "2=found(uid=8\trestante=yes) "},
	{"USER\t2\tbob@x\nPASS\t1\tuser=bob@x\n", "2=found() 1=found() "},
	{"USER\t2\nPASS\t1\n", "2=found() 1=found() "},
	/* a name that looks like a field */
	{"USER\t2\trestante\tuid=1\n", "2=found(uid=1) "},
	{"NOTFOUND\t1\nNOTFOUND\t2\n", "1=none() 2=none() "},
	{"FAIL\t1\treason=no credentials\nFAIL\t2\n",
	 "1=unknown() 2=unknown() "},
	/* nobody has asked, or has asked twice */
	{"PASS\t3\tuser=x\nNOTFOUND\t1\nNOTFOUND\t1\n", "1=none() "},
	{"LATER\tword\nNOTFOUND\t2\n", "2=none() "},
};

START_TEST(test_answers)
{
	ready_with_two();
	ck_assert_int_eq(feed(answers[_i].said, strlen(answers[_i].said)), 0);
	ck_assert_str_eq(story, answers[_i].story);
}
END_TEST

/* The network's cuts may not change the answers. */
START_TEST(test_answers_cut)
{
	const char *said = answers[_i].said;
	size_t len = strlen(said), cut;

	for (cut = 1; cut < len; cut++) {
		char buf[256];
		size_t used = cut;
		ssize_t n;

		teardown();
		setup();
		ready_with_two();
		memcpy(buf, said, cut);
		do {
			n = rst_lookup_recv(lookup, buf, used);
			ck_assert_int_ge(n, 0);
			used -= (size_t)n;
			memmove(buf, buf + n, used);
			pull();
		} while (n > 0);
		memcpy(buf + used, said + cut, len - cut);
		ck_assert_int_eq(feed(buf, used + len - cut), 0);
		ck_assert_str_eq(story, answers[_i].story);
	}
}
END_TEST

static const char *const foreign[] = {
	"VERSION\t2\t0\n",     "VERSION\n",          "SPID\t1\n",
	HELLO HELLO,           HELLO "SPID\t0\n",    HELLO "SPID\tme\n",
	HELLO "MECH\tPLAIN\n", "220 mail ESMTP\r\n", READY "PASS\n",
	READY "NOTFOUND\tx\n",
};

START_TEST(test_foreign)
{
	ck_assert_int_eq(feed(foreign[_i], strlen(foreign[_i])), RST_EPROTO);
	ck_assert_uint_eq(rst_lookup_server(lookup), 0);
	ck_assert_int_eq(ask(RST_LOOKUP_PASS, "bob@x"), RST_ETEMP);
	ck_assert_int_eq(rst_lookup_deadline(lookup), -1);
}
END_TEST

START_TEST(test_questions)
{
	expect_output("VERSION\t1\t1\n");
	ck_assert_int_eq(ask(RST_LOOKUP_PASS, "bob@x"), RST_ETEMP);
	ready_with_two();
	ck_assert_uint_eq(rst_lookup_server(lookup), 4711);
	expect_output("PASS\t1\tbob@x\tservice=restante\trip=192.0.2.1\n"
		      "USER\t2\tbob@x\tservice=restante\trip=192.0.2.1\n");
	ck_assert_int_eq(rst_lookup_ask(lookup, RST_LOOKUP_PASS,
					RST_STR("a\tb\nUSER\t9\tc"),
					RST_STR(""), T0),
			 3);
	expect_output("PASS\t3\ta\001tb\001nUSER\001t9\001tc\t"
		      "service=restante\n");
	ck_assert_int_eq(ask(RST_LOOKUP_PASS, "d"), 4);
	ck_assert_int_eq(ask(RST_LOOKUP_PASS, "e"), RST_ETEMP);
}
END_TEST

/* Dovecot closes the connection at a line of 1024 octets. */
START_TEST(test_long_name)
{
	char name[1000];
	size_t len;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(feed(READY, strlen(READY)), 0);
	rst_lookup_sent(lookup, strlen(HELLO));
	ck_assert_int_eq(ask(RST_LOOKUP_USER, name), RST_EPERM);
	name[940] = '\0';
	ck_assert_int_gt(ask(RST_LOOKUP_USER, name), 0);
	(void)rst_lookup_output(lookup, &len);
	ck_assert_uint_le(len, 1023);
}
END_TEST

START_TEST(test_long_answer)
{
	size_t len = 70000;
	char *text = malloc(len);

	ready_with_two();
	memset(text, 'x', len);
	ck_assert_int_eq(feed(text, len), RST_ELIMIT);
	free(text);
}
END_TEST

START_TEST(test_no_answer_in_time)
{
	ready_with_two();
	ck_assert_int_eq(rst_lookup_deadline(lookup), T0 + 3000);
	rst_lookup_tick(lookup, T0 + 2999);
	pull();
	ck_assert_str_eq(story, "");
	ck_assert_int_eq(feed("NOTFOUND\t1\n", 11), 0);
	rst_lookup_tick(lookup, T0 + 3000);
	pull();
	ck_assert_str_eq(story, "1=none() 2=unknown() ");
	ck_assert_int_eq(rst_lookup_deadline(lookup), -1);
	/* too late */
	ck_assert_int_eq(feed("NOTFOUND\t2\n", 11), 0);
	ck_assert_str_eq(story, "1=none() 2=unknown() ");
}
END_TEST

START_TEST(test_no_handshake_in_time)
{
	ck_assert_int_eq(feed(HELLO, strlen(HELLO)), 0);
	ck_assert_int_eq(rst_lookup_deadline(lookup), T0 + 5000);
	rst_lookup_tick(lookup, T0 + 5000);
	ck_assert_int_eq(feed("SPID\t1\n", 7), RST_EPROTO);
}
END_TEST

START_TEST(test_field)
{
	struct rst_str fields = RST_STR("uid=1\tnologin\trestante=no\tx=");
	struct rst_str value;

	ck_assert(rst_lookup_field(fields, "restante", &value));
	ck_assert_rst_str_eq(value, "no");
	ck_assert(rst_lookup_field(fields, "nologin", &value));
	ck_assert_rst_str_eq(value, "");
	ck_assert(rst_lookup_field(fields, "x", &value));
	ck_assert(!rst_lookup_field(fields, "restant", &value));
	ck_assert(!rst_lookup_field(fields, "id", &value));
	ck_assert(!rst_lookup_field(RST_STR(""), "uid", &value));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lookup");
	TCase *tcase = tcase_create("lookup");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_answers, 0, N_ELEMENTS(answers));
	tcase_add_loop_test(tcase, test_answers_cut, 0, N_ELEMENTS(answers));
	tcase_add_loop_test(tcase, test_foreign, 0, N_ELEMENTS(foreign));
	tcase_add_test(tcase, test_questions);
	tcase_add_test(tcase, test_long_name);
	tcase_add_test(tcase, test_long_answer);
	tcase_add_test(tcase, test_no_answer_in_time);
	tcase_add_test(tcase, test_no_handshake_in_time);
	tcase_add_test(tcase, test_field);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
