/* SPDX-License-Identifier: MIT */
/* The test plays restante-hold at the other end of a socket pair. */
#include "core/hold-job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/hold-dial.h"
#include "test-util.h"

#define HELLO "VERSION\trestante-hold\t1\t0\n"

struct hold_dial {
	hold_dial_func *done;
	void *ctx;
};

static struct {
	struct event_base *base;
	struct hold_dial dial;
	bool dialling;
	struct hold_job *job;
	int peer;
	char events[256];
	bool free_inside;
	time_t later; /* seconds that the clock is put forward */
} t;

/** Replaces the C library's. */
int clock_gettime(clockid_t id, struct timespec *now_r)
{
	int ret = (int)syscall(SYS_clock_gettime, id, now_r);

	now_r->tv_sec += t.later;
	return ret;
}

struct hold_dial *hold_dial_start(struct event_base *base, const char *path,
				  struct rst_str user, hold_dial_func *done,
				  void *ctx)
{
	(void)base;
	ck_assert_str_eq(path, "/hold");
	ck_assert(user.n == 0 || rst_str_eq(user, RST_STR("bob")));
	t.dial = (struct hold_dial){done, ctx};
	t.dialling = true;
	return &t.dial;
}

void hold_dial_free(struct hold_dial **dial)
{
	if (*dial != NULL)
		t.dialling = false;
	*dial = NULL;
}

static void on_event(const struct rst_hold_event *ev, const char *text,
		     void *ctx)
{
	static const char *const names[] = {
		[RST_HOLD_OPENED] = "opened",
		[RST_HOLD_REFUSED] = "refused",
		[RST_HOLD_RELEASED] = "released",
		[RST_HOLD_USER] = "user",
		[RST_HOLD_SCANNED] = "scanned",
	};

	ck_assert_ptr_eq(ctx, &t);
	strcat(t.events, ev == NULL ? text : names[ev->type]);
	strcat(t.events, ";");
	if (t.free_inside)
		hold_job_free(&t.job);
}

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void begin(enum hold_job_type type)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.peer = fds[1];
	t.job = hold_job_start(t.base, "/hold", type, RST_STR("bob"), on_event,
			       &t);
	t.dial.done(fds[0], 0, t.dial.ctx);
	ck_assert(!t.dialling);
}

static void finish(void)
{
	hold_job_free(&t.job);
	(void)close(t.peer);
	event_base_free(t.base);
}

static void put(const char *data, size_t n)
{
	/* a job that has its answer has closed */
	if (send(t.peer, data, n, MSG_NOSIGNAL) < 0)
		ck_assert_int_eq(errno, EPIPE);
	turn();
}

static const struct {
	enum hold_job_type type;
	const char *input, *events;
} tables[] = {
	{HOLD_JOB_CHECK, HELLO "OK\t3\t100\t0\n", "opened;"},
	{HOLD_JOB_CHECK, HELLO "NO\tNOUSER\tnone\n", "refused;"},
	{HOLD_JOB_CHECK, HELLO "OK\t3\t100\t0\nNO\tTEMPFAIL\tx\n", "opened;"},
	{HOLD_JOB_CHECK, "* OK IMAP\n", "not the hold protocol;"},
	{HOLD_JOB_CHECK, HELLO "OK\tx\t100\t0\n", "not the hold protocol;"},
	{HOLD_JOB_EXPIRED, HELLO "OK\t3\t100\t5\nRELEASED\t2\t1\t9\n",
	 "opened;released;"},
	{HOLD_JOB_EXPIRED, HELLO "OK\t3\t100\t5\nNO\tBUSY\t\n",
	 "opened;refused;"},
	{HOLD_JOB_SCAN, HELLO "HOLDS\ta\t1\t2\t3\nHOLDS\tb\t1\t2\t3\nEND\t2\n",
	 "user;user;scanned;"},
	{HOLD_JOB_SCAN, HELLO "NO\tTEMPFAIL\tcannot iterate\n", "refused;"},
};

START_TEST(test_cut)
{
	const char *input = tables[_i].input;
	size_t n = strlen(input), cut;

	for (cut = 0; cut < n; cut++) {
		begin(tables[_i].type);
		put(input, cut);
		put(input + cut, n - cut);
		ck_assert_str_eq(t.events, tables[_i].events);
		/* the end of the connection is no further event */
		(void)shutdown(t.peer, SHUT_RDWR);
		turn();
		ck_assert_str_eq(t.events, tables[_i].events);
		finish();
	}
}
END_TEST

START_TEST(test_question)
{
	char out[64] = "";

	begin(_i == 0 ? HOLD_JOB_EXPIRED : HOLD_JOB_CHECK);
	put(HELLO "OK\t3\t100\t5\n", strlen(HELLO "OK\t3\t100\t5\n"));
	(void)recv(t.peer, out, sizeof(out) - 1, 0);
	ck_assert_str_eq(out, _i == 0 ? "RELEASE\tEXPIRED\n" : "");
	finish();
}
END_TEST

START_TEST(test_freed_inside)
{
	begin(tables[_i].type);
	t.free_inside = true;
	put(tables[_i].input, strlen(tables[_i].input));
	ck_assert_ptr_null(t.job);
	ck_assert_ptr_eq(strchr(t.events, ';'),
			 t.events + strlen(t.events) - 1);
	finish();
}
END_TEST

START_TEST(test_lost)
{
	begin(HOLD_JOB_EXPIRED);
	put(HELLO "OK\t3", strlen(HELLO "OK\t3"));
	(void)shutdown(t.peer, SHUT_RDWR);
	turn();
	ck_assert_str_eq(t.events, "connection lost;");
	finish();
}
END_TEST

/* The service hangs: it has said nothing, or half a line, or not all. */
static const struct {
	enum hold_job_type type;
	const char *input, *events;
	time_t secs;
} slow[] = {
	{HOLD_JOB_CHECK, "", "", 10},
	{HOLD_JOB_CHECK, HELLO "OK\t3", "", 10},
	{HOLD_JOB_EXPIRED, HELLO "OK\t3\t100\t5\n", "opened;", 600},
	{HOLD_JOB_EXPIRED, HELLO "OK\t3\t100\t5\nRELEASED\t2", "opened;", 600},
	{HOLD_JOB_SCAN, HELLO "HOLDS\ta\t1\t2\t3\n", "user;", 3600},
};

START_TEST(test_no_answer)
{
	char want[64];

	begin(slow[_i].type);
	put(slow[_i].input, strlen(slow[_i].input));
	t.later += slow[_i].secs - 2;
	turn();
	ck_assert_str_eq(t.events, slow[_i].events);
	t.later += 2;
	turn();
	(void)snprintf(want, sizeof(want), "%sno answer in time;",
		       slow[_i].events);
	ck_assert_str_eq(t.events, want);
	t.later = 0; /* Check uses the clock, too */
	finish();
}
END_TEST

START_TEST(test_endless_line)
{
	static char line[4096];
	unsigned int i;

	memset(line, 'x', sizeof(line));
	begin(HOLD_JOB_SCAN);
	for (i = 0; i < 5; i++)
		put(line, sizeof(line));
	ck_assert_str_eq(t.events, "not the hold protocol;");
	finish();
}
END_TEST

START_TEST(test_not_dialled)
{
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.peer = -1;
	t.job = hold_job_start(t.base, "/hold", HOLD_JOB_SCAN, RST_STR(""),
			       on_event, &t);
	if (_i == 0) {
		t.dial.done(-1, ENOENT, t.dial.ctx);
		ck_assert_str_eq(t.events, "No such file or directory;");
	}
	hold_job_free(&t.job);
	ck_assert(!t.dialling);
	event_base_free(t.base);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hold-job");
	TCase *tcase = tcase_create("job");

	tcase_add_loop_test(tcase, test_cut, 0, N_ELEMENTS(tables));
	tcase_add_loop_test(tcase, test_freed_inside, 0, N_ELEMENTS(tables));
	tcase_add_loop_test(tcase, test_question, 0, 2);
	tcase_add_test(tcase, test_lost);
	tcase_add_loop_test(tcase, test_no_answer, 0, N_ELEMENTS(slow));
	tcase_add_test(tcase, test_endless_line);
	tcase_add_loop_test(tcase, test_not_dialled, 0, 2);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
