/* SPDX-License-Identifier: MIT */
#include "core/restrictions.h"

#include "test-util.h"

/* ---- words */

static const struct {
	const char *list;
	const char *words[5];
} lists[] = {
	{"", {NULL}},
	{" , \n", {NULL}},
	{"permit_mynetworks, reject_unauth_destination",
	 {"permit_mynetworks", "reject_unauth_destination"}},
	{"a,b\n  c", {"a", "b", "c"}},
	{"check_policy_service unix:private/restante",
	 {"check_policy_service", "unix:private/restante"}},
	{"check_policy_service { unix:x, timeout=5s }, permit",
	 {"check_policy_service", "unix:x, timeout=5s", "permit"}},
	{"check_recipient_access regexp:{{/[^ -~]/ 553 No, no}} permit",
	 {"check_recipient_access", "regexp:{{/[^ -~]/ 553 No, no}}",
	  "permit"}},
	{"{}", {""}},
	{"a{ b", {"a{ b"}},
	{"{ a", {"a"}},
	{"{", {""}},
	{"a}b c", {"a}b", "c"}},
};

START_TEST(test_words)
{
	struct rst_str rest = rst_str(lists[_i].list), word;
	size_t i;

	for (i = 0; lists[_i].words[i] != NULL; i++) {
		ck_assert(restrictions_next(&rest, &word));
		ck_assert_rst_str_eq(word, lists[_i].words[i]);
	}
	ck_assert(!restrictions_next(&rest, &word));
}
END_TEST

/* ---- check_policy_service */

static const struct {
	const char *word, *server, *default_action, *timeout;
} policies[] = {
	{"unix:private/restante", "unix:private/restante", "", ""},
	{"unix:p, timeout=5s, default_action=DUNNO", "unix:p", "DUNNO", "5s"},
	{"inet:h:1 default_action = DUNNO", "inet:h:1", "", ""},
	{"unix:p { default_action = 451 4.3.5 Try later } timeout=1h", "unix:p",
	 "451 4.3.5 Try later", "1h"},
	{"unix:p,try_limit=1,xtimeout=3", "unix:p", "", ""},
	{"", "", "", ""},
};

START_TEST(test_policy)
{
	struct restrictions_policy policy;

	restrictions_policy(rst_str(policies[_i].word), &policy);
	ck_assert_rst_str_eq(policy.server, policies[_i].server);
	ck_assert_rst_str_eq(policy.default_action,
			     policies[_i].default_action);
	ck_assert_rst_str_eq(policy.timeout, policies[_i].timeout);
}
END_TEST

/* ---- times */

static const struct {
	const char *time;
	char unit;
	int64_t secs;
} times[] = {
	{"5s", 'd', 5},      {"5", 'd', 432000}, {"5", 's', 5},
	{"2m", 's', 120},    {"1h", 's', 3600},  {"10d", 's', 864000},
	{"1w", 's', 604800}, {"0", 's', 0},      {"", 's', -1},
	{"x", 's', -1},      {"5x", 's', -1},    {"5ss", 's', -1},
	{"-5s", 's', -1},    {"5 s", 's', -1},
};

START_TEST(test_times)
{
	ck_assert_int_eq(
		restrictions_secs(rst_str(times[_i].time), times[_i].unit),
		times[_i].secs);
}
END_TEST

START_TEST(test_long_time)
{
	ck_assert_int_gt(
		restrictions_secs(RST_STR("99999999999999999999999999w"), 's'),
		0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restrictions");
	TCase *tcase = tcase_create("lists");

	tcase_add_loop_test(tcase, test_words, 0, N_ELEMENTS(lists));
	tcase_add_loop_test(tcase, test_policy, 0, N_ELEMENTS(policies));
	tcase_add_loop_test(tcase, test_times, 0, N_ELEMENTS(times));
	tcase_add_test(tcase, test_long_time);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
