/* SPDX-License-Identifier: MIT */
#include "restante/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "test-util.h"

#define HELLO "VERSION\trestante-control\t1\t1\n"

static struct rst_control *control;
static char story[4096];

static void setup(void)
{
	control = rst_control_new();
	story[0] = '\0';
}

static void teardown(void)
{
	rst_control_free(&control);
	ck_assert_ptr_null(control);
	rst_control_free(&control);
}

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
	size_t used = strlen(story);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(story + used, sizeof(story) - used, format, args);
	va_end(args);
}

static void list(void)
{
	static const struct rst_control_session bob = {
		{"bob@x", 5}, {"192.0.2.1", 9}, 1700000000, 7, false};
	static const struct rst_control_session odd = {
		{"o\td\nd", 5}, {"::1", 3}, 1, 8, true};

	rst_control_session(control, &bob);
	rst_control_session(control, &odd);
	rst_control_end(control);
}

static void pull(void)
{
	struct rst_control_event ev;

	while (rst_control_next(control, &ev)) {
		/* the next command waits */
		ck_assert_uint_eq(rst_control_recv(control, "WHO\n", 4), 0);
		if (ev.type == RST_CONTROL_WHO) {
			list();
		} else if (ev.type == RST_CONTROL_HOLDERS) {
			rst_control_holders(control, RST_STR("/a\tb"));
		} else {
			tell("<%.*s>", (int)ev.user.n, ev.user.p);
			rst_control_kicked(control, ev.user.n);
		}
	}
}

static void feed(const char *text, size_t len)
{
	size_t done = 0, n, out_len;
	const char *out;

	do {
		n = rst_control_recv(control, text + done, len - done);
		done += n;
		pull();
	} while (n > 0);
	out = rst_control_output(control, &out_len);
	tell("%.*s", (int)out_len, out);
	rst_control_sent(control, out_len);
}

static const struct {
	const char *said, *story;
	bool ended;
} talks[] = {
	{"", HELLO, false},
	{HELLO, HELLO, false},
	{HELLO "KICK\tbob@x\n", "<bob@x>" HELLO "OK\t5\n", false},
	{"VERSION\trestante-control\t1\t9\tmore\nKICK\ta\tmore\n",
	 "<a>" HELLO "OK\t1\n", false},
	{HELLO "KICK\to\001td\001nd\n", "<o\td\nd>" HELLO "OK\t5\n", false},
	{HELLO "WHO\n",
	 HELLO "SESSION\tbob@x\t192.0.2.1\t1700000000\t7\tidle\n"
	       "SESSION\to\001td\001nd\t::1\t1\t8\tdraining\nOK\t2\n",
	 false},
	{HELLO "HOLDERS\nHOLDERS\tmore\n",
	 HELLO "HOLDERS\t/a\001tb\nOK\t1\nHOLDERS\t/a\001tb\nOK\t1\n", false},
	{"HOLDERS\n", HELLO "NO\tVERSION comes first, and once\n", true},
	{HELLO "KICK\ta\nKICK\tbc\n", "<a><bc>" HELLO "OK\t1\nOK\t2\n", false},
	{"WHO\n", HELLO "NO\tVERSION comes first, and once\n", true},
	{HELLO HELLO, HELLO "NO\tVERSION comes first, and once\n", true},
	{"VERSION\trestante-hold\t1\t0\n",
	 HELLO "NO\tanother protocol or version\n", true},
	{"VERSION\trestante-control\t2\t0\n",
	 HELLO "NO\tanother protocol or version\n", true},
	{"VERSION\n", HELLO "NO\tanother protocol or version\n", true},
	{HELLO "KICK\n", HELLO "NO\tKICK needs a user\n", true},
	{HELLO "KICK\t\n", HELLO "NO\tKICK needs a user\n", true},
	{HELLO "kick\ta\nWHO\n", HELLO "NO\tno such command\n", true},
	{HELLO "\n", HELLO "NO\tno such command\n", true},
	{HELLO "WHO\r\n", HELLO "NO\tno such command\n", true},
};

START_TEST(test_talks)
{
	feed(talks[_i].said, strlen(talks[_i].said));
	ck_assert_str_eq(story, talks[_i].story);
	ck_assert_int_eq(rst_control_ended(control), talks[_i].ended);
}
END_TEST

/* The network's cuts may not change the answers. */
START_TEST(test_talks_cut)
{
	const char *said = talks[_i].said;
	size_t len = strlen(said), cut;

	for (cut = 1; cut < len; cut++) {
		char buf[512];
		size_t used = cut, n;

		teardown();
		setup();
		memcpy(buf, said, cut);
		do {
			n = rst_control_recv(control, buf, used);
			used -= n;
			memmove(buf, buf + n, used);
			pull();
		} while (n > 0);
		memcpy(buf + used, said + cut, len - cut);
		feed(buf, used + len - cut);
		ck_assert_str_eq(story, talks[_i].story);
	}
}
END_TEST

START_TEST(test_long_line)
{
	char line[2 * RST_CONTROL_LINE_MAX];

	memset(line, 'x', sizeof(line));
	memcpy(line, "KICK\t", 5);
	feed(HELLO, strlen(HELLO));
	story[0] = '\0';
	if (_i == 0) /* the longest, with its LF */
		line[RST_CONTROL_LINE_MAX - 1] = '\n';
	else if (_i == 1)
		line[RST_CONTROL_LINE_MAX] = '\n';
	feed(line, _i == 0 ? RST_CONTROL_LINE_MAX : sizeof(line));
	if (_i == 0)
		ck_assert_ptr_nonnull(strstr(story, "OK\t1018\n"));
	else
		ck_assert_str_eq(story, "NO\tthe line is too long\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control");
	TCase *tcase = tcase_create("control");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_talks, 0, N_ELEMENTS(talks));
	tcase_add_loop_test(tcase, test_talks_cut, 0, N_ELEMENTS(talks));
	tcase_add_loop_test(tcase, test_long_line, 0, 3);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
