/* SPDX-License-Identifier: MIT */
#include "backoff.h"
#include "test-util.h"

/* Each wait with the least and with the largest random part. */
static const int64_t least[] = {500,   1000,  2000,   4000,   8000,  16000,
				32000, 64000, 128000, 150000, 150000};
static const int64_t most[] = {999,   1999,   3999,   7999,   15999, 31999,
			       63999, 127999, 255999, 299999, 299999};

START_TEST(test_doubles)
{
	struct backoff low = {0}, high = {0};
	size_t i;

	for (i = 0; i < N_ELEMENTS(least); i++) {
		ck_assert_int_eq(backoff_next_ms(&low, 0), least[i]);
		ck_assert_int_eq(backoff_next_ms(&high, UINT32_MAX), most[i]);
	}
	for (i = 0; i < 1000; i++)
		ck_assert_int_le(backoff_next_ms(&high, UINT32_MAX), 300000);
	backoff_reset(&high);
	ck_assert_int_eq(backoff_next_ms(&high, 0), 500);
}
END_TEST

/* After a restart of the server all clients are back within a minute, and not
   all at once. */
START_TEST(test_dismissed)
{
	struct backoff low = {0}, high = {0};

	ck_assert_int_eq(backoff_dismissed_ms(&low, 0), 5000 + 500);
	ck_assert_int_eq(backoff_dismissed_ms(&high, UINT32_MAX), 29999 + 999);
	/* two machines with one account: the wait grows each time */
	ck_assert_int_eq(backoff_dismissed_ms(&low, 0), 5000 + 1000);
	ck_assert_int_eq(backoff_next_ms(&low, 0), 2000);
}
END_TEST

START_TEST(test_refused)
{
	ck_assert_int_eq(backoff_refused_ms(0), 300000);
	ck_assert_int_eq(backoff_refused_ms(UINT32_MAX), 599999);
}
END_TEST

static Suite *backoff_suite(void)
{
	Suite *suite = suite_create("backoff");
	TCase *tc = tcase_create("backoff");

	tcase_add_test(tc, test_doubles);
	tcase_add_test(tc, test_dismissed);
	tcase_add_test(tc, test_refused);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return test_run(backoff_suite());
}
