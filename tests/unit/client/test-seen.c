/* SPDX-License-Identifier: MIT */
#include "fault.h"
#include "seen.h"

#define ID(text) RST_STR(text)

static struct seen *open_log(void)
{
	struct seen *seen = seen_open(temp_dir);

	ck_assert_ptr_nonnull(seen);
	return seen;
}

static struct rst_str number_id(unsigned int n)
{
	static char id[32];

	(void)snprintf(id, sizeof(id), "id-%u", n);
	return rst_str(id);
}

/* @return ids in the file that are not forgotten */
static size_t live_ids(void)
{
	size_t n, count = 0;
	char *text = temp_read(temp_path(SEEN_FILE), &n), *line, *rest = text;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0')
		count += strstr(line, "\t-") == NULL ? 1 : (size_t)-1;
	free(text);
	return count;
}

static void check_file(const char *want)
{
	size_t n;
	char *text = temp_read(temp_path(SEEN_FILE), &n);

	ck_assert_str_eq(text, want);
	free(text);
}

START_TEST(test_note_and_flush)
{
	struct seen *seen = open_log();

	ck_assert_int_eq(seen_newest(seen), 0);
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_UNKNOWN);
	seen_note(seen, ID("a"), 1000);
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_NOTED);
	seen_note(seen, ID("b"), 2000);
	seen_note(seen, ID("b"), 3000);
	ck_assert_int_eq(seen_flush(seen), 0);
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_LOGGED);
	ck_assert_int_eq(seen_newest(seen), 2000);
	check_file("a\t1000\nb\t2000\n");
	seen_free(&seen);

	seen = open_log();
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("b")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("c")), SEEN_UNKNOWN);
	ck_assert_int_eq(seen_newest(seen), 2000);
	seen_free(&seen);
}
END_TEST

START_TEST(test_ids_that_are_none)
{
	static const char *const ids[] = {"", "a b", "../x", "a\tb", "a\nb"};
	struct seen *seen = open_log();
	size_t i;

	for (i = 0; i < N_ELEMENTS(ids); i++) {
		seen_note(seen, rst_str(ids[i]), 1);
		ck_assert_int_eq(seen_find(seen, rst_str(ids[i])),
				 SEEN_UNKNOWN);
		seen_forget(seen, rst_str(ids[i]));
	}
	ck_assert_int_eq(seen_flush(seen), 0);
	check_file("");
	seen_free(&seen);
}
END_TEST

/* Cut at every octet: whole lines count, and the next line is not damaged. */
START_TEST(test_torn_line)
{
	static const char text[] = "one\t11\ntwo\t22\none\t-\nthree\t33\n";
	size_t cut;

	for (cut = 0; cut < sizeof(text); cut++) {
		struct seen *seen;

		temp_write(SEEN_FILE, text, cut);
		seen = open_log();
		ck_assert_int_eq(seen_find(seen, ID("one")) == SEEN_LOGGED,
				 cut >= 7 && cut < 20);
		ck_assert_int_eq(seen_find(seen, ID("two")) == SEEN_LOGGED,
				 cut >= 14);
		ck_assert_int_eq(seen_find(seen, ID("three")) == SEEN_LOGGED,
				 cut >= 29);
		seen_note(seen, ID("next"), 44);
		ck_assert_int_eq(seen_flush(seen), 0);
		seen_free(&seen);

		seen = open_log();
		ck_assert_int_eq(seen_find(seen, ID("two")) == SEEN_LOGGED,
				 cut >= 14);
		ck_assert_int_eq(seen_find(seen, ID("next")), SEEN_LOGGED);
		ck_assert_int_eq(seen_newest(seen), 44);
		seen_free(&seen);
	}
}
END_TEST

static const struct {
	const char *line;
	size_t n;
} bad_lines[] = {
	{"\n", 1},
	{"x\n", 2},
	{"x\t\n", 3},
	{"\t5\n", 3},
	{"x\t-5\n", 5},
	{"x\t5 \n", 5},
	{"x\t5\t5\n", 6},
	{"x 5\n", 4},
	{"x\t\0\0\n", 5},
	{"\0\0\0\0\n", 5},
	{"\xc3\xa4\t5\n", 5},
	{"x\t99999999999999999999\n", 23},
	{"x\t253402300800\n", 15}, /* the year 10000 */
	{"x\t--\n", 5},
	{"0123456789012345678901234567890123456789012345678901234567890123456"
	 "\t5\n",
	 70},
};

START_TEST(test_bad_line)
{
	char text[256] = "before\t1\n";
	size_t n = strlen(text);
	struct seen *seen;

	memcpy(text + n, bad_lines[_i].line, bad_lines[_i].n);
	n += bad_lines[_i].n;
	memcpy(text + n, "after\t2\n", 8);
	temp_write(SEEN_FILE, text, n + 8);
	seen = open_log();
	ck_assert_int_eq(seen_find(seen, ID("before")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("after")), SEEN_LOGGED);
	ck_assert(seen_damaged(seen));
	seen_mend(seen);
	ck_assert(!seen_damaged(seen));
	check_file("before\t1\nafter\t2\n");
	seen_note(seen, ID("next"), 3);
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_free(&seen);
	seen = open_log();
	ck_assert(!seen_damaged(seen));
	check_file("before\t1\nafter\t2\nnext\t3\n");
	seen_free(&seen);
}
END_TEST

START_TEST(test_forget)
{
	struct seen *seen = open_log();

	seen_note(seen, ID("a"), 1);
	seen_note(seen, ID("b"), 1);
	seen_forget(seen, ID("b")); /* not logged: it stays */
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_note(seen, ID("c"), 1);
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_forget(seen, ID("a"));
	seen_forget(seen, ID("nobody"));
	check_file("a\t1\nb\t1\nc\t1\na\t-\n");
	seen_note(seen, ID("d"), 1);
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_free(&seen);
	seen = open_log();
	check_file("a\t1\nb\t1\nc\t1\na\t-\nd\t1\n");
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_FORGOTTEN);
	ck_assert_int_eq(seen_find(seen, ID("b")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("c")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("d")), SEEN_LOGGED);
	seen_note(seen, ID("a"), 5); /* the server breaks its promise */
	ck_assert_int_eq(seen_find(seen, ID("a")), SEEN_FORGOTTEN);
	seen_free(&seen);
}
END_TEST

#define MANY 1000
#define KEPT 100
/* An id that is forgotten at YOUNG is dead at LATER. */
#define YOUNG 2000
#define LATER (YOUNG + SEEN_KEEP_SECS + 1)

/* Let the log grow as from day to day: it has dead lines, not compacted yet. */
static void add_many(struct seen *seen)
{
	unsigned int i;

	for (i = 0; i < MANY; i++)
		seen_note(seen, number_id(i), i);
	seen_note(seen, ID("young"), YOUNG);
	ck_assert_int_eq(seen_flush(seen), 0);
	for (i = 0; i < MANY - KEPT; i++)
		seen_forget(seen, number_id(i));
	seen_note(seen, ID("a"), LATER);
	seen_note(seen, ID("forgotten"), LATER);
	ck_assert_int_eq(seen_flush(seen), 0);
}

/* The first id that is forgotten makes the log worth writing anew. */
static void forget_some(void)
{
	struct seen *seen = open_log();

	seen_forget(seen, ID("a"));
	seen_forget(seen, ID("forgotten"));
	seen_note(seen, ID("after"), LATER);
	(void)seen_flush(seen);
	seen_free(&seen);
}

static void check_kept(void)
{
	struct seen *seen = open_log();
	unsigned int i;

	for (i = MANY - KEPT; i < MANY; i++)
		ck_assert_int_eq(seen_find(seen, number_id(i)), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, ID("young")), SEEN_LOGGED);
	ck_assert_int_ne(seen_find(seen, ID("forgotten")), SEEN_UNKNOWN);
	ck_assert(!seen_damaged(seen));
	seen_free(&seen);
}

static size_t log_octets(void)
{
	size_t n;

	free(temp_read(temp_path(SEEN_FILE), &n));
	return n;
}

static char *make_log(size_t *n_r)
{
	struct seen *seen = open_log();

	add_many(seen);
	seen_free(&seen);
	return temp_read(temp_path(SEEN_FILE), n_r);
}

START_TEST(test_compact)
{
	struct seen *seen;
	size_t n;

	free(make_log(&n));
	ck_assert_uint_gt(n, 12000);
	forget_some();
	ck_assert_uint_lt(log_octets(), 3000);
	check_kept();
	seen = open_log();
	ck_assert_uint_eq(live_ids(), KEPT + 2);
	ck_assert_int_eq(seen_find(seen, number_id(0)), SEEN_UNKNOWN);
	ck_assert_int_eq(seen_find(seen, ID("forgotten")), SEEN_FORGOTTEN);
	ck_assert_int_eq(seen_find(seen, ID("after")), SEEN_LOGGED);
	seen_free(&seen);
}
END_TEST

/* An id that was known for long is kept for a while after it is forgotten. */
START_TEST(test_kept_after_forgetting)
{
	struct seen *seen;
	size_t n;
	char *log = make_log(&n);

	seen = open_log();
	seen_forget(seen, number_id(MANY - 1));
	seen_note(seen, ID("next"), LATER + SEEN_KEEP_SECS);
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_mend(seen);
	ck_assert_int_eq(seen_find(seen, number_id(MANY - 1)), SEEN_FORGOTTEN);
	seen_note(seen, ID("last"), LATER + SEEN_KEEP_SECS + 1);
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_mend(seen);
	ck_assert_int_eq(seen_find(seen, number_id(MANY - 1)), SEEN_UNKNOWN);
	seen_free(&seen);
	free(log);
}
END_TEST

/* Stopped at each step, the log still knows the ids that are not forgotten. */
START_TEST(test_crash)
{
	int step;
	size_t n;
	char *before = make_log(&n);

	for (step = 1; fault_crashes(step, forget_some); step++) {
		check_kept();
		temp_write(SEEN_FILE, before, n);
	}
	ck_assert_int_gt(step, 7);
	free(before);
}
END_TEST

/* A log that cannot be compacted is used as it is. The ids known after such a
   failure are also known after a power cut. */
START_TEST(test_compact_fails)
{
	size_t n, octets, large = 0, small = 0;
	char *before = make_log(&n);
	struct seen *seen;
	int step;

	for (step = 2; step <= 8; step++) {
		temp_write(SEEN_FILE, before, n);
		fault_set(0, step, EIO);
		forget_some();
		fault_set(0, 0, 0);
		octets = log_octets();
		large = octets > large ? octets : large;
		small = small == 0 || octets < small ? octets : small;
		ck_assert_uint_eq(temp_count("", ".new", NULL), 0);
		check_kept();
		seen = open_log();
		seen_note(seen, ID("next"), 1);
		ck_assert_int_eq(seen_flush(seen), 0);
		seen_free(&seen);
		check_kept();
	}
	/* some of these steps did fail */
	ck_assert_uint_gt(large, small + 1000);
	free(before);
}
END_TEST

/* The name of a log that was written anew has to be durable before a line is
   added, which a power cut would take away with the name. */
START_TEST(test_directory_before_lines)
{
	size_t n;
	char *before = make_log(&n);
	struct seen *seen = open_log();

	/* line, the copy's fsync, rename, the directory's fsync */
	fault_set(0, 4, EIO);
	seen_forget(seen, ID("a"));
	ck_assert_int_eq(fault_step, 4);
	ck_assert_uint_lt(log_octets(), 3000);
	seen_note(seen, ID("next"), LATER);
	fault_set(0, 1, EIO);
	ck_assert_int_eq(seen_flush(seen), -1);
	ck_assert_int_eq(fault_step, 1);
	ck_assert_int_eq(seen_flush(seen), 0);
	ck_assert_int_eq(fault_step, 4); /* directory, line, its sync */
	seen_free(&seen);
	free(before);
}
END_TEST

/* Each step of a flush fails once: it says so, and the next flush mends it. */
START_TEST(test_flush_fails)
{
	struct seen *seen = open_log();
	int step;

	seen_note(seen, ID("first"), 1);
	ck_assert_int_eq(seen_flush(seen), 0);
	for (step = 1; step <= 2; step++) {
		seen_note(seen, number_id((unsigned int)step), 7);
		fault_set(0, step, ENOSPC);
		ck_assert_int_eq(seen_flush(seen), -1);
		ck_assert_int_eq(errno, ENOSPC);
		ck_assert_int_eq(seen_find(seen, number_id((unsigned int)step)),
				 SEEN_NOTED);
	}
	ck_assert_int_eq(seen_flush(seen), 0);
	seen_free(&seen);
	seen = open_log();
	ck_assert_int_eq(seen_find(seen, ID("first")), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, number_id(1)), SEEN_LOGGED);
	ck_assert_int_eq(seen_find(seen, number_id(2)), SEEN_LOGGED);
	check_file("first\t1\nid-1\t7\nid-2\t7\n");
	seen_free(&seen);
}
END_TEST

START_TEST(test_no_directory)
{
	ck_assert_ptr_null(seen_open(temp_path("nowhere")));
}
END_TEST

static Suite *seen_suite(void)
{
	Suite *suite = suite_create("seen");
	TCase *tc = tcase_create("seen");

	tcase_add_checked_fixture(tc, temp_dir_make, temp_dir_remove);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_note_and_flush);
	tcase_add_test(tc, test_ids_that_are_none);
	tcase_add_test(tc, test_torn_line);
	tcase_add_loop_test(tc, test_bad_line, 0, (int)N_ELEMENTS(bad_lines));
	tcase_add_test(tc, test_forget);
	tcase_add_test(tc, test_compact);
	tcase_add_test(tc, test_kept_after_forgetting);
	tcase_add_test(tc, test_crash);
	tcase_add_test(tc, test_flush_fails);
	tcase_add_test(tc, test_compact_fails);
	tcase_add_test(tc, test_directory_before_lines);
	tcase_add_test(tc, test_no_directory);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return test_run(seen_suite());
}
