/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "unlink-directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* lib.h's and test-util.h's do the same */
#undef N_ELEMENTS
#include "hold/tombstones.h"
#include "test-util.h"

#define NOW 1000000
#define KEEP 1000
#define K "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FILE_NAME "restante.tombstones"

static char dir[64], path[128];
static const unsigned char key[RST_KEY_SIZE] = {0x00, 0x11, 0x22, 0xff};

static void setup(void)
{
	i_strocpy(dir, "/tmp/restante-test.XXXXXX", sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)i_snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
}

static void teardown(void)
{
	const char *error;

	ck_assert_int_eq(
		unlink_directory(dir, UNLINK_DIRECTORY_FLAG_RMDIR, &error), 1);
}

static struct rst_tombstones *must_open(void)
{
	struct rst_tombstones *t;
	const char *error;

	ck_assert_int_eq(rst_tombstones_open(dir, &t, &error), 0);
	return t;
}

static void put_file(const char *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, size), size);
	ck_assert_int_eq(close(fd), 0);
}

static const char *get_file(void)
{
	static char data[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, data, sizeof(data) - 1);

	ck_assert_int_ge(n, 0);
	data[n] = '\0';
	ck_assert_int_eq(close(fd), 0);
	return data;
}

START_TEST(test_add)
{
	struct rst_tombstones *t = must_open();
	const char *error;

	ck_assert(!rst_tombstones_has(t, "a"));
	rst_tombstones_add(t, "a", key, NOW);
	ck_assert(rst_tombstones_has(t, "a"));
	/* a tombstone that is added twice is written once */
	rst_tombstones_add(t, "a", key, NOW);
	ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
	rst_tombstones_add(t, "a", key, NOW);
	rst_tombstones_add(t, "b", key, NOW + 1);
	ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
	rst_tombstones_add(t, "c", key, NOW);
	rst_tombstones_close(&t);
	ck_assert_str_eq(get_file(),
			 "a\t001122ff0000000000000000000000000000000000000000"
			 "0000000000000000\t1000000\n"
			 "b\t001122ff0000000000000000000000000000000000000000"
			 "0000000000000000\t1000001\n");
	t = must_open();
	ck_assert(rst_tombstones_has(t, "a"));
	ck_assert(rst_tombstones_has(t, "b"));
	ck_assert(!rst_tombstones_has(t, "c"));
	rst_tombstones_close(&t);
}
END_TEST

#define LINE(id, time) id "\t" K "\t" #time "\n"

/* Files that a crash, or another version, has left: "a" has a tombstone, "b"
   has none. */
static const struct rst_str damaged[] = {
	RST_STR(LINE("a", 999999)),
	RST_STR(LINE("a", 999999) "b"),
	RST_STR(LINE("a", 999999) "b\t" K "\t99"),
	RST_STR(LINE("a", 999999) "b\t" K "\t999999"),
	RST_STR(LINE("a", 999999) "\0\0\0\0"),
	RST_STR(LINE("a", 999999) "\0\0\0\0\n"),
	RST_STR("\n" LINE("a", 999999) "b\n\n"),
	RST_STR("b\t" K "\n" LINE("a", 999999)),
	RST_STR("b\t" K "\tx\n" LINE("a", 999999)),
	RST_STR("b\t" K "\t1\t2\n" LINE("a", 999999)),
	RST_STR("b\t" K "00\t999999\n" LINE("a", 999999)),
	RST_STR("b\t0011\t999999\n" LINE("a", 999999)),
	RST_STR("b\tnot hex\t999999\n" LINE("a", 999999)),
	RST_STR(LINE("../b", 999999) LINE("a", 999999)),
};

START_TEST(test_damaged)
{
	struct rst_tombstones *t;
	const char *error;

	put_file(damaged[_i].p, damaged[_i].n);
	t = must_open();
	ck_assert(rst_tombstones_has(t, "a"));
	ck_assert(!rst_tombstones_has(t, "b"));
	/* and the next line is a line of its own */
	rst_tombstones_add(t, "n", key, NOW);
	ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
	rst_tombstones_close(&t);
	t = must_open();
	ck_assert(rst_tombstones_has(t, "a"));
	ck_assert(!rst_tombstones_has(t, "b"));
	ck_assert(rst_tombstones_has(t, "n"));
	rst_tombstones_close(&t);
}
END_TEST

START_TEST(test_cut)
{
	static const char whole[] = LINE("a", 999999) LINE("b", 999999);
	size_t a = strlen(LINE("a", 999999));
	struct rst_tombstones *t;
	const char *error;
	size_t cut;

	for (cut = 0; cut < sizeof(whole); cut++) {
		put_file(whole, cut);
		t = must_open();
		ck_assert_int_eq(rst_tombstones_has(t, "a"), cut >= a);
		ck_assert_int_eq(rst_tombstones_has(t, "b"), cut == 2 * a);
		rst_tombstones_add(t, "n", key, NOW);
		ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
		rst_tombstones_close(&t);
		t = must_open();
		ck_assert(rst_tombstones_has(t, "n"));
		rst_tombstones_close(&t);
	}
}
END_TEST

START_TEST(test_compact)
{
	struct rst_tombstones *t;
	const char *error;

	/* one old tombstone in five is not worth a new file, one in three is */
	put_file(LINE("a", 1) LINE("b", 999999) LINE("c", 999999)
			 LINE("d", 999999) LINE("e", 999999),
		 5 * strlen(LINE("b", 999999)) - 5);
	t = must_open();
	ck_assert_int_eq(rst_tombstones_trim(t, NOW - KEEP, &error), 0);
	rst_tombstones_close(&t);
	ck_assert_int_eq(strncmp(get_file(), "a\t", 2), 0);

	put_file(LINE("a", 1) LINE("b", 999999) LINE("c", 999999),
		 3 * strlen(LINE("b", 999999)) - 5);
	t = must_open();
	/* an old tombstone counts until the trim */
	ck_assert(rst_tombstones_has(t, "a"));
	ck_assert_int_eq(rst_tombstones_trim(t, NOW - KEEP, &error), 0);
	ck_assert(!rst_tombstones_has(t, "a"));
	ck_assert_ptr_null(strstr(get_file(), "a\t"));
	ck_assert_ptr_nonnull(strstr(get_file(), LINE("b", 999999)));
	ck_assert_ptr_nonnull(strstr(get_file(), LINE("c", 999999)));
	/* the file that is open now is the new one */
	rst_tombstones_add(t, "n", key, NOW);
	ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
	rst_tombstones_close(&t);
	ck_assert_ptr_nonnull(strstr(get_file(), "n\t"));
}
END_TEST

static void must_not_be_called(const unsigned char *of ATTR_UNUSED,
			       void *context ATTR_UNUSED)
{
	ck_abort();
}

/* A reader changes nothing, not even a torn line. */
START_TEST(test_read)
{
	static const unsigned char zero[RST_KEY_SIZE];
	static const char torn[] = LINE("a", 1) "b\t" K;
	struct rst_tombstones *t;
	const char *error;

	ck_assert_int_eq(rst_tombstones_read(dir, &t, &error), 0);
	rst_tombstones_each_key(t, must_not_be_called, NULL);
	rst_tombstones_close(&t);
	ck_assert_int_eq(access(path, F_OK), -1);

	put_file(torn, strlen(torn));
	ck_assert_int_eq(rst_tombstones_read(dir, &t, &error), 0);
	ck_assert(rst_tombstones_has(t, "a"));
	ck_assert(!rst_tombstones_has_key(t, key));
	ck_assert(!rst_tombstones_has_key(t, zero));
	rst_tombstones_close(&t);
	ck_assert_str_eq(get_file(), torn);
}
END_TEST

START_TEST(test_key)
{
	static const unsigned char zero[RST_KEY_SIZE];
	struct rst_tombstones *t = must_open();
	const char *error;

	rst_tombstones_add(t, "a", key, NOW);
	rst_tombstones_add(t, "z", zero, NOW);
	ck_assert(rst_tombstones_has_key(t, key));
	ck_assert(!rst_tombstones_has_key(t, zero));
	ck_assert_int_eq(rst_tombstones_commit(t, &error), 0);
	rst_tombstones_close(&t);
	t = must_open();
	ck_assert(rst_tombstones_has_key(t, key));
	ck_assert(!rst_tombstones_has_key(t, zero));
	ck_assert_int_eq(rst_tombstones_trim(t, NOW + 1, &error), 0);
	ck_assert(!rst_tombstones_has_key(t, key));
	rst_tombstones_close(&t);
}
END_TEST

START_TEST(test_no_dir)
{
	struct rst_tombstones *t;
	const char *error = NULL;

	ck_assert_int_eq(rst_tombstones_open("/nonexistent", &t, &error), -1);
	ck_assert_ptr_null(t);
	ck_assert_ptr_nonnull(error);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-tombstone");
	TCase *tc = tcase_create("tombstone");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_add);
	tcase_add_loop_test(tc, test_damaged, 0, (int)N_ELEMENTS(damaged));
	tcase_add_test(tc, test_cut);
	tcase_add_test(tc, test_compact);
	tcase_add_test(tc, test_read);
	tcase_add_test(tc, test_key);
	tcase_add_test(tc, test_no_dir);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	int ret;

	lib_init();
	ret = test_run(suite());
	lib_deinit();
	return ret;
}
