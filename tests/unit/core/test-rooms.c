/* SPDX-License-Identifier: MIT */
/* The test plays restante-hold: it answers the jobs by hand. */
#include "core/rooms.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/hold-job.h"
#include "test-util.h"

/* far more than may wait */
#define MANY 2000

struct hold_job {
	hold_job_func *event;
	void *ctx;
};

static struct {
	struct event_base *base;
	struct rooms *rooms;
	struct hold_job job;
	bool asking;
	unsigned int asked;
	char said[256];
	int64_t skip_ms; /* by which the monotonic clock was put on */
} t;

/** Replaces the C library's, also for libevent. */
int clock_gettime(clockid_t clock, struct timespec *now_r)
{
	int ret = (int)syscall(SYS_clock_gettime, clock, now_r);

	now_r->tv_sec += t.skip_ms / 1000;
	return ret;
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	size_t n = strlen(t.said);

	ck_assert_ptr_eq(base, t.base);
	ck_assert_str_eq(path, "/hold");
	ck_assert_int_eq(type, HOLD_JOB_CHECK);
	ck_assert(!t.asking);
	t.asking = true;
	t.asked++;
	if (t.asked < 8)
		(void)snprintf(t.said + n, sizeof(t.said) - n, "ask:%.*s ",
			       (int)user.n, user.p);
	t.job = (struct hold_job){event, ctx};
	return &t.job;
}

void hold_job_free(struct hold_job **job)
{
	if (*job != NULL)
		t.asking = false;
	*job = NULL;
}

static void on_full(struct rst_str user, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	strcat(t.said, "full:");
	strncat(t.said, user.p, user.n);
	strcat(t.said, " ");
}

static void begin(void)
{
	const struct rooms_config config = {
		.hold_socket = "/hold", .full = on_full, .ctx = &t};

	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.rooms = rooms_new(t.base, &config);
}

static void finish(void)
{
	rooms_free(&t.rooms);
	ck_assert(!t.asking);
	event_base_free(t.base);
}

static void rested(void)
{
	t.skip_ms += 2000;
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void answer(enum rst_hold_event_type type, bool full)
{
	struct rst_hold_event ev = {.type = type, .full = full};

	ck_assert(t.asking);
	t.job.event(&ev, "", t.job.ctx);
	rested();
}

/* The service's word counts, and nothing else. */
START_TEST(test_answers)
{
	begin();
	rooms_ask(t.rooms, RST_STR("a@x"));
	rooms_ask(t.rooms, RST_STR("b@x"));
	rooms_ask(t.rooms, RST_STR("b@x"));
	rooms_ask(t.rooms, RST_STR("a@x"));
	rooms_ask(t.rooms, RST_STR("c@x"));
	rooms_ask(t.rooms, RST_STR("d@x"));
	rested();
	ck_assert_str_eq(t.said, "ask:a@x ");
	answer(RST_HOLD_OPENED, true);
	ck_assert_str_eq(t.said, "ask:a@x full:a@x ask:b@x ");
	t.said[0] = '\0';
	answer(RST_HOLD_OPENED, false);
	answer(RST_HOLD_REFUSED, false);
	ck_assert_str_eq(t.said, "ask:c@x ask:d@x ");
	t.job.event(NULL, "not reached", t.job.ctx);
	rested();
	ck_assert_str_eq(t.said, "ask:c@x ask:d@x ");
	/* again, and at once */
	rooms_ask(t.rooms, RST_STR("a@x"));
	ck_assert_str_eq(t.said, "ask:c@x ask:d@x ask:a@x ");
	finish();
}
END_TEST

/* After each question the service has a rest. */
START_TEST(test_rest)
{
	struct rst_hold_event ev = {.type = RST_HOLD_OPENED};

	begin();
	rooms_ask(t.rooms, RST_STR("a@x"));
	t.skip_ms = 5000; /* it took long */
	t.job.event(&ev, "", t.job.ctx);
	rooms_ask(t.rooms, RST_STR("b@x"));
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
	ck_assert_uint_eq(t.asked, 1);
	rested();
	ck_assert_uint_eq(t.asked, 2);
	finish();
}
END_TEST

/* Somebody makes entries without end. */
START_TEST(test_many)
{
	char name[16];
	unsigned int i;

	begin();
	for (i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof(name), "u%u@x", i);
		rooms_ask(t.rooms, rst_str(name));
	}
	while (t.asking)
		answer(RST_HOLD_REFUSED, false);
	ck_assert_uint_gt(t.asked, 100);
	ck_assert_uint_lt(t.asked, MANY / 2);
	rooms_ask(t.rooms, RST_STR("a@x"));
	ck_assert(t.asking);
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rooms");
	TCase *tc = tcase_create("rooms");

	tcase_add_test(tc, test_answers);
	tcase_add_test(tc, test_rest);
	tcase_add_test(tc, test_many);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
