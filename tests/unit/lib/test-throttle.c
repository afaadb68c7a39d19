/* SPDX-License-Identifier: MIT */
#include "restante/throttle.h"

#include <stdio.h>
#include <string.h>

#include "test-util.h"

#define WINDOW 1000
#define FAILURES 3
#define PAIRS 4

static struct rst_throttle *make(void)
{
	const struct rst_throttle_limits limits = {FAILURES, WINDOW, PAIRS};

	return rst_throttle_new(&limits);
}

static void fails(struct rst_throttle *t, const char *user, const char *source,
		  unsigned int times, int64_t now_ms)
{
	while (times-- > 0)
		rst_throttle_failed(t, rst_str(user), rst_str(source), now_ms);
}

static bool blocks(struct rst_throttle *t, const char *user, const char *source,
		   int64_t now_ms)
{
	return rst_throttle_blocks(t, rst_str(user), rst_str(source), now_ms);
}

START_TEST(test_times)
{
	struct rst_throttle *t = make();

	ck_assert(!blocks(t, "bob", "192.0.2.1", 0));
	fails(t, "bob", "192.0.2.1", FAILURES - 1, 0);
	ck_assert(!blocks(t, "bob", "192.0.2.1", WINDOW - 1));
	fails(t, "bob", "192.0.2.1", 1, WINDOW - 1);
	ck_assert(blocks(t, "bob", "192.0.2.1", WINDOW - 1));
	/* the window begins with the first failure; later ones do not prolong
	   it */
	ck_assert(!blocks(t, "bob", "192.0.2.1", WINDOW));
	/* all failures are forgotten: it takes as many again */
	fails(t, "bob", "192.0.2.1", FAILURES - 1, WINDOW);
	ck_assert(!blocks(t, "bob", "192.0.2.1", WINDOW));
	fails(t, "bob", "192.0.2.1", 100, 5000);
	ck_assert(blocks(t, "bob", "192.0.2.1", 5000));
	rst_throttle_clear(t, RST_STR("bob"), RST_STR("192.0.2.1"));
	ck_assert(!blocks(t, "bob", "192.0.2.1", 5000));
	rst_throttle_clear(t, RST_STR("bob"), RST_STR("192.0.2.1"));
	rst_throttle_free(&t);
	ck_assert_ptr_null(t);
	rst_throttle_free(&t);
}
END_TEST

static const struct {
	const char *user, *source;
	bool same; /* as bob from the address of that kind */
} pairs[] = {
	{"bob", "192.0.2.1", true},
	{"BoB", "192.0.2.1", true},
	{"bobb", "192.0.2.1", false},
	{"bo", "192.0.2.1", false},
	{"bob", "192.0.2.2", false},
	{"", "192.0.2.1", false},
	{"bob", "", false},
	{"bob", "2001:db8::1", true},
	{"bob", "2001:db8::ffff:1", true},
	{"bob", "2001:db8:0:1::1", false},
	{"1bob", "192.0.2.", false},
};

START_TEST(test_pairs)
{
	struct rst_throttle *t = make();

	fails(t, "bob", "192.0.2.1", FAILURES, 0);
	fails(t, "bob", "2001:db8::2", FAILURES, 0);
	ck_assert_int_eq(blocks(t, pairs[_i].user, pairs[_i].source, 0),
			 pairs[_i].same);
	rst_throttle_free(&t);
}
END_TEST

/* Too many pairs push out the oldest, so the memory is bounded. */
START_TEST(test_bounded)
{
	struct rst_throttle *t = make();
	char user[2000];
	int i;

	fails(t, "first", "192.0.2.1", FAILURES, 0);
	for (i = 1; i < PAIRS; i++) {
		(void)snprintf(user, sizeof(user), "user%d", i);
		fails(t, user, "192.0.2.1", FAILURES, i);
	}
	ck_assert(blocks(t, "first", "192.0.2.1", PAIRS));
	fails(t, "more", "192.0.2.1", FAILURES, PAIRS);
	ck_assert(!blocks(t, "first", "192.0.2.1", PAIRS));
	for (i = 1; i < PAIRS; i++) { /* no other was pushed out */
		(void)snprintf(user, sizeof(user), "user%d", i);
		ck_assert(blocks(t, user, "192.0.2.1", PAIRS));
	}
	ck_assert(blocks(t, "more", "192.0.2.1", PAIRS));
	memset(user, 'u', sizeof(user));
	user[sizeof(user) - 1] = '\0';
	fails(t, user, user, FAILURES, PAIRS);
	ck_assert(blocks(t, user, user, PAIRS));
	rst_throttle_free(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("throttle");
	TCase *tcase = tcase_create("throttle");

	tcase_add_test(tcase, test_times);
	tcase_add_loop_test(tcase, test_pairs, 0, N_ELEMENTS(pairs));
	tcase_add_test(tcase, test_bounded);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
