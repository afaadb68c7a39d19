/* SPDX-License-Identifier: MIT */
/*
 * The test plays the connection to Dovecot's auth and restante-hold. It answers
 * each question by itself, from t.pass, t.user and t.hold.
 */
#include "core/recheck.h"

#include <stdio.h>
#include <string.h>

#include "core/hold-job.h"
#include "core/lookup-conn.h"
#include "restante/clock.h"
#include "test-util.h"

#define INTERVAL_MS 60
#define CONFIRM_MS 30
/* both, some turns of the loop, and a busy machine */
#define LONG_MS 400
#define PATIENCE_MS 20000
#define CROWD 200
#define SILENT "silent"

struct lookup_conn {
	const struct lookup_conn_callbacks *calls;
	void *ctx;
};

struct hold_job {
	hold_job_func *event;
	void *ctx;
};

static struct {
	struct event_base *base;
	struct recheck *recheck;
	struct recheck_watch *watches[CROWD];
	struct lookup_conn conn;
	bool away;
	uint64_t server;
	/* "none", "unknown", SILENT, or the fields of a record that is found */
	const char *pass, *user;
	const char *hold; /* "" or a code of restante-hold's NO; NULL: silent */
	struct hold_job *job;
	uint32_t asked[2 * CROWD * 20]; /* answers that are due, in order */
	unsigned int first, last;
	unsigned int passes, users, jobs; /* questions so far */
	enum recheck_reason reasons[CROWD];
	unsigned int outs;
	bool refuse; /* out() says: not now */
} t;

/* ---- played neighbours */

struct lookup_conn *lookup_conn_new(struct event_base *base, const char *path,
				    const struct lookup_conn_callbacks *calls,
				    void *ctx)
{
	(void)base;
	ck_assert_str_eq(path, "/userdb");
	t.conn = (struct lookup_conn){calls, ctx};
	return &t.conn;
}

void lookup_conn_free(struct lookup_conn **conn)
{
	*conn = NULL;
}

bool lookup_conn_open(struct lookup_conn *conn)
{
	ck_assert_ptr_eq(conn, &t.conn);
	return !t.away;
}

ssize_t lookup_conn_ask(struct lookup_conn *conn,
			enum rst_lookup_question question, struct rst_str user,
			struct rst_str remote_ip)
{
	ck_assert_ptr_eq(conn, &t.conn);
	ck_assert(!t.away);
	ck_assert_rst_str_eq(remote_ip, "192.0.2.1");
	if (rst_str_eq(user, RST_STR("long")))
		return RST_EPERM;
	if (question == RST_LOOKUP_PASS)
		t.passes++;
	else
		t.users++;
	ck_assert_uint_lt(t.last, N_ELEMENTS(t.asked));
	t.asked[t.last++] = question;
	return t.last;
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	(void)base;
	(void)user;
	ck_assert_str_eq(path, "/hold");
	ck_assert_int_eq(type, HOLD_JOB_CHECK);
	ck_assert_ptr_null(t.job);
	t.job = rst_calloc(1, sizeof(*t.job));
	*t.job = (struct hold_job){event, ctx};
	t.jobs++;
	return t.job;
}

void hold_job_free(struct hold_job **job)
{
	if (*job != NULL) {
		ck_assert_ptr_eq(*job, t.job);
		free(t.job);
		t.job = NULL;
	}
	*job = NULL;
}

static bool out(void *session, enum recheck_reason reason, void *ctx)
{
	size_t n = (size_t)(uintptr_t)session;

	ck_assert_ptr_eq(ctx, &t);
	t.outs++;
	t.reasons[n] = reason;
	if (t.refuse)
		return false;
	recheck_remove(&t.watches[n]);
	ck_assert_ptr_null(t.watches[n]);
	return true;
}

/* ---- steps */

static void answer(uint32_t id, const char *how)
{
	struct rst_lookup_answer answer = {
		.id = id, .result = RST_LOOKUP_FOUND, .fields = rst_str(how)};

	if (strcmp(how, "none") == 0)
		answer.result = RST_LOOKUP_NONE;
	else if (strcmp(how, "unknown") == 0)
		answer.result = RST_LOOKUP_UNKNOWN;
	t.conn.calls->answer(&answer, t.conn.ctx);
}

static void answer_all(void)
{
	while (t.first < t.last) {
		const char *how =
			t.asked[t.first] == RST_LOOKUP_PASS ? t.pass : t.user;

		if (strcmp(how, SILENT) == 0)
			return;
		t.first++;
		answer(t.first, how);
	}
}

static void answer_hold(void)
{
	struct rst_hold_event ev = {.type = RST_HOLD_OPENED,
				    .code = rst_str(t.hold),
				    .text = RST_STR("")};

	if (t.job == NULL || t.hold == NULL)
		return;
	if (ev.code.n > 0)
		ev.type = RST_HOLD_REFUSED;
	t.job->event(&ev, "", t.job->ctx);
}

static void run_for(int64_t ms)
{
	int64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		const struct timeval tick = {.tv_usec = 1000};

		(void)event_base_loopexit(t.base, &tick);
		(void)event_base_dispatch(t.base);
		answer_all();
		answer_hold();
	}
}

#define RUN_UNTIL(condition)                                        \
	do {                                                        \
		int64_t patience_ms_ = clock_ms() + PATIENCE_MS;    \
		while (!(condition)) {                              \
			ck_assert_int_lt(clock_ms(), patience_ms_); \
			run_for(1);                                 \
		}                                                   \
	} while (0)

static void add(size_t n, const char *user)
{
	t.watches[n] =
		recheck_add(t.recheck, user, "192.0.2.1", (void *)(uintptr_t)n);
	ck_assert_ptr_nonnull(t.watches[n]);
}

static void begin(int64_t interval_ms, int64_t lifetime_ms)
{
	const struct recheck_config config = {.userdb_socket = "/userdb",
					      .hold_socket = "/hold",
					      .interval_ms = interval_ms,
					      .confirm_ms = CONFIRM_MS,
					      .lifetime_ms = lifetime_ms,
					      .per_second = 1000,
					      .out = out,
					      .ctx = &t};

	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.pass = "";
	t.user = "uid=8\trestante=yes";
	t.hold = "";
	t.recheck = recheck_new(t.base, &config);
	t.conn.calls->ready(4711, t.conn.ctx);
}

static void setup(void)
{
	begin(INTERVAL_MS, 0);
}

static void teardown(void)
{
	size_t n;

	for (n = 0; n < CROWD; n++)
		recheck_remove(&t.watches[n]);
	recheck_free(&t.recheck);
	ck_assert_ptr_null(t.job);
	event_base_free(t.base);
}

/* The first answers are what later ones are compared with. */
static void run_until_learned(unsigned int passes)
{
	RUN_UNTIL(t.passes >= passes && t.first == t.last);
}

/* ---- */

static const struct {
	const char *pass, *user; /* at the sign-in */
	const char *pass_later, *user_later, *hold;
	enum recheck_reason reason;
	bool asks_hold;
} changes[] = {
	/* nothing new */
	{"", "restante=yes", "", "restante=yes", "", RECHECK_NONE, false},
	{"x=1", "uid=1", "x=2", "uid=2", "", RECHECK_NONE, false},
	/* gone */
	{"", "", "none", "none", "NOUSER", RECHECK_GONE, false},
	{"unknown", "", "unknown", "none", "NOUSER", RECHECK_GONE, false},
	/* disabled */
	{"", "", "none", "", "", RECHECK_DISABLED, false},
	{"", "", "nologin", "", "", RECHECK_DISABLED, false},
	{"", "", "nologin\tproxy\thost=h", "", "", RECHECK_NONE, false},
	/* another password */
	{"restante_pass_changed=1", "", "restante_pass_changed=2", "", "",
	 RECHECK_PASSWORD, false},
	{"", "restante_pass_changed=1", "", "restante_pass_changed=2", "",
	 RECHECK_PASSWORD, false},
	{"", "", "restante_pass_changed", "", "", RECHECK_PASSWORD, false},
	{"restante_pass_changed=1", "", "unknown", "", "", RECHECK_NONE, false},
	/* enrolment: restante-hold decides */
	{"", "restante=yes", "", "restante=no", "NOTENROLLED",
	 RECHECK_UNENROLLED, true},
	{"", "", "", "plugin/restante=no", "NOTENROLLED", RECHECK_UNENROLLED,
	 true},
	{"", "restante=yes", "", "", "", RECHECK_NONE, true},
	{"", "restante=yes", "", "restante=no", "TEMP", RECHECK_NONE, true},
	{"", "restante=yes", "", "restante=no", "NOUSER", RECHECK_GONE, true},
	/* not answered */
	{"", "", "unknown", "unknown", "", RECHECK_NONE, false},
	/* a passdb that never knew somebody who has signed in */
	{"none", "", "none", "", "", RECHECK_NONE, false},
	{"none", "none", "none", "none", "", RECHECK_NONE, false},
	{"nologin", "", "none", "", "", RECHECK_NONE, false},
};

START_TEST(test_changes)
{
	const char *code = changes[_i].hold;

	t.pass = changes[_i].pass;
	t.user = changes[_i].user;
	add(0, "bob@x");
	run_until_learned(1);
	ck_assert_uint_eq(t.outs, 0);
	t.pass = changes[_i].pass_later;
	t.user = changes[_i].user_later;
	t.hold = strcmp(code, "NOTENROLLED") == 0 ? RST_HOLD_NO_ENROLLED
		 : strcmp(code, "NOUSER") == 0    ? RST_HOLD_NO_USER
						  : code;
	RUN_UNTIL(t.outs > 0 || t.passes >= 6);
	ck_assert_int_eq(t.reasons[0], changes[_i].reason);
	ck_assert_uint_eq(t.outs, changes[_i].reason == RECHECK_NONE ? 0 : 1);
	ck_assert_int_eq(t.jobs > 0, changes[_i].asks_hold);
	/* nobody is signed out after one "no" */
	ck_assert_uint_ge(t.passes, 3);
	ck_assert_uint_eq(t.passes, t.users);
	if (changes[_i].reason != RECHECK_NONE)
		ck_assert_str_ne(recheck_text(t.reasons[0]), "");
}
END_TEST

/* A file that is being written in place has lost its line for a moment. */
START_TEST(test_no_once)
{
	add(0, "bob@x");
	run_until_learned(1);
	t.passes = 0;
	t.pass = t.user = "none";
	RUN_UNTIL(t.passes > 0);
	answer_all();
	t.pass = "";
	t.user = "restante=yes";
	run_for(LONG_MS);
	ck_assert_uint_eq(t.outs, 0);
	/* and a doubt of long ago does not count later */
	t.pass = t.user = "none";
	t.passes = 0;
	RUN_UNTIL(t.outs > 0);
	ck_assert_uint_eq(t.passes, 2);
}
END_TEST

/* The enrolment of plugin {} may have changed where auth was restarted. */
START_TEST(test_new_server)
{
	add(0, "bob@x");
	run_for(LONG_MS);
	ck_assert_uint_eq(t.jobs, 0);
	t.conn.calls->ready(4712, t.conn.ctx);
	RUN_UNTIL(t.jobs > 0);
	run_for(LONG_MS);
	ck_assert_uint_eq(t.jobs, 1);
	t.hold = RST_HOLD_NO_ENROLLED;
	t.conn.calls->ready(4713, t.conn.ctx);
	RUN_UNTIL(t.outs > 0);
	run_for(LONG_MS);
	ck_assert_uint_eq(t.jobs, 3);
	ck_assert_int_eq(t.reasons[0], RECHECK_UNENROLLED);
}
END_TEST

/* Dovecot is stopped: in the middle of questions, and for many intervals. */
START_TEST(test_outage)
{
	unsigned int before;
	size_t n;

	for (n = 0; n < 10; n++)
		add(n, "bob@x");
	run_until_learned(10);
	t.pass = t.user = SILENT;
	RUN_UNTIL(t.passes >= 12);
	t.away = true;
	t.first = t.last;
	t.conn.calls->lost(t.conn.ctx);
	before = t.passes;
	run_for(5 * INTERVAL_MS);
	ck_assert_uint_eq(t.passes, before);
	ck_assert_uint_eq(t.outs, 0);
	t.away = false;
	t.pass = "";
	t.user = "restante=yes";
	t.conn.calls->ready(4711, t.conn.ctx);
	run_until_learned(before + 10);
	run_for(LONG_MS);
	ck_assert_uint_eq(t.outs, 0);
	t.pass = "none";
	RUN_UNTIL(t.outs >= 10);
}
END_TEST

/* However many come at once, few are with Dovecot. */
START_TEST(test_crowd)
{
	int64_t since_ms = clock_ms();
	size_t n;

	for (n = 0; n < CROWD; n++)
		add(n, "bob@x");
	ck_assert_uint_eq(t.passes, 0);
	t.pass = t.user = SILENT;
	RUN_UNTIL(t.passes >= 16);
	run_for(LONG_MS);
	ck_assert_uint_eq(t.passes, 16);
	t.pass = "";
	t.user = "restante=yes";
	RUN_UNTIL(t.passes >= CROWD);
	/* 1000 in a second */
	ck_assert_int_ge(clock_ms() - since_ms, CROWD - 50);
	ck_assert_uint_eq(t.outs, 0);
}
END_TEST

START_TEST(test_lifetime)
{
	teardown();
	begin(_i == 0 ? INTERVAL_MS : 0, 1);
	add(0, "bob@x");
	t.refuse = true;
	if (_i == 0) {
		RUN_UNTIL(t.outs >= 2 && t.passes >= 3);
		t.refuse = false;
		RUN_UNTIL(t.watches[0] == NULL);
		ck_assert_int_eq(t.reasons[0], RECHECK_LIFETIME);
	} else {
		/* nobody is asked; the age is looked at each minute */
		run_for(LONG_MS);
		ck_assert_uint_eq(t.passes, 0);
	}
}
END_TEST

START_TEST(test_long_name)
{
	add(0, "long");
	run_for(LONG_MS);
	ck_assert_uint_eq(t.passes + t.outs, 0);
}
END_TEST

/* A session ends whatever is under way for it. */
START_TEST(test_removed)
{
	add(0, "bob@x");
	add(1, "bob@x");
	recheck_remove(&t.watches[1]); /* FRESH */
	run_until_learned(1);
	t.passes = 0;
	t.pass = SILENT;
	t.user = SILENT;
	RUN_UNTIL(t.passes > 0);
	recheck_remove(&t.watches[0]); /* ASKING */
	t.pass = "none";
	t.user = "none";
	answer_all();
	t.pass = "";
	t.user = "restante=yes";
	add(0, "bob@x");
	add(1, "bob@x");
	t.passes = 0;
	run_until_learned(2);
	t.user = "restante=no";
	t.hold = NULL;
	RUN_UNTIL(t.job != NULL);
	run_for(INTERVAL_MS);
	recheck_remove(&t.watches[0]); /* HOLDING, one of the two is asked */
	t.hold = RST_HOLD_NO_ENROLLED;
	RUN_UNTIL(t.outs > 0);
	run_for(LONG_MS);
	ck_assert_int_eq(t.reasons[1], RECHECK_UNENROLLED);
	ck_assert_uint_eq(t.outs, 1);
}
END_TEST

START_TEST(test_off)
{
	ck_assert_ptr_null(recheck_add(NULL, "bob@x", "192.0.2.1", NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recheck");
	TCase *tcase = tcase_create("recheck");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_changes, 0, N_ELEMENTS(changes));
	tcase_add_test(tcase, test_no_once);
	tcase_add_test(tcase, test_new_server);
	tcase_add_test(tcase, test_outage);
	tcase_add_test(tcase, test_crowd);
	tcase_add_loop_test(tcase, test_lifetime, 0, 2);
	tcase_add_test(tcase, test_long_name);
	tcase_add_test(tcase, test_removed);
	tcase_add_test(tcase, test_off);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
