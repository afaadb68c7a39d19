/* SPDX-License-Identifier: MIT */
/* The test plays restante-hold: it answers the jobs by hand. */
#include "core/fallback.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "core/hold-job.h"
#include "restante/clock.h"
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
	unsigned int audited, read_again, logged;
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
	t.logged++;
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

static void on_audited(void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	t.audited++;
}

static void on_read_again(void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	t.read_again++;
}

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void begin_later(int64_t first_audit_ms)
{
	const struct fallback_config config = {.hold_socket = "/hold",
					       .concurrency = CONCURRENCY,
					       .audit_ms = 86400000,
					       .first_audit_ms = first_audit_ms,
					       .held = on_held,
					       .audited = on_audited,
					       .read_again = on_read_again,
					       .ctx = &t};

	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.fallback = fallback_new(t.base, &config);
	turn();
}

/* Job 0 is the walk. */
static void begin(void)
{
	begin_later(0);
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
	static const char *const codes[] = {RST_HOLD_NO_TEMP, RST_HOLD_NO_LIST};

	begin();
	if (_i == 0)
		answer(0, NULL);
	else
		refused(0, codes[_i - 1]);
	ck_assert(!t.jobs[0].live);
	ck_assert_uint_eq(t.audited, 0);
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

static void walk_impossible(unsigned int i)
{
	ck_assert_int_eq(t.jobs[i].type, HOLD_JOB_SCAN);
	refused(i, RST_HOLD_NO_LIST);
}

/* Where the users cannot be listed, those that are known are looked at: a time
   that an entry says may be wrong. */
START_TEST(test_no_walk)
{
	const int64_t wrong = clock_wall_secs() + 1000 * DAY;

	begin();
	walk_impossible(0);
	fallback_note(t.fallback, RST_STR("a"), wrong);
	turn();
	ck_assert_uint_eq(t.count, 1);
	fallback_audit(t.fallback);
	turn();
	walk_impossible(1);
	turn();
	ck_assert_uint_eq(t.count, 3);
	ck_assert_int_eq(t.jobs[2].type, HOLD_JOB_EXPIRED);
	ck_assert_str_eq(t.jobs[2].user, "a");
	released(2, 0, clock_wall_secs() + DAY);
	turn();
	ck_assert_uint_eq(t.count, 3);
	finish();
}
END_TEST

static void walk_done(unsigned int i)
{
	struct rst_hold_event ev = event_of(RST_HOLD_SCANNED);

	ck_assert_int_eq(t.jobs[i].type, HOLD_JOB_SCAN);
	answer(i, &ev);
}

/* It is known when mail falls due for a user as long as any is held. */
START_TEST(test_known)
{
	int64_t later = clock_wall_secs() + 3600;

	begin();
	fallback_note(t.fallback, RST_STR("a"), later);
	walk_done(0);
	fallback_note(t.fallback, RST_STR("b"), later);
	ck_assert(fallback_has(t.fallback, RST_STR("a")));
	fallback_watch(t.fallback, RST_STR("a"));
	fallback_seen(t.fallback, RST_STR("a"), 0);
	ck_assert(!fallback_has(t.fallback, RST_STR("a")));
	fallback_watch(t.fallback, RST_STR("b"));
	fallback_note(t.fallback, RST_STR("b"), later);
	fallback_seen(t.fallback, RST_STR("b"), 0);
	ck_assert(fallback_has(t.fallback, RST_STR("b")));
	fallback_watch(t.fallback, RST_STR("b"));
	fallback_seen(t.fallback, RST_STR("b"), 0);
	ck_assert(!fallback_has(t.fallback, RST_STR("b")));
	turn();
	ck_assert_uint_eq(t.count, 1);
	/* the session left a message that is overdue */
	fallback_seen(t.fallback, RST_STR("c"), 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	ck_assert_str_eq(t.jobs[1].user, "c");
	finish();
}
END_TEST

/* A walk that could not read all holds is not one to rely on. */
START_TEST(test_audited)
{
	struct rst_hold_event ev = event_of(RST_HOLD_SCANNED);

	begin();
	ev.failed = _i == 0 ? 3 : 0;
	answer(0, &ev);
	ck_assert_uint_eq(t.audited, _i == 0 ? 0 : 1);
	finish();
}
END_TEST

/* The last walk was not long ago. */
START_TEST(test_audit_later)
{
	begin_later(3600 * 1000);
	ck_assert_uint_eq(t.count, 0);
	fallback_audit(t.fallback);
	turn();
	ck_assert_uint_eq(t.count, 1);
	/* and once more, when it has ended */
	fallback_audit(t.fallback);
	turn();
	ck_assert_uint_eq(t.count, 1);
	walk_done(0);
	ck_assert_uint_eq(t.audited, 0);
	turn();
	ck_assert_uint_eq(t.count, 2);
	walk_done(1);
	ck_assert_uint_eq(t.audited, 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	finish();
}
END_TEST

/* All users that are known are looked at, some at a time, however far off their
   time is; and then they have their time again. */
START_TEST(test_look_again)
{
	enum {
		USERS = 150
	};
	int64_t later = clock_wall_secs() + 3600;
	char name[24];
	unsigned int i;

	begin();
	walk_done(0);
	for (i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		fallback_note(t.fallback, rst_str(name), later);
	}
	turn();
	ck_assert_uint_eq(t.count, 1);
	fallback_look_again(t.fallback);
	fallback_look_again(t.fallback);
	turn();
	for (i = 1; i < 7; i++) {
		ck_assert_uint_gt(t.count, i);
		ck_assert_int_eq(t.jobs[i].type, HOLD_JOB_EXPIRED);
		released(i, 0, later);
	}
	turn();
	ck_assert_uint_eq(t.count, 7);
	/* more than at one stretch */
	for (i = 6; i < USERS; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		fallback_note(t.fallback, rst_str(name), later);
	}
	fallback_look_again(t.fallback);
	for (i = 0; i < USERS / 64 + 2; i++)
		turn();
	for (i = 7; i < 20; i++) {
		ck_assert_uint_gt(t.count, i);
		released(i, 0, 0);
	}
	fallback_look_again(t.fallback);
	finish();
}
END_TEST

/* Made-up users take no more memory than that; and one line of the log. */
START_TEST(test_too_many)
{
	int64_t later = clock_wall_secs() + 90 * DAY;
	char name[24];
	unsigned int i;

	begin();
	walk_done(0);
	t.logged = 0;
	for (i = 0; i < 1000000; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		fallback_note(t.fallback, rst_str(name), later);
	}
	ck_assert_uint_eq(t.logged, 0);
	ck_assert(fallback_has(t.fallback, RST_STR("999999")));
	fallback_note(t.fallback, RST_STR("x"), later);
	fallback_note(t.fallback, RST_STR("y"), later);
	ck_assert_uint_eq(t.logged, 1);
	ck_assert(!fallback_has(t.fallback, RST_STR("x")));
	/* those that are known still count */
	fallback_note(t.fallback, RST_STR("2"), 1);
	turn();
	ck_assert_uint_eq(t.count, 2);
	ck_assert_str_eq(t.jobs[1].user, "2");
	/* room again */
	released(1, 0, 0);
	/* where no walk finds those who were left out, their entries are read
	   again */
	fallback_audit(t.fallback);
	turn();
	ck_assert_uint_eq(t.read_again, 0);
	walk_impossible(2);
	ck_assert_uint_eq(t.read_again, 1);
	fallback_note(t.fallback, RST_STR("x"), later);
	ck_assert(fallback_has(t.fallback, RST_STR("x")));
	finish();
}
END_TEST

static const struct {
	int64_t step;
	const char *due; /* of "soon", in half a day, and "later", in 20 days */
	bool look;       /* through the holders directory */
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

/* Users are swept that are due by the wall clock, and no others; one look
   through the entries follows. */
START_TEST(test_clock_is_set)
{
	int64_t now = clock_wall_secs();

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
	ck_assert_uint_eq(t.read_again, steps[_i].look);
	finish();
}
END_TEST

/* A failure under a wrong clock puts the next try off to a time of that
   clock. */
START_TEST(test_clock_is_put_right)
{
	int64_t now = clock_wall_secs();

	begin();
	walk_done(0);
	fallback_note(t.fallback, RST_STR("soon"), now + DAY / 2);
	t.clock = 30 * DAY;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_uint_eq(t.count, 2);
	ck_assert_uint_eq(t.read_again, 1);
	refused(1, RST_HOLD_NO_TEMP);
	t.clock = 0;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_uint_eq(t.read_again, 2);
	/* what the look through the entries says */
	fallback_note(t.fallback, RST_STR("soon"), now + DAY / 2);
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_uint_eq(t.count, 2);
	t.clock = DAY / 2 + 1;
	fallback_note(t.fallback, RST_STR("other"), now + 90 * DAY);
	turn();
	ck_assert_str_eq(swept(2), "soon ");
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fallback");
	TCase *tcase = tcase_create("fallback");

	tcase_add_test(tcase, test_walk);
	tcase_add_loop_test(tcase, test_walk_fails, 0, 3);
	tcase_add_test(tcase, test_few_at_once);
	tcase_add_test(tcase, test_not_while_swept);
	tcase_add_loop_test(tcase, test_no_spinning, 0, 9);
	tcase_add_test(tcase, test_known);
	tcase_add_loop_test(tcase, test_audited, 0, 2);
	tcase_add_test(tcase, test_audit_later);
	tcase_add_test(tcase, test_look_again);
	tcase_add_test(tcase, test_no_walk);
	tcase_add_test(tcase, test_too_many);
	tcase_add_loop_test(tcase, test_clock_is_set, 0, N_ELEMENTS(steps));
	tcase_add_test(tcase, test_clock_is_put_right);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
