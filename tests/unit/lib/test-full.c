/* SPDX-License-Identifier: MIT */
#include "restante/full.h"

#include "test-util.h"

static struct rst_full *full;

static void setup(void)
{
	full = rst_full_new(3);
}

static void teardown(void)
{
	rst_full_free(&full);
	ck_assert_ptr_null(full);
	rst_full_free(&full);
}

static void set(const char *user, int64_t until_ms, int64_t now_ms)
{
	rst_full_set(full, rst_str(user), until_ms, now_ms);
}

static bool is(const char *recipient, int64_t now_ms)
{
	return rst_full_is(full, rst_str(recipient), "+-", now_ms);
}

static const struct {
	const char *recipient;
	bool full;
} recipients[] = {
	{"ann@example.org", true},
	{"Ann@Example.ORG", true},
	{"ann+list@example.org", true},
	{"ann-a+b@example.org", true},
	{"ann@example.com", false},
	{"ann", false},
	{"an@example.org", false},
	{"annn@example.org", false},
	{"+ann@example.org", false},
	{"", false},
	{"@example.org", false},
	{"bob", true},
	{"bob+x", true},
	{"bob+x@example.org", false},
	/* a user's name with a delimiter in it */
	{"a-b@example.org", true},
	{"a@example.org", false},
	{"a-c@example.org", false},
};

START_TEST(test_recipient)
{
	set("ANN@example.org", 1000, 0);
	set("bob", 1000, 0);
	set("a-b@example.org", 1000, 0);
	ck_assert_int_eq(is(recipients[_i].recipient, 999),
			 recipients[_i].full);
	ck_assert(!is(recipients[_i].recipient, 1000));
}
END_TEST

START_TEST(test_time)
{
	set("a@b", 1000, 0);
	set("a@b", 2000, 500);
	ck_assert(is("a@b", 1500));
	set("a@b", 0, 1500);
	ck_assert(!is("a@b", 1500));
	set("a@b", 0, 1500);
	set("a@b", 3000, 1500);
	ck_assert(is("a@b", 2999));
}
END_TEST

START_TEST(test_many)
{
	set("a", 1000, 0);
	set("b", 1000, 1);
	set("c", 1000, 2);
	set("d", 1000, 3);
	ck_assert(is("a", 4) && is("b", 4) && is("c", 4));
	ck_assert(!is("d", 4));
	/* those that are over make room */
	set("d", 3000, 1000);
	ck_assert(is("d", 1000) && !is("a", 1000));
}
END_TEST

START_TEST(test_long)
{
	char name[2000];

	memset(name, 'x', sizeof(name));
	rst_full_set(full, (struct rst_str){name, sizeof(name)}, 1000, 0);
	ck_assert(!rst_full_is(full, (struct rst_str){name, sizeof(name)}, "+",
			       0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("full");
	TCase *tcase = tcase_create("full");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, test_recipient, 0, N_ELEMENTS(recipients));
	tcase_add_test(tcase, test_time);
	tcase_add_test(tcase, test_many);
	tcase_add_test(tcase, test_long);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
