/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <stdio.h>
#include <string.h>

#include "restante/timetable.h"

#define CROWD 100000

static struct rst_timetable *timetable;

static void setup(void)
{
	timetable = rst_timetable_new();
}

static void teardown(void)
{
	rst_timetable_free(&timetable);
	ck_assert_ptr_null(timetable);
	rst_timetable_free(&timetable);
}

static void note(const char *user, int64_t due)
{
	rst_timetable_note(timetable, rst_str(user), due);
}

static void set(const char *user, int64_t due)
{
	rst_timetable_set(timetable, rst_str(user), due);
}

static void retry(const char *user, int64_t now)
{
	rst_timetable_retry(timetable, rst_str(user), now);
}

static void expect_take(int64_t now, const char *user)
{
	struct rst_str taken;

	ck_assert(rst_timetable_take(timetable, now, &taken));
	ck_assert_rst_str_eq(taken, user);
}

static void expect_nothing(int64_t now)
{
	struct rst_str taken;

	ck_assert(!rst_timetable_take(timetable, now, &taken));
}

static void expect_state(int64_t next, size_t count)
{
	ck_assert_int_eq(rst_timetable_next(timetable), next);
	ck_assert_uint_eq(rst_timetable_count(timetable), count);
}

START_TEST(test_order)
{
	expect_state(-1, 0);
	expect_nothing(INT64_MAX);
	note("late", 300);
	note("early", 100);
	note("middle", 200);
	expect_state(100, 3);
	expect_nothing(99);
	expect_take(100, "early");
	expect_nothing(100);
	expect_take(1000, "middle");
	expect_take(1000, "late");
	expect_nothing(1000);
	expect_state(-1, 3);
}
END_TEST

START_TEST(test_note_keeps_earlier)
{
	note("bob", 200);
	note("bob", 300);
	expect_state(200, 1);
	note("bob", 100);
	expect_state(100, 1);
	note("bob", -1);
	note("nobody", -5);
	expect_state(100, 1);
	note("bob", 0);
	expect_state(0, 1);
}
END_TEST

START_TEST(test_set)
{
	set("bob", 200);
	set("bob", 300);
	expect_state(300, 1);
	set("bob", 100);
	expect_state(100, 1);
	set("bob", -1);
	expect_state(-1, 0);
	set("bob", -1);
	set("nobody", -1);
	expect_state(-1, 0);
}
END_TEST

/* One sweep at a time takes a user; its end says when the next is due. */
START_TEST(test_sweep)
{
	note("bob", 100);
	expect_take(100, "bob");
	expect_nothing(1000);
	set("bob", 500);
	expect_state(500, 1);
	expect_take(500, "bob");
	set("bob", -1);
	expect_state(-1, 0);
}
END_TEST

/* Mail noted during a sweep does not begin a second sweep, and is not lost. */
START_TEST(test_noted_while_taken)
{
	note("bob", 100);
	expect_take(100, "bob");
	note("bob", 400);
	note("bob", 300);
	note("bob", 350);
	expect_state(-1, 1);
	expect_nothing(1000);
	set("bob", -1);
	expect_state(300, 1);
	expect_take(300, "bob");
	note("bob", 900);
	set("bob", 700);
	expect_state(700, 1);
	/* the noted time counted once */
	set("bob", 1000);
	expect_state(1000, 1);
	expect_take(1000, "bob");
	set("bob", -1);
	expect_state(-1, 0);
}
END_TEST

START_TEST(test_retry)
{
	static const int64_t delays[] = {60,   120,  240,  480, 960,
					 1920, 3600, 3600, 3600};
	int64_t now = 1700000000;
	size_t i;

	note("bob", now);
	for (i = 0; i < N_ELEMENTS(delays); i++) {
		expect_take(now, "bob");
		retry("bob", now);
		expect_state(now + delays[i], 1);
		expect_nothing(now + delays[i] - 1);
		now += delays[i];
	}
	/* a success resets the delay */
	expect_take(now, "bob");
	set("bob", now);
	expect_take(now, "bob");
	retry("bob", now);
	expect_state(now + 60, 1);
}
END_TEST

/* Mail that arrives does not bring a failing sweep back at once. */
START_TEST(test_retry_noted)
{
	note("bob", 100);
	expect_take(100, "bob");
	note("bob", 90);
	retry("bob", 100);
	expect_state(160, 1);
	set("bob", -1);
	expect_state(-1, 0);
	retry("stranger", 1000);
	expect_state(1060, 1);
}
END_TEST

static void watch(const char *user)
{
	rst_timetable_watch(timetable, rst_str(user));
}

static void see(const char *user, int64_t due)
{
	rst_timetable_seen(timetable, rst_str(user), due);
}

/* A drain has looked at all that is held: the mail that it left counts, and
   mail that it cannot have seen. */
START_TEST(test_seen)
{
	note("bob", 100);
	watch("bob");
	see("bob", -1);
	expect_state(-1, 0);
	/* the drain left mail, whatever was noted before it */
	note("bob", 100);
	watch("bob");
	see("bob", 200);
	expect_state(200, 1);
	/* and mail has arrived meanwhile */
	watch("bob");
	note("bob", 400);
	note("bob", 500);
	see("bob", -1);
	expect_state(400, 1);
	watch("bob");
	see("bob", -1);
	expect_state(-1, 0);
	/* of a user who was unknown when the drain began */
	watch("bob");
	note("bob", 100);
	see("bob", -1);
	expect_state(100, 1);
	see("eve", 50);
	see("nobody", -1);
	expect_state(50, 2);
}
END_TEST

/* A drain that was cut off reports nothing; the next one begins anew. */
START_TEST(test_watched_twice)
{
	note("bob", 100);
	watch("bob");
	note("bob", 200);
	watch("bob");
	see("bob", -1);
	expect_state(-1, 0);
}
END_TEST

/* Neither report removes what the other did not see. */
START_TEST(test_seen_while_taken)
{
	note("bob", 100);
	watch("bob");
	expect_take(100, "bob");
	see("bob", -1);
	expect_state(-1, 1);
	set("bob", 300);
	expect_state(300, 1);
	expect_take(300, "bob");
	watch("bob");
	note("bob", 400);
	see("bob", 350);
	set("bob", -1);
	expect_state(350, 1);
}
END_TEST

/* A sweep comes in between, and reports first. */
START_TEST(test_seen_late)
{
	note("bob", 100);
	watch("bob");
	expect_take(100, "bob");
	set("bob", 300);
	see("bob", -1);
	expect_state(300, 1);
	watch("bob");
	expect_take(300, "bob");
	retry("bob", 1000);
	see("bob", -1);
	expect_state(1060, 1);
	watch("bob");
	see("bob", -1);
	expect_state(-1, 0);
}
END_TEST

/* An old failure is not tried again each time the client comes. */
START_TEST(test_seen_while_delayed)
{
	note("bob", 100);
	expect_take(100, "bob");
	retry("bob", 1000);
	watch("bob");
	see("bob", 100);
	expect_state(1060, 1);
	see("bob", -1);
	expect_state(-1, 0);
}
END_TEST

static unsigned int read_all(struct rst_timetable_reader *reader)
{
	struct rst_str user;
	unsigned int n = 0;
	int64_t due;

	while (rst_timetable_reader_next(reader, &user, &due)) {
		ck_assert_int_eq(due, 100 + user.p[0]);
		n |= 1U << (user.p[0] - 'a');
	}
	return n;
}

START_TEST(test_reader)
{
	struct rst_timetable_reader *reader, *other;
	struct rst_str user;
	int64_t due;

	reader = rst_timetable_reader_new(timetable);
	ck_assert_uint_eq(read_all(reader), 0);
	note("a", 100 + 'a');
	ck_assert_uint_eq(read_all(reader), 0);
	rst_timetable_reader_free(&reader);
	ck_assert_ptr_null(reader);
	rst_timetable_reader_free(&reader);

	note("b", 100 + 'b');
	note("c", 100 + 'c');
	note("d", 100 + 'd');
	/* d, c, b, a: both readers' next entries are removed */
	reader = rst_timetable_reader_new(timetable);
	other = rst_timetable_reader_new(timetable);
	ck_assert(rst_timetable_reader_next(reader, &user, &due));
	ck_assert_rst_str_eq(user, "d");
	set("c", -1);
	set("d", -1);
	set("b", -1);
	note("e", 100 + 'e');
	ck_assert_uint_eq(read_all(reader), 1);
	ck_assert_uint_eq(read_all(other), 1);
	rst_timetable_reader_free(&other);
	set("a", -1);
	rst_timetable_reader_free(&reader);
	/* taken ones, too */
	expect_take(1000, "e");
	reader = rst_timetable_reader_new(timetable);
	ck_assert_uint_eq(read_all(reader), 16);
	rst_timetable_reader_free(&reader);
}
END_TEST

/* The view from _take may be given to _set. */
START_TEST(test_own_name)
{
	struct rst_str user;

	note("bob", 100);
	ck_assert(rst_timetable_take(timetable, 100, &user));
	rst_timetable_retry(timetable, user, 100);
	ck_assert(rst_timetable_take(timetable, 160, &user));
	rst_timetable_set(timetable, user, -1);
	expect_state(-1, 0);
}
END_TEST

/* Over many changes the timetable agrees with a list that is searched from end
   to end. */
#define USERS 50

static int64_t simple_next(const int64_t *users)
{
	int64_t next = -1;
	size_t i;

	for (i = 0; i < USERS; i++) {
		if (users[i] >= 0 && (next < 0 || users[i] < next))
			next = users[i];
	}
	return next;
}

static unsigned int lcg(unsigned int *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 16;
}

START_TEST(test_against_simple)
{
	int64_t users[USERS]; /* -1: none */
	unsigned int seed = (unsigned int)_i, step, k;
	int64_t due;
	char name[8];
	size_t i;

	for (i = 0; i < USERS; i++)
		users[i] = -1;
	for (step = 0; step < 3000; step++) {
		k = lcg(&seed) % USERS;
		due = lcg(&seed) % 1000;
		(void)snprintf(name, sizeof(name), "u%u", k);
		switch (lcg(&seed) % 4) {
		case 0:
			set(name, due);
			users[k] = due;
			break;
		case 1:
			set(name, -1);
			users[k] = -1;
			break;
		default:
			note(name, due);
			if (users[k] < 0 || due < users[k])
				users[k] = due;
			break;
		}
		ck_assert_int_eq(rst_timetable_next(timetable),
				 simple_next(users));
	}
}
END_TEST

/* A crowd comes, and every user is taken, in order, and none twice. */
START_TEST(test_crowd)
{
	static bool seen[CROWD];
	char name[40];
	struct rst_str user;
	int64_t now = -1, next;
	unsigned int i;

	for (i = 0; i < CROWD; i++) {
		/* 7919 is prime: each time of day has one user */
		(void)snprintf(name, sizeof(name), "%u", i);
		note(name, (int64_t)(i * 7919u % CROWD));
	}
	for (i = 0; i < CROWD; i++) {
		unsigned int k;

		next = rst_timetable_next(timetable);
		ck_assert_int_gt(next, now);
		now = next;
		ck_assert(rst_timetable_take(timetable, now, &user));
		k = (unsigned int)strtoul(user.p, NULL, 10);
		ck_assert(!seen[k]);
		seen[k] = true;
		rst_timetable_set(timetable, user, -1);
	}
	expect_state(-1, 0);
}
END_TEST

START_TEST(test_free_full)
{
	note("a", 100);
	note("b", 200);
	note("c", 300);
	expect_take(100, "a");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timetable");
	TCase *tc = tcase_create("timetable");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60); /* valgrind is slow */
	tcase_add_test(tc, test_order);
	tcase_add_test(tc, test_note_keeps_earlier);
	tcase_add_test(tc, test_set);
	tcase_add_test(tc, test_sweep);
	tcase_add_test(tc, test_noted_while_taken);
	tcase_add_test(tc, test_retry);
	tcase_add_test(tc, test_retry_noted);
	tcase_add_test(tc, test_seen);
	tcase_add_test(tc, test_watched_twice);
	tcase_add_test(tc, test_seen_while_taken);
	tcase_add_test(tc, test_seen_late);
	tcase_add_test(tc, test_seen_while_delayed);
	tcase_add_test(tc, test_reader);
	tcase_add_test(tc, test_own_name);
	tcase_add_loop_test(tc, test_against_simple, 0, 4);
	tcase_add_test(tc, test_crowd);
	tcase_add_test(tc, test_free_full);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
