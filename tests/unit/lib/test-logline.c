/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>
#include <time.h>

#include "restante/logline.h"

/* One value, and what is written after "said: v=". */
static const struct {
	struct rst_str value;
	const char *want;
} values[] = {
	{{"plain", 5}, "plain"},
	{{"", 0}, "\"\""},
	{{"two words", 9}, "\"two words\""},
	{{"a=b", 3}, "\"a=b\""},
	{{"say \"hi\"", 8}, "\"say \\x22hi\\x22\""},
	{{"\"", 1}, "\"\\x22\""},
	{{"back\\slash", 10}, "back\\x5Cslash"},
	{{"\r\nFake: line=1", 14}, "\"\\x0D\\x0AFake: line=1\""},
	{{"nul\0tail", 8}, "nul\\x00tail"},
	{{"\x1b[31m\x7f", 6}, "\\x1B[31m\\x7F"},
	{{"tab\there", 8}, "tab\\x09here"},
	/* well-formed UTF-8 stays: one each of two, three and four octets */
	{{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xae", 9},
	 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xae"},
	{{"\xef\xbf\xbf\xf4\x8f\xbf\xbf", 7}, "\xef\xbf\xbf\xf4\x8f\xbf\xbf"},
	/* the control characters of ISO 8859 */
	{{"\xc2\x9b"
	  "0m",
	  4},
	 "\\xC2\\x9B0m"},
	{{"\xc2\xa0", 2}, "\xc2\xa0"},
	/* overlong, surrogate, beyond U+10FFFF, alone, cut short */
	{{"\xc0\xaf", 2}, "\\xC0\\xAF"},
	{{"\xe0\x80\xaf", 3}, "\\xE0\\x80\\xAF"},
	{{"\xf0\x80\x80\xaf", 4}, "\\xF0\\x80\\x80\\xAF"},
	{{"\xed\xa0\x80", 3}, "\\xED\\xA0\\x80"},
	{{"\xf4\x90\x80\x80", 4}, "\\xF4\\x90\\x80\\x80"},
	{{"\x80", 1}, "\\x80"},
	{{"\xff", 1}, "\\xFF"},
	{{"\xe2\x82", 2}, "\\xE2\\x82"},
	{{"\xe2\x82\xac", 2}, "\\xE2\\x82"},
	{{"\xf0\x9f\x93x", 4}, "\\xF0\\x9F\\x93x"},
};

START_TEST(test_value)
{
	struct rst_logline line;
	/* on the heap without a terminator, so that ASan sees a read beyond */
	char *octets = rst_malloc(values[_i].value.n);
	static const char start[] = "said: v=";

	memcpy(octets, values[_i].value.p, values[_i].value.n);
	rst_logline_begin(&line, "said");
	rst_logline_str(&line, "v",
			(struct rst_str){octets, values[_i].value.n});
	free(octets);
	ck_assert_int_eq(strncmp(line.text, start, strlen(start)), 0);
	ck_assert_str_eq(line.text + strlen(start), values[_i].want);
	ck_assert_uint_eq(line.n, strlen(line.text));
}
END_TEST

START_TEST(test_pairs)
{
	struct rst_logline line;

	rst_logline_begin(&line, "session opened");
	ck_assert_str_eq(line.text, "session opened");
	rst_logline_cstr(&line, "user", "a@example.test");
	rst_logline_u64(&line, "octets", UINT64_MAX);
	rst_logline_i64(&line, "due", INT64_MIN);
	rst_logline_cstr(&line, "none", NULL);
	ck_assert_str_eq(line.text, "session opened: user=a@example.test "
				    "octets=18446744073709551615 "
				    "due=-9223372036854775808 none=\"\"");
}
END_TEST

START_TEST(test_message_escaped)
{
	struct rst_logline line;

	rst_logline_begin(&line, "two\nlines");
	ck_assert_str_eq(line.text, "two\\x0Alines");
	rst_logline_begin(&line, NULL);
	ck_assert_str_eq(line.text, "");
}
END_TEST

/* Lines around the limit: none is longer, none is cut inside a character or an
   escape, and only a cut one ends in "...". */
START_TEST(test_cut)
{
	static const struct {
		const char *unit;
		const char *written;
	} units[] = {{"x", "x"}, {"\n", "\\x0A"}, {"\xf0\x9f\x93\xae", NULL}};
	const char *unit = units[_i % 3].unit;
	const char *written =
		units[_i % 3].written == NULL ? unit : units[_i % 3].written;
	struct rst_logline line;
	char *value = rst_calloc(1, 5000);
	char *want = rst_calloc(1, 20000);
	size_t fill = (size_t)_i / 3, i, room;

	/* "m: k=" and fill octets, then units as far as they go */
	memset(value, 'f', fill);
	for (i = 0; i < 1200; i++)
		strcat(value, unit);
	rst_logline_begin(&line, "m");
	rst_logline_cstr(&line, "k", value);
	ck_assert(line.is_cut);

	strcpy(want, "m: k=");
	memset(want + 5, 'f', fill);
	for (room = RST_LOGLINE_MAX - 3 - 5 - fill; room >= strlen(written);
	     room -= strlen(written))
		strcat(want, written);
	strcat(want, "...");
	ck_assert_str_eq(line.text, want);
	ck_assert_uint_le(line.n, RST_LOGLINE_MAX);

	rst_logline_cstr(&line, "more", "is not written");
	ck_assert_str_eq(line.text, want);
	free(value);
	free(want);
}
END_TEST

START_TEST(test_longest_uncut)
{
	struct rst_logline line;
	char value[RST_LOGLINE_MAX] = "";

	memset(value, 'f', RST_LOGLINE_MAX - 3 - 5);
	rst_logline_begin(&line, "m");
	rst_logline_cstr(&line, "k", value);
	ck_assert(!line.is_cut);
	ck_assert_uint_eq(line.n, RST_LOGLINE_MAX - 3);
}
END_TEST

static const struct {
	int64_t wall_ms;
	const char *who;
	int level;
	const char *want;
} heads[] = {
	{0, "core", 3, "1970-01-01T00:00:00.000Z core[77] error: "},
	{1700992800007, "worker", 4,
	 "2023-11-26T10:00:00.007Z worker[77] warning: "},
	{1709164799999, "restante", 5,
	 "2024-02-28T23:59:59.999Z restante[77] notice: "},
	{1709164800000, "x", 6, "2024-02-29T00:00:00.000Z x[77] info: "},
	{1709251200000, "x", 7, "2024-03-01T00:00:00.000Z x[77] debug: "},
	{951782400000, "x", 6, "2000-02-29T00:00:00.000Z x[77] info: "},
	{1735689599999, "x", 6, "2024-12-31T23:59:59.999Z x[77] info: "},
	{1735689600000, "x", 6, "2025-01-01T00:00:00.000Z x[77] info: "},
	{4107542400000, "x", 6, "2100-03-01T00:00:00.000Z x[77] info: "},
	{253402300799999, "x", 6, "9999-12-31T23:59:59.999Z x[77] info: "},
};

START_TEST(test_head)
{
	char head[RST_LOGLINE_HEAD_MAX];

	rst_logline_head(head, heads[_i].wall_ms, heads[_i].who, 77,
			 heads[_i].level);
	ck_assert_str_eq(head, heads[_i].want);
}
END_TEST

/* Each day of 800 years has the date that libc gives. */
START_TEST(test_dates)
{
	char head[RST_LOGLINE_HEAD_MAX], want[32];
	time_t day;
	struct tm tm;

	for (day = 0; day < 800 * 366; day++) {
		time_t when = day * 86400 + 86399;

		rst_logline_head(head, (int64_t)when * 1000, "x", 1, 6);
		ck_assert_ptr_nonnull(gmtime_r(&when, &tm));
		ck_assert_uint_gt(strftime(want, sizeof(want),
					   "%Y-%m-%dT%H:%M:%S.000Z", &tm),
				  0);
		if (strncmp(head, want, strlen(want)) != 0)
			ck_abort_msg("%s for %s", head, want);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("logline");
	TCase *tc = tcase_create("logline");

	tcase_add_loop_test(tc, test_value, 0, N_ELEMENTS(values));
	tcase_add_test(tc, test_pairs);
	tcase_add_test(tc, test_message_escaped);
	tcase_add_loop_test(tc, test_cut, 0, 15);
	tcase_add_test(tc, test_longest_uncut);
	tcase_add_loop_test(tc, test_head, 0, N_ELEMENTS(heads));
	tcase_add_test(tc, test_dates);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
