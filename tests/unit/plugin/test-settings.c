/* SPDX-License-Identifier: MIT */
#include "hold-fixture.h"

#define DAYS (24 * 3600)

struct row {
	const char *field;
	struct rst_settings want; /* NULL strings: the default */
};

static const struct row rows_2_3[] = {
	{"restante_hold_location=maildir:/var/held/%u",
	 {.hold_time_secs = 14 * DAYS,
	  .hold_location = "maildir:/var/held/testuser"}},
	{"restante_hold_location=/var/held", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_location=:/var/held", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_location=", {.hold_time_secs = 14 * DAYS}},
	/* of an earlier version */
	{"restante_hold_mailbox=Away/Box", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_plugin_settings=mail_crypt_",
	 {.hold_time_secs = 14 * DAYS, .hold_plugins = "mail_crypt_"}},
};

static const struct row rows_2_4[] = {
	{"restante_hold_driver=maildir",
	 {.hold_time_secs = 14 * DAYS, .hold_location = "maildir:~/restante"}},
	{"restante_hold_driver=", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_path=/var/a:b",
	 {.hold_time_secs = 14 * DAYS, .hold_location = "sdbox:/var/a::b"}},
	{"restante_hold_index_path=/ssd/a:",
	 {.hold_time_secs = 14 * DAYS,
	  .hold_location = "sdbox:~/restante:INDEX=/ssd/a::"}},
	{"restante_hold_control_path=/c",
	 {.hold_time_secs = 14 * DAYS,
	  .hold_location = "sdbox:~/restante:CONTROL=/c"}},
	{"restante_hold_plugins=mail_crypt",
	 {.hold_time_secs = 14 * DAYS, .hold_plugins = "mail_crypt"}},
};

static const struct row cases[] = {
	{"x=y", {.hold_time_secs = 14 * DAYS}},
	{"restante=yes", {.enrolled = TRUE, .hold_time_secs = 14 * DAYS}},
	{"restante=1", {.enrolled = TRUE, .hold_time_secs = 14 * DAYS}},
	{"restante=no", {.hold_time_secs = 14 * DAYS}},
	{"restante=", {.hold_time_secs = 14 * DAYS}},
	/* a bad value must not stop delivery */
	{"restante=perhaps", {.hold_time_secs = 14 * DAYS}},
	{"restante_bypass=yes", {.bypass = TRUE, .hold_time_secs = 14 * DAYS}},
	{"restante_bypass=no", {.hold_time_secs = 14 * DAYS}},
	{"restante_bypass=perhaps",
	 {.bypass = TRUE, .hold_time_secs = 14 * DAYS}},
	{"restante_hold_time=3d", {.hold_time_secs = 3 * DAYS}},
	{"restante_hold_time=90s", {.hold_time_secs = 90}},
	{"restante_hold_time=0", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_time=14", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_time=-1d", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_time=99999999999d", {.hold_time_secs = 14 * DAYS}},
	{"restante_hold_quota=1G",
	 {.hold_time_secs = 14 * DAYS, .hold_quota = 1024 * 1024 * 1024}},
	{"restante_hold_quota=much", {.hold_time_secs = 14 * DAYS}},
	{"restante_max_size=10M",
	 {.hold_time_secs = 14 * DAYS, .max_size = 10 * 1024 * 1024}},
	{"restante_max_size=0", {.hold_time_secs = 14 * DAYS}},
	{"restante_on_error=deliver",
	 {.hold_time_secs = 14 * DAYS, .on_error = RST_ON_ERROR_DELIVER}},
	{"restante_on_error=tempfail", {.hold_time_secs = 14 * DAYS}},
	{"restante_on_error=drop", {.hold_time_secs = 14 * DAYS}},
	{"restante_holders=/x", {.hold_time_secs = 14 * DAYS, .holders = "/x"}},
	{"restante_holders=", {.hold_time_secs = 14 * DAYS, .holders = ""}},
	{"restante_holders=x/y", {.hold_time_secs = 14 * DAYS, .holders = ""}},
	{"restante_release_socket=/y/z",
	 {.hold_time_secs = 14 * DAYS, .release_socket = "/y/z"}},
	{"restante_fallback_give_up=2h",
	 {.hold_time_secs = 14 * DAYS, .fallback_give_up_secs = 7200}},
	{"restante_fallback_give_up=0", {.hold_time_secs = 14 * DAYS}},
	{"restante_overflow_mailbox=Over",
	 {.hold_time_secs = 14 * DAYS, .overflow_mailbox = "Over"}},
	{"restante_overflow_mailbox=Inbox", {.hold_time_secs = 14 * DAYS}},
	{"restante_queue_lifetime=30d",
	 {.hold_time_secs = 14 * DAYS, .queue_lifetime_secs = 30 * DAYS}},
	{"restante_queue_lifetime=0", {.hold_time_secs = 14 * DAYS}},
	{"restante_test_no_dedup=yes",
	 {.hold_time_secs = 14 * DAYS, .test_no_dedup = TRUE}},
	{"base_dir=/run/d",
	 {.hold_time_secs = 14 * DAYS,
	  .release_socket = "/run/d/lmtp-release"}},
};

static void check_row(const struct row *row)
{
	const char *const fields[] = {row->field, NULL};
	const struct rst_settings *want = &row->want;
	const struct rst_settings *got = &hold_fixture.set;

	rst_settings_read(hold_user("sdbox", fields), &hold_fixture.set);
	ck_assert_int_eq(got->enrolled, want->enrolled);
	ck_assert_int_eq(got->bypass, want->bypass);
	ck_assert_uint_eq(got->hold_time_secs, want->hold_time_secs);
	ck_assert_uint_eq(got->hold_quota, want->hold_quota);
	ck_assert_uint_eq(got->max_size, want->max_size);
	ck_assert_int_eq(got->on_error, want->on_error);
	ck_assert_str_eq(got->hold_location, want->hold_location == NULL
						     ? "sdbox:~/restante"
						     : want->hold_location);
	ck_assert_str_eq(got->hold_plugins,
			 want->hold_plugins == NULL ? "" : want->hold_plugins);
	ck_assert_str_eq(
		got->overflow_mailbox,
		want->overflow_mailbox == NULL ? "" : want->overflow_mailbox);
	ck_assert_uint_eq(got->fallback_give_up_secs,
			  want->fallback_give_up_secs == 0
				  ? 7 * DAYS
				  : want->fallback_give_up_secs);
	ck_assert_uint_eq(got->queue_lifetime_secs,
			  want->queue_lifetime_secs == 0
				  ? 5 * DAYS
				  : want->queue_lifetime_secs);
	ck_assert_int_eq(got->test_no_dedup, want->test_no_dedup);
	ck_assert_str_eq(got->holders, want->holders == NULL
					       ? "/var/lib/restante/holders"
					       : want->holders);
	if (want->release_socket != NULL)
		ck_assert_str_eq(got->release_socket, want->release_socket);
	else
		ck_assert_ptr_nonnull(
			strstr(got->release_socket, "/lmtp-release"));
}

START_TEST(test_settings)
{
	check_row(&cases[_i]);
}
END_TEST

START_TEST(test_settings_2_3)
{
	check_row(&rows_2_3[_i]);
}
END_TEST

START_TEST(test_settings_2_4)
{
	check_row(&rows_2_4[_i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("restante-settings");
	TCase *tc = tcase_create("settings");

	tcase_add_checked_fixture(tc, hold_setup, hold_teardown);
	tcase_add_loop_test(tc, test_settings, 0, (int)N_ELEMENTS(cases));
	if (strcmp(RST_SETTING_HOLD, "restante_hold_location") == 0)
		tcase_add_loop_test(tc, test_settings_2_3, 0,
				    (int)N_ELEMENTS(rows_2_3));
	else
		tcase_add_loop_test(tc, test_settings_2_4, 0,
				    (int)N_ELEMENTS(rows_2_4));
	suite_add_tcase(s, tc);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
