/* SPDX-License-Identifier: MIT */
/** Helpers of all Check tests. */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#include <check.h>
#include <stdlib.h>

#include "restante/str.h"

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define ck_assert_rst_str_eq(view, literal)                              \
	do {                                                             \
		struct rst_str view_ = (view);                           \
		struct rst_str want_ = rst_str(literal);                 \
		ck_assert_msg(rst_str_eq(view_, want_),                  \
			      "got \"%.*s\", want \"%s\"", (int)view_.n, \
			      view_.p, want_.p);                         \
	} while (0)

/** Run the suite; main() returns this. */
static inline int test_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
