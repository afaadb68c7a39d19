/* SPDX-License-Identifier: MIT */
/* A file that is appended to, stopped and failed at each system call. */
#include "lib.h"
#include "str.h"

#include <fcntl.h>
#include <sys/stat.h>

/* lib.h's and test-util.h's do the same */
#undef N_ELEMENTS
#include "fault.h"
#include "hold/log.h"

#define NAME "log"

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);

int __wrap_rename(const char *from, const char *to)
{
	return fault_next() ? -1 : __real_rename(from, to);
}

int __wrap_ftruncate(int fd, off_t size)
{
	return fault_next() ? -1 : __real_ftruncate(fd, size);
}

static void setup(void)
{
	fault_set(0, 0, 0);
	temp_dir_make();
}

static void teardown(void)
{
	fault_set(0, 0, 0);
	temp_dir_remove();
}

static struct rst_log *must_open(bool durable)
{
	struct rst_log *log;
	const char *error;

	ck_assert_int_eq(rst_log_open(temp_dir, NAME, durable, &log, &error),
			 0);
	return log;
}

static void must_append(struct rst_log *log, const char *text)
{
	const char *error;

	ck_assert_int_eq(rst_log_append(log, text, strlen(text), TRUE, &error),
			 0);
}

static void must_have(const char *want, size_t size)
{
	size_t n;
	char *text = temp_read(temp_path(NAME), &n);

	ck_assert_uint_eq(n, size);
	ck_assert_mem_eq(text, want, size);
	free(text);
}

static void append_shown(const char *line, void *context)
{
	string_t *shown = context;

	str_printfa(shown, "%s|", line);
}

static void must_show(struct rst_log *log, const char *want)
{
	string_t *shown = t_str_new(64);
	const char *error;

	ck_assert_int_eq(rst_log_each_line(log, append_shown, shown, &error),
			 0);
	ck_assert_str_eq(str_c(shown), want);
}

/* ---- reading */

static const struct {
	struct rst_str file;
	const char *lines;
	size_t whole; /* octets of them */
} files[] = {
	{RST_STR(""), "", 0},
	{RST_STR("a\n"), "a|", 2},
	{RST_STR("a\nb\n"), "a|b|", 4},
	{RST_STR("\n\na\n\n"), "||a||", 5},
	/* torn */
	{RST_STR("a"), "", 0},
	{RST_STR("a\nb"), "a|", 2},
	{RST_STR("a\nb\nc"), "a|b|", 4},
	{RST_STR("a\n\0\0\0"), "a|", 2},
	/* zeros of a power cut, with lines after them */
	{RST_STR("a\n\0\0\nb\n"), "a||b|", 7},
	{RST_STR("a\0b\nc\n"), "a|c|", 6},
};

START_TEST(test_lines)
{
	struct rst_str file = files[_i].file;
	struct rst_log *log;
	const char *error;

	temp_write(NAME, file.p, file.n);
	ck_assert_int_eq(rst_log_open_readonly(temp_dir, NAME, &log, &error),
			 0);
	must_show(log, files[_i].lines);
	rst_log_close(&log);
	must_have(file.p, file.n);

	log = must_open(TRUE);
	must_show(log, files[_i].lines);
	ck_assert_int_eq(rst_log_cut(log, &error), 0);
	must_have(file.p, files[_i].whole);
	must_append(log, "n\n");
	must_show(log, t_strconcat(files[_i].lines, "n|", NULL));
	rst_log_close(&log);
}
END_TEST

/* More than one read gives, and a line longer than that. */
START_TEST(test_long)
{
	string_t *file = str_new(default_pool, 400000);
	struct rst_log *log;
	string_t *shown = str_new(default_pool, 400000);
	const char *error;
	unsigned int i;

	for (i = 0; i < 10000; i++)
		str_printfa(file, "line %u|", i);
	for (i = 0; i < 100000; i++)
		str_append_c(file, 'x');
	str_append_c(file, '|');
	for (i = 0; i < str_len(file); i++)
		if (str_data(file)[i] == '|')
			str_c_modifiable(file)[i] = '\n';
	temp_write(NAME, str_c(file), str_len(file));
	log = must_open(FALSE);
	ck_assert_int_eq(rst_log_each_line(log, append_shown, shown, &error),
			 0);
	ck_assert_uint_eq(str_len(shown), str_len(file));
	ck_assert_int_eq(rst_log_cut(log, &error), 0);
	must_have(str_c(file), str_len(file));
	rst_log_close(&log);
	str_free(&file);
	str_free(&shown);
}
END_TEST

START_TEST(test_read)
{
	buffer_t *data = buffer_create_dynamic(default_pool, 16);
	static char zeros[10000];
	struct rst_log *log;
	const char *error;

	temp_write(NAME, "abc", 3);
	log = must_open(FALSE);
	ck_assert_int_eq(rst_log_read(log, 3, data, &error), 0);
	ck_assert_uint_eq(data->used, 3);
	ck_assert_mem_eq(data->data, "abc", 3);
	rst_log_close(&log);
	/* it is larger than wanted: the caller learns that, at no more cost */
	temp_write(NAME, zeros, sizeof(zeros));
	log = must_open(FALSE);
	buffer_set_used_size(data, 0);
	ck_assert_int_eq(rst_log_read(log, 100, data, &error), 0);
	ck_assert_uint_gt(data->used, 100);
	ck_assert_uint_lt(data->used, sizeof(zeros));
	rst_log_close(&log);
	buffer_free(&data);
}
END_TEST

START_TEST(test_tail)
{
	struct rst_log *log;
	const char *error;
	char tail[3];

	ck_assert_int_eq(rst_log_open_readonly(temp_dir, NAME, &log, &error),
			 0);
	ck_assert(!rst_log_read_tail(log, tail, 3));
	rst_log_close(&log);
	log = must_open(FALSE);
	ck_assert(!rst_log_read_tail(log, tail, 3));
	must_append(log, "ab");
	ck_assert(!rst_log_read_tail(log, tail, 3));
	must_append(log, "cd");
	ck_assert(rst_log_read_tail(log, tail, 3));
	ck_assert_mem_eq(tail, "bcd", 3);
	rst_log_close(&log);
}
END_TEST

/* A reader makes no file; and says what it cannot read. */
START_TEST(test_readonly)
{
	struct rst_log *log;
	const char *error = NULL;

	ck_assert_int_eq(rst_log_open_readonly(temp_dir, NAME, &log, &error),
			 0);
	must_show(log, "");
	rst_log_close(&log);
	ck_assert_int_eq(access(temp_path(NAME), F_OK), -1);
	ck_assert_int_eq(mkdir(temp_path(NAME), 0700), 0);
	ck_assert_int_eq(rst_log_open_readonly(temp_dir, NAME, &log, &error),
			 0);
	ck_assert_int_eq(rst_log_each_line(log, append_shown, NULL, &error),
			 -1);
	ck_assert_ptr_nonnull(error);
	rst_log_close(&log);
}
END_TEST

START_TEST(test_no_dir)
{
	struct rst_log *log;
	const char *error = NULL;

	ck_assert_int_eq(rst_log_open("/nonexistent", NAME, TRUE, &log, &error),
			 -1);
	ck_assert_ptr_null(log);
	ck_assert_ptr_nonnull(error);
}
END_TEST

/* ---- writing */

START_TEST(test_clear)
{
	struct rst_log *log = must_open(TRUE);
	const char *error;

	must_append(log, "a\n");
	ck_assert_int_eq(rst_log_clear(log, &error), 0);
	must_have("", 0);
	must_append(log, "b\n");
	ck_assert_int_eq(rst_log_cut(log, &error), 0);
	must_have("b\n", 2);
	rst_log_close(&log);
}
END_TEST

/* What another process has begun to write is no line of ours. */
START_TEST(test_cut)
{
	struct rst_log *log = must_open(TRUE);
	int fd = open(temp_path(NAME), O_WRONLY | O_APPEND);
	const char *error;

	must_append(log, "a\n");
	ck_assert_int_eq(write(fd, "half", 4), 4);
	ck_assert_int_eq(close(fd), 0);
	must_have("a\nhalf", 6);
	ck_assert_int_eq(rst_log_cut(log, &error), 0);
	must_append(log, "b\n");
	must_have("a\nb\n", 4);
	rst_log_close(&log);
}
END_TEST

START_TEST(test_replace)
{
	struct rst_log *log = must_open(TRUE);
	const char *error;

	must_append(log, "a\nb\nc\n");
	/* a crash has left it */
	temp_write(NAME ".new", "rest of another one\n", 20);
	ck_assert_int_eq(rst_log_replace(log, "b\n", 2, &error), 0);
	must_have("b\n", 2);
	ck_assert_int_eq(access(temp_path(NAME ".new"), F_OK), -1);
	/* the file that is open is the new one */
	must_append(log, "d\n");
	must_show(log, "b|d|");
	ck_assert_int_eq(rst_log_cut(log, &error), 0);
	must_have("b\nd\n", 4);
	rst_log_close(&log);
}
END_TEST

/* ---- stopped and failed at each step */

/* What is in the file, in this order. */
static const char *const stages[] = {"", "1\n", "1\n2\n", "3\n4\n",
				     "3\n4\n5\n"};
static bool durable;
static struct rst_log *the_log;

/* @return 0, or -1: the_log is NULL if it could not be opened */
static int work_on(void)
{
	const char *error;

	if (rst_log_open(temp_dir, NAME, durable, &the_log, &error) < 0 ||
	    rst_log_append(the_log, "1\n", 2, durable, &error) < 0 ||
	    rst_log_append(the_log, "2\n", 2, durable, &error) < 0 ||
	    rst_log_replace(the_log, "3\n4\n", 4, &error) < 0 ||
	    rst_log_append(the_log, "5\n", 2, durable, &error) < 0)
		return -1;
	rst_log_close(&the_log);
	return 0;
}

static void work(void)
{
	(void)work_on();
}

/* Writes, and whether each is made durable: the directory; two lines; file,
   name and directory of the replacement; a line. */
START_TEST(test_steps)
{
	durable = _i == 1;
	fault_set(0, 0, 0);
	ck_assert_int_eq(work_on(), 0);
	ck_assert_int_eq(fault_step, durable ? 1 + 4 + 4 + 2 : 2 + 2 + 1);
	must_have("3\n4\n5\n", 6);
	/* the entry of a file that has lines is durable by then */
	fault_set(0, 0, 0);
	the_log = must_open(durable);
	ck_assert_int_eq(fault_step, 0);
	rst_log_close(&the_log);
}
END_TEST

/* @return which stage the file is in */
static unsigned int get_stage(void)
{
	unsigned int i = 0;
	size_t n;
	char *text = temp_read(temp_path(NAME), &n);

	while (strlen(stages[i]) != n || memcmp(text, stages[i], n) != 0)
		ck_assert_uint_lt(++i, N_ELEMENTS(stages));
	free(text);
	return i;
}

/* Whenever the program ends, the file is whole, and what was written before is
   in it. */
START_TEST(test_crash)
{
	unsigned int stage, before = 0;
	int step;

	durable = _i == 1;
	for (step = 1; fault_crashes(step, work); step++) {
		stage = get_stage();
		ck_assert_uint_ge(stage, before);
		before = stage;
		/* and the next one goes on with it */
		the_log = must_open(durable);
		must_append(the_log, "n\n");
		rst_log_close(&the_log);
		ck_assert_int_eq(unlink(temp_path(NAME)), 0);
	}
	ck_assert_int_eq(step, durable ? 12 : 6);
	ck_assert_uint_eq(get_stage(), N_ELEMENTS(stages) - 1);
}
END_TEST

/* Whatever fails, nothing of it is left after a cut. */
START_TEST(test_fail)
{
	const char *error;
	unsigned int before;
	int step;

	durable = _i == 1;
	for (step = 1;; step++) {
		fault_set(0, step, ENOSPC);
		if (work_on() == 0)
			break;
		fault_set(0, 0, 0);
		if (the_log == NULL)
			the_log = must_open(durable);
		ck_assert_int_eq(rst_log_cut(the_log, &error), 0);
		before = get_stage();
		must_append(the_log, "n\n");
		must_have(t_strconcat(stages[before], "n\n", NULL),
			  strlen(stages[before]) + 2);
		rst_log_close(&the_log);
		ck_assert_int_eq(unlink(temp_path(NAME)), 0);
	}
	ck_assert_int_eq(step, durable ? 12 : 6);
}
END_TEST

/* A tail that cannot be cut off is reported. */
START_TEST(test_cut_fails)
{
	struct rst_log *log = must_open(TRUE);
	const char *error = NULL;

	fault_set(0, 1, EIO);
	ck_assert_int_eq(rst_log_cut(log, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "ftruncate("));
	rst_log_close(&log);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("log");
	TCase *tc = tcase_create("log");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_lines, 0, (int)N_ELEMENTS(files));
	tcase_add_test(tc, test_long);
	tcase_add_test(tc, test_read);
	tcase_add_test(tc, test_tail);
	tcase_add_test(tc, test_readonly);
	tcase_add_test(tc, test_no_dir);
	tcase_add_test(tc, test_clear);
	tcase_add_test(tc, test_cut);
	tcase_add_test(tc, test_replace);
	tcase_add_loop_test(tc, test_steps, 0, 2);
	tcase_add_loop_test(tc, test_crash, 0, 2);
	tcase_add_loop_test(tc, test_fail, 0, 2);
	tcase_add_test(tc, test_cut_fails);
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
