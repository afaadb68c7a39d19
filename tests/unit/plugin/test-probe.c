/* SPDX-License-Identifier: MIT */
/* A message is saved where the hold is, or will be, and read back. */
#include "hold-fixture.h"

#include "mail-storage-private.h"
#include "str.h"

#include "doveadm/probe.h"

#include <dirent.h>

#define N_DRIVERS ((int)N_ELEMENTS(hold_drivers))

/* ---- a storage that does not keep what it is given */

static enum {
	KEEPS,
	CHANGES,
	LOSES,
	ADDS
} storage;

int __real_rst_mailbox_save(struct mailbox *box, struct istream *input,
			    time_t arrived, uint32_t *uid_r,
			    const char **error_r);
int __wrap_rst_mailbox_save(struct mailbox *box, struct istream *input,
			    time_t arrived, uint32_t *uid_r,
			    const char **error_r);

int __wrap_rst_mailbox_save(struct mailbox *box, struct istream *input,
			    time_t arrived, uint32_t *uid_r,
			    const char **error_r)
{
	string_t *text = t_str_new(8192);
	const unsigned char *data;
	struct istream *other;
	size_t size;
	int ret;

	while (i_stream_read_more(input, &data, &size) > 0) {
		str_append_data(text, data, size);
		i_stream_skip(input, size);
	}
	if (storage == CHANGES)
		str_c_modifiable(text)[str_len(text) / 2] ^= 1;
	else if (storage == LOSES)
		str_truncate(text, str_len(text) - 3);
	else if (storage == ADDS)
		str_append(text, "-- \nspam\n");
	other = i_stream_create_from_data(str_data(text), str_len(text));
	ret = __real_rst_mailbox_save(box, other, arrived, uid_r, error_r);
	i_stream_unref(&other);
	return ret;
}

/* ---- */

/* @return the home of a new user, made */
static const char *new_user(const char *driver)
{
	const char *home;

	hold_user(driver, NULL);
	ck_assert_int_gt(mail_user_get_home(hold_fixture.ctx->user, &home), 0);
	ck_assert(mkdir(home, 0700) == 0 || errno == EEXIST);
	return home;
}

static struct rst_probe probe_run(void)
{
	struct mail_user *user = hold_fixture.ctx->user;
	struct rst_probe probe;

	ck_assert_int_eq(rst_probe_find(user, &hold_fixture.set, &probe), 0);
	rst_probe_run(user, &hold_fixture.set, &probe);
	return probe;
}

static unsigned int files_of(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned int count = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			count++;
	(void)closedir(dir);
	return count;
}

START_TEST(test_no_hold_yet)
{
	const char *home = new_user(hold_drivers[_i]);
	struct rst_probe probe;
	unsigned int before;

	before = files_of(home);
	probe = probe_run();
	ck_assert_str_eq(probe.driver, hold_drivers[_i]);
	ck_assert_str_eq(probe.root, t_strconcat(home, "/restante", NULL));
	ck_assert(!probe.exists);
	ck_assert_ptr_null(probe.problem);
	ck_assert(!probe.transformed);
	ck_assert_uint_eq(files_of(home), before);
}
END_TEST

START_TEST(test_hold_is_there)
{
	struct rst_hold hold;
	struct rst_probe probe;
	unsigned int before;

	hold_user(hold_drivers[_i], NULL);
	hold = hold_opened();
	rst_hold_close(&hold);
	(void)probe_run();
	probe = probe_run();
	before = files_of(probe.root);
	ck_assert(probe.exists);
	ck_assert_ptr_null(probe.problem);
	ck_assert(!probe.transformed);
	probe = probe_run();
	ck_assert_uint_eq(files_of(probe.root), before);
	ck_assert_uint_eq(hold_status().messages, 0);
}
END_TEST

START_TEST(test_other_octets)
{
	const char *home = new_user("sdbox");
	struct rst_probe probe;
	unsigned int before;

	before = files_of(home);
	storage = _i;
	probe = probe_run();
	storage = KEEPS;
	ck_assert_ptr_nonnull(probe.problem);
	ck_assert_ptr_nonnull(strstr(probe.problem, "not what was saved"));
	ck_assert_ptr_nonnull(probe.mend);
	ck_assert_uint_eq(files_of(home), before);
}
END_TEST

/* What the user's own storage is told does not concern the hold. */
START_TEST(test_settings_of_users_storage)
{
	static const char *const fields[] = {"restante=yes",
					     "mail_save_crlf=yes",
					     "mail_index_path=/nonexistent/i",
					     "mail_control_path=/nonexistent/c",
					     "mail_alt_path=/nonexistent/a",
					     "mailbox_list_layout=index",
					     NULL};
	struct rst_hold hold;
	const char *path;

	hold_user(hold_drivers[_i], fields);
	hold_put("", "S: x\n\nbody\n", 11);
	hold = hold_opened();
	ck_assert_int_eq(mailbox_get_path_to(
				 hold.box, MAILBOX_LIST_PATH_TYPE_INDEX, &path),
			 1);
	ck_assert_str_eq(path, hold.dir);
	ck_assert_int_eq(mailbox_get_path_to(hold.box,
					     MAILBOX_LIST_PATH_TYPE_CONTROL,
					     &path),
			 1);
	ck_assert_str_eq(path, hold.dir);
	rst_hold_close(&hold);
}
END_TEST

/* A colon in a path means something in a location. */
START_TEST(test_colon_in_path)
{
	const char *home = new_user("sdbox");
	struct rst_probe probe;

	ck_assert_int_eq(mkdir(t_strconcat(home, "/a:b", NULL), 0700), 0);
	hold_fixture.set.hold_location = "sdbox:~/a::b/hold";
	probe = probe_run();
	ck_assert_str_eq(probe.root, t_strconcat(home, "/a:b/hold", NULL));
	ck_assert_ptr_null(probe.problem);
	ck_assert_uint_eq(files_of(t_strconcat(home, "/a:b", NULL)), 0);
}
END_TEST

START_TEST(test_no_such_driver)
{
	struct rst_probe probe;

	hold_user("sdbox", NULL);
	hold_fixture.set.hold_location = "nosuch:~/restante";
	ck_assert_int_eq(rst_probe_find(hold_fixture.ctx->user,
					&hold_fixture.set, &probe),
			 -1);
	ck_assert_ptr_nonnull(strstr(probe.problem, "nosuch"));
	ck_assert_ptr_nonnull(probe.mend);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("probe");
	TCase *tcase = tcase_create("probe");

	tcase_add_checked_fixture(tcase, hold_setup, hold_teardown);
	tcase_add_loop_test(tcase, test_no_hold_yet, 0, N_DRIVERS);
	tcase_add_loop_test(tcase, test_hold_is_there, 0, N_DRIVERS);
	tcase_add_loop_test(tcase, test_other_octets, CHANGES, ADDS + 1);
	tcase_add_loop_test(tcase, test_settings_of_users_storage, 0,
			    N_DRIVERS);
	tcase_add_test(tcase, test_colon_in_path);
	tcase_add_test(tcase, test_no_such_driver);
	suite_add_tcase(s, tcase);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
