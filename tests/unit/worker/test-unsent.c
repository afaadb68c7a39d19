/* SPDX-License-Identifier: MIT */
#include "worker/unsent.h"

#include "test-util.h"

#define KIB 1024

static const struct {
	const char *name;
	/* this is written, so many times, with such a pause */
	size_t octets;
	unsigned int times;
	int64_t pause_ms;
	unsigned int least, most;
} lines[] = {
	{"nothing", 0, 10, 1000, UNSENT_MIN, UNSENT_MIN},
	{"a line of 300 kB/s", 3000, 1000, 10, UNSENT_MIN, UNSENT_MIN},
	{"10 Mbit/s", 16 * KIB, 1000, 13, 100 * KIB, 150 * KIB},
	{"10 Mbit/s, in waves", 750000, 20, 600, 100 * KIB, 150 * KIB},
	{"a line of the house", 1024 * KIB, 100, 10, UNSENT_MAX, UNSENT_MAX},
	{"one message after a day", 1024 * KIB, 1, 86400000, UNSENT_MIN,
	 UNSENT_MIN},
};

START_TEST(test_lines)
{
	struct unsent unsent;
	int64_t now_ms = 1000;
	unsigned int i, changes = 0;

	unsent_init(&unsent, now_ms);
	ck_assert_uint_eq(unsent.limit, UNSENT_MIN);
	for (i = 0; i < lines[_i].times; i++) {
		now_ms += lines[_i].pause_ms;
		if (unsent_moved(&unsent, lines[_i].octets, now_ms))
			changes++;
	}
	ck_assert_uint_ge(unsent.limit, lines[_i].least);
	ck_assert_uint_le(unsent.limit, lines[_i].most);
	/* each is a system call */
	ck_assert_uint_le(changes, 3);
}
END_TEST

START_TEST(test_slows_down)
{
	struct unsent unsent;

	unsent_init(&unsent, 0);
	ck_assert(!unsent_moved(&unsent, 200 * KIB, 100));
	ck_assert(unsent_moved(&unsent, 200 * KIB, 200));
	ck_assert_uint_eq(unsent.limit, 200 * KIB);
	ck_assert(!unsent_moved(&unsent, 300 * KIB, 400));
	ck_assert_uint_eq(unsent.limit, 200 * KIB);
	ck_assert(unsent_moved(&unsent, 10 * KIB, 600));
	ck_assert_uint_eq(unsent.limit, UNSENT_MIN);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unsent");
	TCase *tcase = tcase_create("limit");

	tcase_add_loop_test(tcase, test_lines, 0, N_ELEMENTS(lines));
	tcase_add_test(tcase, test_slows_down);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
