/* SPDX-License-Identifier: MIT */
#include "restante/holder.h"

#include <string.h>

#include "restante/status.h"
#include "test-util.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X250 X50 X50 X50 X50 X50

static const struct {
	struct rst_str user;
	const char *name;
} names[] = {
	{RST_STR("a"), "a"},
	{RST_STR("ann@example.org"), "ann@example.org"},
	{RST_STR("Ann+box=x_y-z.0"), "Ann+box=x_y-z.0"},
	{RST_STR("."), "%2E"},
	{RST_STR(".."), "%2E."},
	{RST_STR(".profile"), "%2Eprofile"},
	{RST_STR("a.b."), "a.b."},
	{RST_STR("a/b"), "a%2Fb"},
	{RST_STR("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd"},
	{RST_STR("100%"), "100%25"},
	{RST_STR("%2E"), "%252E"},
	{RST_STR("a b\n"), "a%20b%0A"},
	{RST_STR("\0"), "%00"},
	{RST_STR("\xc3\xbc@x"), "%C3%BC@x"},
	{RST_STR("\xff"), "%FF"},
	{RST_STR("~root"), "%7Eroot"},
	{RST_STR(X250), X250},
	{RST_STR("/////" X50 X50 X50 X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
	 "%2F%2F%2F%2F%2F" X50 X50 X50 X50
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
};

START_TEST(test_name)
{
	char name[RST_HOLDER_NAME_MAX + 1], user[RST_HOLDER_NAME_MAX];
	ssize_t n = rst_holder_name(names[_i].user, name);

	ck_assert_int_eq(n, (ssize_t)strlen(names[_i].name));
	ck_assert_str_eq(name, names[_i].name);
	n = rst_holder_user(rst_str(name), user);
	ck_assert_int_gt(n, 0);
	ck_assert(
		rst_str_eq((struct rst_str){user, (size_t)n}, names[_i].user));
}
END_TEST

static const struct {
	struct rst_str user;
	enum rst_status status;
} nameless[] = {
	{RST_STR(""), RST_EPROTO},
	{RST_STR(X250 "x"), RST_ELIMIT},
	{RST_STR(X250 "/"), RST_ELIMIT},
	{RST_STR(X50 X50 X50 X50 X10 X10 X10 X10 "xxxxxxxx/"), RST_ELIMIT},
};

START_TEST(test_nameless)
{
	char name[RST_HOLDER_NAME_MAX + 1];

	ck_assert_int_eq(rst_holder_name(nameless[_i].user, name),
			 nameless[_i].status);
}
END_TEST

/* What somebody else may have put into the directory. */
static const struct rst_str strange[] = {
	RST_STR(""),
	RST_STR("."),
	RST_STR(".."),
	RST_STR(".hidden"),
	RST_STR("a/b"),
	RST_STR("a b"),
	RST_STR("a\0b"),
	RST_STR("a\n"),
	RST_STR("a~"),
	RST_STR("\xc3\xbc"),
	RST_STR("%"),
	RST_STR("a%2"),
	RST_STR("a%2G"),
	RST_STR("a%2f"),
	RST_STR("%%2F"),
	/* encoded for nothing: a second name of the same user */
	RST_STR("%61"),
	RST_STR("a%2E"),
	RST_STR("a%40b"),
	RST_STR(X250 "x"),
};

START_TEST(test_strange)
{
	char user[RST_HOLDER_NAME_MAX];

	ck_assert_int_eq(rst_holder_user(strange[_i], user), RST_EPROTO);
}
END_TEST

static const struct {
	struct rst_str text;
	int64_t due; /* -1: not understood */
} texts[] = {
	{RST_STR("00000000001700000000\n"), 1700000000},
	{RST_STR("1700000000\n"), 1700000000},
	{RST_STR("0\n"), 0},
	{RST_STR("9223372036854775807\n"), INT64_MAX},
	{RST_STR("00000000001700000000 full\n"), 1700000000},
	/* of a later version */
	{RST_STR("00000000001700000000 x=y full\n"), 1700000000},
	{RST_STR("00000000001700000000 fuller\n"), 1700000000},
	{RST_STR("00000000001700000000\nmore\n"), 1700000000},
	{RST_STR("00000000001700000000 \n"), 1700000000},
	{RST_STR(""), -1},
	{RST_STR("\n"), -1},
	{RST_STR(" 1\n"), -1},
	{RST_STR("1700000000"), -1},
	{RST_STR("17000\0\n"), -1},
	{RST_STR("\0\0\0\0\n"), -1},
	{RST_STR("-1\n"), -1},
	{RST_STR("+1\n"), -1},
	{RST_STR("1x\n"), -1},
	{RST_STR("1\t2\n"), -1},
	{RST_STR("9223372036854775808\n"), -1},
	{RST_STR("99999999999999999999\n"), -1},
	{RST_STR("1 " X50 X50 X10 X10 "xxxxx\n"), 1},
	{RST_STR("1 " X50 X50 X10 X10 "xxxxxx\n"), -1},
};

START_TEST(test_parse)
{
	struct rst_holder holder = {.due = 7};
	int ret = rst_holder_parse(texts[_i].text, &holder);

	ck_assert_int_eq(ret, texts[_i].due < 0 ? RST_EPROTO : 0);
	ck_assert_int_eq(holder.due, texts[_i].due < 0 ? 0 : texts[_i].due);
	ck_assert_int_eq(holder.full,
			 texts[_i].due >= 0 &&
				 strstr(texts[_i].text.p, " full\n") != NULL);
}
END_TEST

/* Nothing but the whole text is understood. */
START_TEST(test_torn)
{
	static const char text[] = "00000000001700000000\n";
	struct rst_holder holder;
	size_t n;

	for (n = 0; n < sizeof(text) - 1; n++)
		ck_assert_int_eq(
			rst_holder_parse((struct rst_str){text, n}, &holder),
			RST_EPROTO);
}
END_TEST

static const struct {
	int64_t due;
	const char *text;
} written[] = {
	{1700000000, "00000000001700000000\n"},
	{0, "00000000000000000000\n"},
	{-5, "00000000000000000000\n"},
	{INT64_MAX, "09223372036854775807\n"},
};

/* at 10,000, of a machine that was started at 9,000 */
static const struct {
	int64_t octets, changed;
	bool sure;
} vacancies[] = {
	{2, 10000, true},
	{RST_HOLDER_TEXT_SIZE - 1, 10000, true},
	{2, 9000 + RST_HOLDER_START_SECS + 1, true},
	{2, 9000 + RST_HOLDER_START_SECS, false},
	{2, 8999, false},
	{2, 0, false},
	{2, 10001, false},
	{0, 10000, false},
	{RST_HOLDER_TEXT_SIZE, 10000, false},
	{RST_HOLDER_FULL_SIZE, 10000, false},
};

START_TEST(test_surely_vacant)
{
	ck_assert(rst_holder_is_surely_vacant(vacancies[_i].octets,
					      vacancies[_i].changed, 10000,
					      1000) == vacancies[_i].sure);
}
END_TEST

START_TEST(test_format)
{
	struct rst_holder holder = {.due = written[_i].due}, back;
	char text[RST_HOLDER_TEXT_SIZE];

	rst_holder_format(&holder, text);
	ck_assert_mem_eq(text, written[_i].text, sizeof(text));
	ck_assert_int_eq(
		rst_holder_parse((struct rst_str){text, sizeof(text)}, &back),
		0);
	ck_assert_int_eq(back.due, holder.due < 0 ? 0 : holder.due);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holder");
	TCase *tcase = tcase_create("holder");

	tcase_add_loop_test(tcase, test_name, 0, N_ELEMENTS(names));
	tcase_add_loop_test(tcase, test_nameless, 0, N_ELEMENTS(nameless));
	tcase_add_loop_test(tcase, test_strange, 0, N_ELEMENTS(strange));
	tcase_add_loop_test(tcase, test_parse, 0, N_ELEMENTS(texts));
	tcase_add_test(tcase, test_torn);
	tcase_add_loop_test(tcase, test_surely_vacant, 0,
			    N_ELEMENTS(vacancies));
	tcase_add_loop_test(tcase, test_format, 0, N_ELEMENTS(written));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
