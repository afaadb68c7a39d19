/* SPDX-License-Identifier: MIT */
/* The test plays restante-hold: it answers the jobs by hand. */
#include "core/fallback.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "core/hold-job.h"
#include "restante/clock.h"
#include "restante/timetable.h"
#include "test-util.h"

#define CONCURRENCY 2
#define DAY (24 * 3600)

struct hold_job {
	enum hold_job_type type;
	hold_job_func *event;
	void *ctx;
	bool live;
	char user[32];
};

static struct {
	struct event_base *base;
	struct fallback *fallback;
	struct hold_job jobs[32];
	unsigned int count;
	char held[256];
	int64_t clock; /* seconds by which the wall clock was set */
} t;

/** Replaces the C library's. */
time_t time(time_t *now_r)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += t.clock;
	if (now_r != NULL)
		*now_r = now.tv_sec;
	return now.tv_sec;
}

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)line;
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	struct hold_job *job = &t.jobs[t.count++];

	(void)base;
	ck_assert_str_eq(path, "/hold");
	ck_assert_uint_lt(t.count, N_ELEMENTS(t.jobs));
	*job = (struct hold_job){type, event, ctx, true, ""};
	(void)snprintf(job->user, sizeof(job->user), "%.*s", (int)user.n,
		       user.p);
	return job;
}

void hold_job_free(struct hold_job **job)
{
	if (*job != NULL)
		(*job)->live = false;
	*job = NULL;
}

static void on_held(struct rst_str user, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	strncat(t.held, user.p, user.n);
	strcat(t.held, " ");
}

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

/* Job 0 is the walk. */
static void begin(void)
{
	const struct fallback_config config = {.hold_socket = "/hold",
					       .concurrency = CONCURRENCY,
					       .reconcile_ms = 86400000,
					       .held = on_held,
					       .ctx = &t};

	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.fallback = fallback_new(t.base, &config);
	turn();
	ck_assert_uint_eq(t.count, 1);
	ck_assert_int_eq(t.jobs[0].type, HOLD_JOB_SCAN);
}

static void finish(void)
{
	unsigned int i;

	fallback_free(&t.fallback);
	for (i = 0; i < t.count; i++)
		ck_assert(!t.jobs[i].live);
	event_base_free(t.base);
}

static struct rst_hold_event event_of(enum rst_hold_event_type type)
{
	return (struct rst_hold_event){.type = type,
				       .user = RST_STR(""),
				       .code = RST_STR(""),
				       .text = RST_STR("")};
}

static void answer(unsigned int i, const struct rst_hold_event *ev)
{
	ck_assert(t.jobs[i].live);
	t.jobs[i].event(ev, "lost", t.jobs[i].ctx);
}

static void released(unsigned int i, uint64_t failed, int64_t due)
{
	struct rst_hold_event ev = event_of(RST_HOLD_RELEASED);

	ev.failed = failed;
	ev.due = due;
	answer(i, &ev);
	ck_assert(!t.jobs[i].live);
}

static void refused(unsigned int i, const char *code)
{
	struct rst_hold_event ev = event_of(RST_HOLD_REFUSED);

	ev.code = rst_str(code);
	answer(i, &ev);
	ck_assert(!t.jobs[i].live);
}

START_TEST(test_walk)
{
	struct rst_hold_event ev = event_of(RST_HOLD_USER);

	begin();
	ev.user = RST_STR("late");
	ev.messages = 1;
	ev.due = 1;
	answer(0, &ev);
	ev.user = RST_STR("early");
	ev.due = clock_wall_secs() + 3600;
	answer(0, &ev);
	ev.user = RST_STR("empty");
	ev.messages = 0;
	ev.due = 0;
	answer(0, &ev);
	ck_assert_str_eq(t.held, "late early ");
	/* mail that is due does not wait for the end of the walk */
	ck_assert_uint_eq(t.count, 2);
	ev = event_of(RST_HOLD_SCANNED);
	answer(0, &ev);
	ck_assert(!t.jobs[0].live);
	ck_assert_uint_eq(t.count, 2);
	ck_assert_int_eq(t.jobs[1].type, HOLD_JOB_EXPIRED);
	ck_assert_str_eq(t.jobs[1].user, "late");
	released(1, 0, 0);
	turn();
	ck_assert_uint_eq(t.count, 2);
	finish();
}
END_TEST

START_TEST(test_walk_fails)
{
	begin();
	if (_i == 0)
		answer(0, NULL);
	else
		refused(0, RST_HOLD_NO_TEMP);
	ck_assert(!t.jobs[0].live);
	turn();
	/* the next walk does not begin at once */
	ck_assert_uint_eq(t.count, 1);
	finish();
}
END_TEST

START_TEST(test_few_at_once)
{
	begin();
	fallback_note(t.fallback, RST_STR("a"), 1);
	fallback_note(t.fallback, RST_STR("b"), 2);
	fallback_note(t.fallback, RST_STR("c"), 3);
	fallback_note(t.fallback, RST_STR("d"), 0); /* not said */
	turn();
	ck_assert_uint_eq(t.count, 1 + CONCURRENCY);
	released(1, 0, 0);
	ck_assert_uint_eq(t.count, 2 + CONCURRENCY);
	ck_assert_str_eq(t.jobs[3].user, "c");
	released(2, 0, 0);
	released(3, 0, 0);
	turn();
	ck_assert_uint_eq(t.count, 4);
	finish();
}
END_TEST

START_TEST(test_not_while_swept)
{
	begin();
	fallback_note(t.fallback, RST_STR("a"), 1);
	fallback_note(t.fallback, RST_STR("a"), 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	finish();
}
END_TEST

/* However a sweep ended, the user is not swept again at once. */
START_TEST(test_no_spinning)
{
	begin();
	fallback_note(t.fallback, RST_STR("a"), 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	switch (_i) {
	case 0:
		answer(1, NULL);
		break;
	case 1:
		refused(1, RST_HOLD_NO_BUSY);
		break;
	case 2:
		refused(1, RST_HOLD_NO_TEMP);
		break;
	case 3:
		refused(1, RST_HOLD_NO_USER);
		break;
	case 4:
		refused(1, RST_HOLD_NO_ENROLLED);
		break;
	case 5:
		released(1, 1, 1);
		break;
	case 6:
		released(1, 0, 1);
		break;
	case 7:
		released(1, 0, clock_wall_secs() + 3600);
		break;
	default:
		released(1, 0, 0);
		break;
	}
	ck_assert(!t.jobs[1].live);
	turn();
	ck_assert_uint_eq(t.count, 2);
	finish();
}
END_TEST

static void walk_done(unsigned int i)
{
	struct rst_hold_event ev = event_of(RST_HOLD_SCANNED);

	ck_assert_int_eq(t.jobs[i].type, HOLD_JOB_SCAN);
	answer(i, &ev);
}

static bool is_complete(void)
{
	uint64_t unread;
	struct rst_timetable_reader *reader =
		fallback_read(t.fallback, &unread);
	bool complete = reader != NULL;

	rst_timetable_reader_free(&reader);
	return complete;
}

static unsigned int count_holders(void)
{
	uint64_t unread;
	struct rst_timetable_reader *reader =
		fallback_read(t.fallback, &unread);
	struct rst_str user;
	unsigned int n = 0;
	int64_t due;

	ck_assert_ptr_nonnull(reader);
	while (rst_timetable_reader_next(reader, &user, &due))
		n++;
	rst_timetable_reader_free(&reader);
	return n;
}

/* The index can be read when it is complete, and has only users that hold
   something. */
START_TEST(test_index)
{
	int64_t later = clock_wall_secs() + 3600;
	char name[513];

	begin();
	fallback_note(t.fallback, RST_STR("a"), later);
	ck_assert(!is_complete());
	walk_done(0);
	fallback_note(t.fallback, RST_STR("b"), later);
	ck_assert_uint_eq(count_holders(), 2);
	fallback_watch(t.fallback, RST_STR("a"));
	fallback_seen(t.fallback, RST_STR("a"), 0);
	ck_assert_uint_eq(count_holders(), 1);
	fallback_watch(t.fallback, RST_STR("b"));
	fallback_note(t.fallback, RST_STR("b"), later);
	fallback_seen(t.fallback, RST_STR("b"), 0);
	ck_assert_uint_eq(count_holders(), 1);
	fallback_watch(t.fallback, RST_STR("b"));
	fallback_seen(t.fallback, RST_STR("b"), 0);
	ck_assert_uint_eq(count_holders(), 0);
	turn();
	ck_assert_uint_eq(t.count, 1);
	/* no user can have this name */
	memset(name, 'n', sizeof(name));
	fallback_note(t.fallback, (struct rst_str){name, sizeof(name)}, later);
	ck_assert_uint_eq(count_holders(), 0);
	/* the session left a message that is overdue */
	fallback_seen(t.fallback, RST_STR("c"), 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	ck_assert_str_eq(t.jobs[1].user, "c");
	finish();
}
END_TEST

START_TEST(test_index_unread)
{
	struct rst_hold_event ev = event_of(RST_HOLD_SCANNED);
	struct rst_timetable_reader *reader;
	uint64_t unread = 0;

	begin();
	ev.failed = 3;
	answer(0, &ev);
	reader = fallback_read(t.fallback, &unread);
	ck_assert_ptr_nonnull(reader);
	ck_assert_uint_eq(unread, 3);
	rst_timetable_reader_free(&reader);
	finish();
}
END_TEST

/* Ignored notes make the index incomplete until the end of a walk that began
   after them. */
START_TEST(test_index_overflows)
{
	int64_t now = clock_wall_secs();
	char name[24];
	unsigned int i;

	begin();
	walk_done(0);
	for (i = 0; i < 200000; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		fallback_note(t.fallback, rst_str(name), now + 90 * DAY);
	}
	ck_assert_uint_eq(count_holders(), 200000);
	/* notes for users that are in the index still count */
	fallback_watch(t.fallback, RST_STR("2"));
	fallback_note(t.fallback, RST_STR("2"), now + 90 * DAY);
	fallback_seen(t.fallback, RST_STR("2"), 0);
	ck_assert_uint_eq(count_holders(), 200000);
	fallback_note(t.fallback, RST_STR("x"), now + 90 * DAY);
	ck_assert(!is_complete());
	/* a walk begins, and a note is ignored before it ends */
	t.clock = 2 * DAY;
	fallback_watch(t.fallback, RST_STR("0"));
	fallback_seen(t.fallback, RST_STR("0"), 0);
	turn();
	ck_assert_uint_eq(t.count, 2);
	fallback_note(t.fallback, RST_STR("x"), now + 90 * DAY);
	fallback_note(t.fallback, RST_STR("y"), now + 90 * DAY);
	walk_done(1);
	ck_assert(!is_complete());
	t.clock = 0;
	fallback_watch(t.fallback, RST_STR("1"));
	fallback_seen(t.fallback, RST_STR("1"), 0);
	turn();
	ck_assert_uint_eq(t.count, 3);
	walk_done(2);
	ck_assert_uint_eq(count_holders(), 199999);
	finish();
}
END_TEST

static const struct {
	int64_t step;
	const char *due; /* of "soon", in half a day, and "later", in 20 days */
	bool walk;
} steps[] = {
	{10, "", false},
	{-10, "", false},
	{DAY, "soon ", true},
	{-DAY, "", true},
	{30 * DAY, "soon later ", true},
	{-30 * DAY, "", true},
};

/* @return names of the users that are swept, in order, without the first
   jobs */
static const char *swept(unsigned int from)
{
	static char names[256];
	unsigned int i;

	names[0] = '\0';
	for (i = from; i < t.count; i++) {
		if (t.jobs[i].type == HOLD_JOB_EXPIRED) {
			strcat(names, t.jobs[i].user);
			strcat(names, " ");
		}
	}
	return names;
}

/* Users are swept that are due by the wall clock, and no others; one walk over
   the holds follows. */
START_TEST(test_clock_is_set)
{
	int64_t now = clock_wall_secs();
	unsigned int i, walks = 0;

	begin();
	walk_done(0);
	fallback_note(t.fallback, RST_STR("later"), now + 20 * DAY);
	fallback_note(t.fallback, RST_STR("soon"), now + DAY / 2);
	turn();
	ck_assert_uint_eq(t.count, 1);
	t.clock = steps[_i].step;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	turn();
	ck_assert_str_eq(swept(1), steps[_i].due);
	for (i = 1; i < t.count; i++)
		walks += t.jobs[i].type == HOLD_JOB_SCAN;
	ck_assert_uint_eq(walks, steps[_i].walk);
	finish();
}
END_TEST

/* A failure under a wrong clock puts the next try off to a time of that
   clock. */
START_TEST(test_clock_is_put_right)
{
	struct rst_hold_event ev = event_of(RST_HOLD_USER);
	int64_t now = clock_wall_secs();

	begin();
	walk_done(0);
	fallback_note(t.fallback, RST_STR("soon"), now + DAY / 2);
	t.clock = 30 * DAY;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_uint_eq(t.count, 3);
	refused(1, RST_HOLD_NO_TEMP);
	/* once more, while that walk is still going on */
	t.clock = 0;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_uint_eq(t.count, 3);
	walk_done(2);
	turn();
	ck_assert_uint_eq(t.count, 4);
	ev.user = RST_STR("soon");
	ev.due = now + DAY / 2;
	ev.messages = 1;
	answer(3, &ev);
	walk_done(3);
	t.clock = DAY / 2 + 1;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_str_eq(swept(4), "soon ");
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fallback");
	TCase *tcase = tcase_create("fallback");

	tcase_add_test(tcase, test_walk);
	tcase_add_loop_test(tcase, test_walk_fails, 0, 2);
	tcase_add_test(tcase, test_few_at_once);
	tcase_add_test(tcase, test_not_while_swept);
	tcase_add_loop_test(tcase, test_no_spinning, 0, 9);
	tcase_add_test(tcase, test_index);
	tcase_add_test(tcase, test_index_unread);
	tcase_add_test(tcase, test_index_overflows);
	tcase_add_loop_test(tcase, test_clock_is_set, 0, N_ELEMENTS(steps));
	tcase_add_test(tcase, test_clock_is_put_right);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
