/* SPDX-License-Identifier: MIT */
/*
 * The test plays Dovecot, restante-hold and the workers: it writes down what
 * the core says to each of them as one line of text.
 */
#include "core/sessions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "core/hold-dial.h"
#include "core/hold-job.h"
#include "test-util.h"

#define AT_ONCE 4

struct worker {
	char name;
};

struct hold_dial {
	hold_dial_func *done;
	void *ctx;
	bool live;
};

struct hold_job {
	hold_job_func *event;
	void *ctx;
	bool live;
};

static struct {
	struct event_base *base;
	struct sessions *sessions;
	struct worker a, b;
	char said[8192];
	uint32_t exchanges;
	bool auth_away;
	struct hold_dial dials[16];
	unsigned int dial_count;
	struct hold_job jobs[64];
	unsigned int job_count;
	unsigned int watched;
	unsigned int rechecked; /* watches that are there */
	void *last_watched;     /* the session of the last one */
	time_t frozen; /* the clock stands still at this time; 0: it does not */
} t;

/** Replaces the C library's. */
int clock_gettime(clockid_t id, struct timespec *now_r)
{
	if (t.frozen == 0 || id == CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, id, now_r);
	*now_r = (struct timespec){.tv_sec = t.frozen};
	return 0;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	size_t used = strlen(t.said);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(t.said + used, sizeof(t.said) - used, format, args);
	va_end(args);
}

/* ---- the other modules, played */

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	(void)line;
}

void worker_send(struct worker *worker, const struct rst_ipc *msg, int fd)
{
	static const char *const names[] = {
		[RST_IPC_AUTH_CHALLENGE] = "CHALLENGE",
		[RST_IPC_AUTH_DONE] = "AUTH_DONE",
		[RST_IPC_ATRN_DONE] = "ATRN_DONE",
		[RST_IPC_HELD] = "HELD",
		[RST_IPC_HOLD] = "HOLD",
		[RST_IPC_HOLD_FAILED] = "HOLD_FAILED",
		[RST_IPC_DISMISS] = "DISMISS",
	};

	say("%c%d:%s", worker->name, (int)msg->session, names[msg->type]);
	if (msg->type == RST_IPC_AUTH_DONE || msg->type == RST_IPC_ATRN_DONE)
		say("=%d#%d", (int)msg->verdict, (int)msg->id);
	if (msg->type == RST_IPC_ATRN_DONE && msg->a.n > 0)
		say("(%.*s)", (int)msg->a.n, msg->a.p);
	say(" ");
	if (fd >= 0)
		(void)close(fd);
}

void worker_kill(struct worker *worker, const char *reason)
{
	(void)reason;
	say("%c:KILL ", worker->name);
}

pid_t worker_pid(const struct worker *worker)
{
	return worker->name;
}

ssize_t auth_conn_start(struct auth_conn *conn,
			const struct rst_auth_request *request)
{
	(void)conn;
	if (t.auth_away)
		return RST_ETEMP;
	if (request->mechanism.n == 0)
		return RST_EPERM;
	ck_assert_str_eq(request->service, "restante");
	ck_assert_rst_str_eq(request->remote_ip, "192.0.2.1");
	return (ssize_t)++t.exchanges;
}

int auth_conn_continue(struct auth_conn *conn, uint32_t id,
		       struct rst_str response)
{
	(void)conn;
	say("continue%u ", id);
	return rst_str_eq(response, RST_STR("!")) ? RST_EPERM : 0;
}

void auth_conn_cancel(struct auth_conn *conn, uint32_t id)
{
	(void)conn;
	say("cancel%u ", id);
}

struct hold_dial *hold_dial_start(struct event_base *base, const char *path,
				  struct rst_str user, hold_dial_func *done,
				  void *ctx)
{
	struct hold_dial *dial = &t.dials[t.dial_count++];

	(void)base;
	ck_assert_str_eq(path, "/hold");
	ck_assert_uint_lt(t.dial_count, N_ELEMENTS(t.dials));
	*dial = (struct hold_dial){done, ctx, true};
	say("dial(%.*s) ", (int)user.n, user.p);
	return dial;
}

void hold_dial_free(struct hold_dial **dial)
{
	if (*dial != NULL)
		(*dial)->live = false;
	*dial = NULL;
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	struct hold_job *job = &t.jobs[t.job_count++];

	(void)base;
	(void)path;
	ck_assert_int_eq(type, HOLD_JOB_CHECK);
	ck_assert_uint_lt(t.job_count, N_ELEMENTS(t.jobs));
	*job = (struct hold_job){event, ctx, true};
	say("check(%.*s) ", (int)user.n, user.p);
	return job;
}

void hold_job_free(struct hold_job **job)
{
	if (*job != NULL)
		(*job)->live = false;
	*job = NULL;
}

struct recheck_watch {
	char unused;
};

struct recheck_watch *recheck_add(struct recheck *recheck, const char *user,
				  const char *remote, void *session)
{
	ck_assert_ptr_eq(recheck, &t.base);
	ck_assert_str_ne(user, "");
	ck_assert_str_ne(user, "renamed"); /* asked about as it signed in */
	ck_assert_str_eq(remote, "192.0.2.1");
	t.rechecked++;
	t.last_watched = session;
	return rst_calloc(1, sizeof(struct recheck_watch));
}

void recheck_remove(struct recheck_watch **watch)
{
	if (*watch != NULL)
		t.rechecked--;
	free(*watch);
	*watch = NULL;
}

const char *recheck_text(enum recheck_reason reason)
{
	ck_assert_int_ne(reason, RECHECK_NONE);
	return "why";
}

/* ---- steps */

static void expect(const char *want)
{
	ck_assert_str_eq(t.said, want);
	t.said[0] = '\0';
}

static void hear(struct worker *worker, enum rst_ipc_type type,
		 uint64_t session, uint32_t id)
{
	const struct rst_ipc msg = {.type = type,
				    .session = session,
				    .id = id,
				    .n = {4321, 1, 0, 0},
				    .a = type == RST_IPC_AUTH ? RST_STR("PLAIN")
							      : RST_STR("x"),
				    .b = RST_STR("AGEAYg=="),
				    .c = RST_STR("192.0.2.1")};

	sessions_message(t.sessions, worker, &msg);
}

static void auth_event(enum rst_auth_event_type type, uint32_t id,
		       const char *user)
{
	const struct rst_auth_event ev = {.type = type,
					  .id = id,
					  .challenge = RST_STR("Zm9v"),
					  .user = rst_str(user),
					  .reason = RST_STR("")};

	sessions_auth_event(t.sessions, &ev);
}

static void sign_in(struct worker *worker, uint64_t session, const char *user)
{
	char want[64];

	hear(worker, RST_IPC_AUTH, session, 1);
	auth_event(RST_AUTH_OK, t.exchanges, user);
	(void)snprintf(want, sizeof(want), "%c%d:AUTH_DONE=0#1 ", worker->name,
		       (int)session);
	expect(want);
}

static void answer_check_as(enum rst_hold_event_type type, const char *code,
			    const char *user)
{
	struct hold_job *job = &t.jobs[t.job_count - 1];
	const struct rst_hold_event ev = {.type = type,
					  .user = rst_str(user),
					  .code = rst_str(code),
					  .text = RST_STR("")};

	ck_assert(job->live);
	job->event(&ev, "", job->ctx);
	ck_assert(!job->live);
}

static void answer_check(enum rst_hold_event_type type, const char *code)
{
	answer_check_as(type, code, "");
}

static void registered(struct worker *worker, uint64_t session,
		       const char *user)
{
	char want[64];

	sign_in(worker, session, user);
	hear(worker, RST_IPC_ATRN, session, 2);
	(void)snprintf(want, sizeof(want), "check(%s) ", user);
	expect(want);
	answer_check(RST_HOLD_OPENED, "");
}

static void answer_dial_with(int fd)
{
	struct hold_dial *dial = &t.dials[t.dial_count - 1];

	ck_assert(dial->live);
	dial->done(fd, fd >= 0 ? 0 : ECONNREFUSED, dial->ctx);
	ck_assert(!dial->live);
}

static void answer_dial(bool ok)
{
	answer_dial_with(ok ? dup(STDIN_FILENO) : -1);
}

static void opened(struct worker *worker, uint64_t session, const char *user)
{
	registered(worker, session, user);
	t.said[0] = '\0';
	hear(worker, RST_IPC_HOLD_OPEN, session, 0);
	answer_dial(true);
	t.said[0] = '\0';
}

static void on_hold_watched(struct rst_str user, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	ck_assert_uint_gt(user.n, 0);
	t.watched++;
}

static void on_hold_seen(struct rst_str user, int64_t due, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	say("seen(%.*s)=%d ", (int)user.n, user.p, (int)due);
}

static void hear_closed(struct worker *worker, uint64_t session, int64_t known,
			int64_t due)
{
	const struct rst_ipc msg = {.type = RST_IPC_HOLD_CLOSED,
				    .session = session,
				    .n = {known, due}};

	sessions_message(t.sessions, worker, &msg);
}

static void begin_with(int64_t takeover_ms, unsigned int max_per_worker)
{
	const struct sessions_config config = {.hold_socket = "/hold",
					       .max_per_worker = max_per_worker,
					       .checks_at_once = AT_ONCE,
					       .takeover_ms = takeover_ms,
					       .settle_ms = 4 * takeover_ms,
					       .hold_watched = on_hold_watched,
					       .hold_seen = on_hold_seen,
					       .ctx = &t};

	memset(&t, 0, sizeof(t));
	t.a.name = 'a';
	t.b.name = 'b';
	t.base = event_base_new();
	t.sessions = sessions_new(t.base, &config);
	/* any address will do */
	sessions_set_recheck(t.sessions, (struct recheck *)&t.base);
}

static void begin(void)
{
	begin_with(1000000, 3);
}

static void finish(void)
{
	unsigned int i;

	sessions_free(&t.sessions);
	ck_assert_uint_eq(t.rechecked, 0);
	for (i = 0; i < t.dial_count; i++)
		ck_assert(!t.dials[i].live);
	for (i = 0; i < t.job_count; i++)
		ck_assert(!t.jobs[i].live);
	event_base_free(t.base);
	t.frozen = 0; /* Check uses the clock, too */
}

/* ---- tests */

START_TEST(test_main_road)
{
	begin();
	hear(&t.a, RST_IPC_AUTH, 7, 1);
	expect("");
	auth_event(RST_AUTH_CONTINUE, 1, "");
	expect("a7:CHALLENGE ");
	hear(&t.a, RST_IPC_AUTH_CONTINUE, 7, 2);
	expect("continue1 ");
	auth_event(RST_AUTH_OK, 1, "bob");
	expect("a7:AUTH_DONE=0#2 ");
	hear(&t.a, RST_IPC_ATRN, 7, 3);
	expect("check(bob) ");
	answer_check(RST_HOLD_OPENED, "");
	expect("a7:ATRN_DONE=0#3(bob) ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 7, 0);
	expect("dial(bob) ");
	answer_dial(true);
	expect("a7:HOLD ");
	hear(&t.a, RST_IPC_HOLD_CLOSED, 7, 0);
	hear(&t.a, RST_IPC_HOLD_OPEN, 7, 0);
	expect("dial(bob) ");
	answer_dial(false);
	expect("a7:HOLD_FAILED ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 7, 0);
	expect("dial(bob) ");
	hear(&t.a, RST_IPC_CLOSED, 7, 0);
	sessions_held(t.sessions, RST_STR("bob"));
	expect("");
	finish();
}
END_TEST

/* The userdb has another name for an account than it signs in with: mail comes
   for that name, and all sessions of that name are the account's. */
START_TEST(test_renamed)
{
	begin();
	sign_in(&t.a, 1, "bob");
	hear(&t.a, RST_IPC_ATRN, 1, 2);
	expect("check(bob) ");
	answer_check_as(RST_HOLD_OPENED, "", "renamed");
	expect("a1:ATRN_DONE=0#2(renamed) ");
	ck_assert(!sessions_has(t.sessions, RST_STR("bob")));
	ck_assert(sessions_has(t.sessions, RST_STR("renamed")));
	sessions_held(t.sessions, RST_STR("renamed"));
	expect("a1:HELD ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("dial(bob) ");
	hear(&t.a, RST_IPC_HOLD_CLOSED, 1, 0);
	t.said[0] = '\0';
	sign_in(&t.b, 2, "bob2");
	hear(&t.b, RST_IPC_ATRN, 2, 2);
	expect("check(bob2) ");
	answer_check_as(RST_HOLD_OPENED, "", "renamed");
	expect("a1:DISMISS b2:ATRN_DONE=0#2(renamed) ");
	/* by either name */
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("bob2")), 1);
	expect("b2:DISMISS ");
	sign_in(&t.b, 3, "bob2");
	hear(&t.b, RST_IPC_ATRN, 3, 2);
	answer_check_as(RST_HOLD_OPENED, "", "renamed");
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("renamed")), 1);
	t.said[0] = '\0';
	finish();
}
END_TEST

/* A session is told of each change once; of one that is not certain, each
   time. */
START_TEST(test_touched)
{
	begin();
	ck_assert(!sessions_has(t.sessions, RST_STR("bob")));
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("");
	opened(&t.a, 1, "bob");
	ck_assert(sessions_has(t.sessions, RST_STR("bob")));
	ck_assert(!sessions_has(t.sessions, RST_STR("eve")));
	t.said[0] = '\0';
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("a1:HELD ");
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("");
	sessions_touched(t.sessions, RST_STR("bob"), 6);
	expect("a1:HELD ");
	/* also if the clock was set back */
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("a1:HELD ");
	sessions_touched(t.sessions, RST_STR("bob"), 0);
	expect("a1:HELD ");
	sessions_touched(t.sessions, RST_STR("bob"), 0);
	expect("a1:HELD ");
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("a1:HELD ");
	/* another session was told of nothing */
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	ck_assert(!sessions_has(t.sessions, RST_STR("bob")));
	opened(&t.a, 2, "bob");
	t.said[0] = '\0';
	sessions_touched(t.sessions, RST_STR("bob"), 5);
	expect("a2:HELD ");
	finish();
}
END_TEST

/* What a worker has seen of the hold is passed on, if it had the hold open. */
START_TEST(test_hold_seen)
{
	begin();
	opened(&t.a, 1, "bob");
	ck_assert_uint_eq(t.watched, 1);
	hear_closed(&t.a, 1, 1, 0);
	expect("seen(bob)=0 ");
	/* the hold is not open now */
	hear_closed(&t.a, 1, 1, 0);
	expect("");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	answer_dial(true);
	ck_assert_uint_eq(t.watched, 2);
	expect("dial(bob) a1:HOLD ");
	hear_closed(&t.a, 1, 1, 1700000000);
	expect("seen(bob)=1700000000 ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	answer_dial(true);
	expect("dial(bob) a1:HOLD ");
	hear_closed(&t.a, 1, 0, 1700000000);
	expect("");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	answer_dial(true);
	expect("dial(bob) a1:HOLD ");
	hear_closed(&t.a, 1, 1, -5);
	expect("");
	/* the session ends with the hold open: nothing is passed on */
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	answer_dial(true);
	expect("dial(bob) a1:HOLD ");
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	expect("");
	ck_assert_uint_eq(t.watched, 5);
	finish();
}
END_TEST

/* What the old session has seen is passed on before the new session begins to
   look. */
START_TEST(test_hold_seen_at_takeover)
{
	begin();
	opened(&t.a, 1, "bob");
	registered(&t.b, 1, "bob");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	ck_assert_uint_eq(t.watched, 1);
	t.said[0] = '\0';
	hear_closed(&t.a, 1, 1, 0);
	expect("seen(bob)=0 dial(bob) ");
	ck_assert_uint_eq(t.watched, 2);
	finish();
}
END_TEST

START_TEST(test_sign_in_fails)
{
	begin();
	hear(&t.a, RST_IPC_AUTH, 1, 1);
	auth_event(RST_AUTH_FAILED, 1, "bob");
	expect("a1:AUTH_DONE=2#1 ");
	t.auth_away = true;
	hear(&t.a, RST_IPC_AUTH, 1, 2);
	expect("a1:AUTH_DONE=1#2 ");
	t.auth_away = false;
	hear(&t.a, RST_IPC_AUTH, 1, 3);
	hear(&t.b, RST_IPC_AUTH, 1, 4);
	sessions_auth_lost(t.sessions);
	ck_assert_ptr_nonnull(strstr(t.said, "a1:AUTH_DONE=1#3 "));
	ck_assert_ptr_nonnull(strstr(t.said, "b1:AUTH_DONE=1#4 "));
	t.said[0] = '\0';
	/* they crossed our answer: neither is a fault */
	hear(&t.a, RST_IPC_AUTH_CONTINUE, 1, 5);
	hear(&t.a, RST_IPC_AUTH_CANCEL, 1, 0);
	auth_event(RST_AUTH_OK, 2, "bob");
	expect("");
	hear(&t.a, RST_IPC_AUTH, 1, 6);
	hear(&t.a, RST_IPC_AUTH_CANCEL, 1, 0);
	expect("cancel4 ");
	hear(&t.a, RST_IPC_AUTH, 1, 7);
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	expect("cancel5 ");
	finish();
}
END_TEST

/* After many failures for a user, the answer no longer tells whether the
   password was right. */
START_TEST(test_guessing)
{
	uint64_t n;

	begin_with(1000000, 100);
	for (n = 1; n <= 20; n++) {
		hear(&t.a, RST_IPC_AUTH, n, 1);
		auth_event(RST_AUTH_FAILED, t.exchanges, "bob");
		ck_assert_ptr_nonnull(strstr(t.said, ":AUTH_DONE=2#1 "));
		t.said[0] = '\0';
	}
	hear(&t.a, RST_IPC_AUTH, 30, 1);
	auth_event(RST_AUTH_FAILED, t.exchanges, "bob");
	expect("a30:AUTH_DONE=1#1 ");
	hear(&t.b, RST_IPC_AUTH, 31, 1);
	auth_event(RST_AUTH_OK, t.exchanges, "bob");
	expect("b31:AUTH_DONE=1#1 ");
	hear(&t.b, RST_IPC_ATRN, 31, 2);
	expect("b:KILL ");
	sign_in(&t.a, 32, "eve");
	finish();
}
END_TEST

static const struct {
	enum rst_hold_event_type type;
	const char *code;
	int verdict;
} checks[] = {
	{RST_HOLD_REFUSED, RST_HOLD_NO_USER, RST_VERDICT_REFUSED},
	{RST_HOLD_REFUSED, RST_HOLD_NO_ENROLLED, RST_VERDICT_REFUSED},
	{RST_HOLD_REFUSED, RST_HOLD_NO_BUSY, RST_VERDICT_TEMPFAIL},
	{RST_HOLD_REFUSED, RST_HOLD_NO_TEMP, RST_VERDICT_TEMPFAIL},
	{RST_HOLD_REFUSED, RST_HOLD_NO_PROTO, RST_VERDICT_TEMPFAIL},
	{RST_HOLD_REFUSED, "NEW", RST_VERDICT_TEMPFAIL},
	{RST_HOLD_CLOSED, "", RST_VERDICT_TEMPFAIL},
};

START_TEST(test_not_granted)
{
	char want[64];

	begin();
	sign_in(&t.a, 1, "bob");
	hear(&t.a, RST_IPC_ATRN, 1, 2);
	expect("check(bob) ");
	answer_check(checks[_i].type, checks[_i].code);
	(void)snprintf(want, sizeof(want), "a1:ATRN_DONE=%d#2 ",
		       checks[_i].verdict);
	expect(want);
	/* a refused session may ask again, and may not open the hold */
	hear(&t.a, RST_IPC_ATRN, 1, 3);
	expect("check(bob) ");
	t.jobs[1].event(NULL, "connection lost", t.jobs[1].ctx);
	expect("a1:ATRN_DONE=1#3 ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("a:KILL ");
	finish();
}
END_TEST

/* The new session's hold opens when the old session has closed its own. */
START_TEST(test_takeover)
{
	bool by_closed = _i == 1, by_death = _i == 2;

	begin();
	opened(&t.a, 1, "bob");
	registered(&t.b, 1, "bob");
	expect("a1:DISMISS b1:ATRN_DONE=0#2(bob) ");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0); /* it crossed DISMISS */
	expect("");
	if (by_death)
		sessions_worker_gone(t.sessions, &t.a);
	else
		hear(&t.a, by_closed ? RST_IPC_CLOSED : RST_IPC_HOLD_CLOSED, 1,
		     0);
	expect("dial(bob) ");
	answer_dial(true);
	expect("b1:HOLD ");
	if (!by_closed && !by_death)
		hear(&t.a, RST_IPC_CLOSED, 1, 0);
	/* the end of the old session left the new registration alone */
	sessions_held(t.sessions, RST_STR("bob"));
	expect("b1:HELD ");
	finish();
}
END_TEST

START_TEST(test_takeover_closed_first)
{
	begin();
	opened(&t.a, 1, "bob");
	registered(&t.b, 1, "bob");
	expect("a1:DISMISS b1:ATRN_DONE=0#2(bob) ");
	hear(&t.a, RST_IPC_HOLD_CLOSED, 1, 0);
	expect("");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

START_TEST(test_takeover_time)
{
	begin_with(1, 3);
	opened(&t.a, 1, "bob");
	registered(&t.b, 1, "bob");
	t.said[0] = '\0';
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("");
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

/* A worker that says SETTLING gets more time, once; others get none. */
START_TEST(test_takeover_settling)
{
	struct timeval now, before;

	begin_with(30, 3);
	opened(&t.a, 1, "bob");
	hear(&t.a, RST_IPC_SETTLING, 1, 0); /* no effect: not replaced */
	registered(&t.b, 1, "bob");
	t.said[0] = '\0';
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	(void)evutil_gettimeofday(&before, NULL);
	hear(&t.a, RST_IPC_SETTLING, 1, 0);
	hear(&t.b, RST_IPC_SETTLING, 1, 0);
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
	(void)evutil_gettimeofday(&now, NULL);
	evutil_timersub(&now, &before, &now);
	ck_assert(now.tv_sec > 0 || now.tv_usec >= 100 * 1000);
	expect("dial(bob) ");
	hear(&t.a, RST_IPC_SETTLING, 1, 0);
	finish();
}
END_TEST

/* Of three sessions the second never had the hold: the third waits for the
   first. */
START_TEST(test_takeover_chain)
{
	begin();
	opened(&t.a, 1, "bob");
	registered(&t.a, 2, "bob");
	t.said[0] = '\0';
	hear(&t.a, RST_IPC_HOLD_OPEN, 2, 0);
	registered(&t.b, 3, "bob");
	expect("a2:DISMISS b3:ATRN_DONE=0#2(bob) ");
	hear(&t.b, RST_IPC_HOLD_OPEN, 3, 0);
	hear(&t.a, RST_IPC_CLOSED, 2, 0);
	expect("");
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

/* The first session closes late, when the third already waits for the
   second. */
START_TEST(test_takeover_late_close)
{
	begin_with(1, 3);
	opened(&t.a, 1, "bob");
	registered(&t.a, 2, "bob");
	hear(&t.a, RST_IPC_HOLD_OPEN, 2, 0);
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
	answer_dial(true);
	t.said[0] = '\0';
	registered(&t.b, 3, "bob");
	t.said[0] = '\0';
	hear(&t.b, RST_IPC_HOLD_OPEN, 3, 0);
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	expect("");
	hear(&t.a, RST_IPC_CLOSED, 2, 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

START_TEST(test_takeover_while_dialling)
{
	begin();
	registered(&t.a, 1, "bob");
	t.said[0] = '\0';
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("dial(bob) ");
	registered(&t.b, 1, "bob");
	ck_assert(!t.dials[0].live);
	expect("a1:DISMISS b1:ATRN_DONE=0#2(bob) ");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

/*
 * A worker that hangs, or lies about having closed its descriptor: what it
 * wrote in time is read by the service, and nothing after it.
 */
START_TEST(test_cut_off)
{
	char buf[16];
	int fds[2], workers;

	(void)signal(SIGPIPE, SIG_IGN);
	begin_with(1, 3);
	registered(&t.a, 1, "bob");
	t.said[0] = '\0';
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	workers = dup(fds[0]);
	answer_dial_with(fds[0]);
	ck_assert_int_eq(write(workers, "ACK\n", 4), 4);
	t.said[0] = '\0';
	if (_i == 0) {
		registered(&t.b, 1, "bob");
		t.said[0] = '\0';
		hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
		ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
		expect("dial(bob) ");
		/* too late: no effect */
		hear(&t.a, RST_IPC_HOLD_CLOSED, 1, 0);
	} else if (_i == 1) {
		hear(&t.a, RST_IPC_HOLD_CLOSED, 1, 0);
	} else {
		hear(&t.a, RST_IPC_CLOSED, 1, 0);
	}
	ck_assert_int_eq(write(workers, "late\n", 5), -1);
	ck_assert_int_eq(read(fds[1], buf, sizeof(buf)), 4);
	ck_assert_int_eq(read(fds[1], buf, sizeof(buf)), 0);
	expect("");
	(void)close(workers);
	(void)close(fds[1]);
	finish();
}
END_TEST

static void many_atrn(uint64_t many)
{
	uint64_t n;

	begin_with(1000000, 100);
	t.frozen = 1000;
	for (n = 1; n <= many; n++) {
		sign_in(&t.a, n, "bob");
		hear(&t.a, RST_IPC_ATRN, n, 2);
		t.said[0] = '\0';
	}
}

/* After an outage all clients come back together: restante-hold is asked about
   few of them at a time, and about the next when it has answered one. */
START_TEST(test_quick_checks)
{
	unsigned int i;

	many_atrn(40);
	ck_assert_uint_eq(t.job_count, AT_ONCE);
	for (i = 0; i < 40; i++) {
		ck_assert(t.jobs[i].live);
		t.jobs[i].event(NULL, "no answer", t.jobs[i].ctx);
		ck_assert_uint_eq(t.job_count,
				  i + 1 + AT_ONCE < 40 ? i + 1 + AT_ONCE : 40);
	}
	finish();
}
END_TEST

/* If restante-hold is slow it is asked about more of them, and no session is
   forgotten. */
START_TEST(test_many_checks)
{
	const uint64_t many = 40;
	unsigned int asked, i;

	many_atrn(many);
	for (asked = AT_ONCE; asked <= 32; asked += AT_ONCE) {
		ck_assert_uint_eq(t.job_count, asked);
		t.frozen++;
		ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
	}
	asked = t.job_count;
	ck_assert_uint_eq(asked, 32);
	/* one queued session leaves, and one whose check runs */
	hear(&t.a, RST_IPC_CLOSED, many, 0);
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	ck_assert_uint_eq(t.job_count, asked + 1);
	hear(&t.a, RST_IPC_ATRN, many - 1, 3);
	ck_assert_ptr_nonnull(strstr(t.said, "a:KILL "));
	for (i = 1; i < t.job_count; i++) {
		ck_assert(t.jobs[i].live);
		t.jobs[i].event(NULL, "no answer", t.jobs[i].ctx);
	}
	ck_assert_uint_eq(t.job_count, many - 1);
	finish();
}
END_TEST

START_TEST(test_two_users)
{
	begin();
	opened(&t.a, 1, "bob");
	opened(&t.a, 2, "eve");
	sessions_held(t.sessions, RST_STR("eve"));
	expect("a2:HELD ");
	sessions_held(t.sessions, RST_STR("nobody"));
	expect("");
	finish();
}
END_TEST

/* HELD is sent once until the worker asks for the hold, and every time while
   the hold is open. */
START_TEST(test_held)
{
	begin();
	registered(&t.a, 1, "bob");
	t.said[0] = '\0';
	sessions_held(t.sessions, RST_STR("bob"));
	sessions_held(t.sessions, RST_STR("bob"));
	expect("a1:HELD ");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("dial(bob) ");
	sessions_held(t.sessions, RST_STR("bob"));
	expect("");
	answer_dial(true);
	expect("a1:HOLD ");
	sessions_held(t.sessions, RST_STR("bob"));
	sessions_held(t.sessions, RST_STR("bob"));
	expect("a1:HELD a1:HELD ");
	hear(&t.a, RST_IPC_HOLD_CLOSED, 1, 0);
	sessions_held(t.sessions, RST_STR("bob"));
	expect("a1:HELD ");
	finish();
}
END_TEST

/* What a worker may try that an attacker controls. Session 1 is signed in as
   bob, 2 is registered as eve, 3 has an open exchange. */
static const struct {
	enum rst_ipc_type type;
	uint64_t session;
	const char *said;
} forged[] = {
	{RST_IPC_HOLD_OPEN, 1, "a:KILL "},
	{RST_IPC_HOLD_OPEN, 3, "a:KILL "},
	{RST_IPC_HOLD_OPEN, 99, "a:KILL "},
	{RST_IPC_ATRN, 3, "a:KILL "},
	{RST_IPC_ATRN, 2, "a:KILL "},
	{RST_IPC_ATRN, 99, "a:KILL "},
	{RST_IPC_AUTH, 1, "a:KILL "},
	{RST_IPC_AUTH, 3, "a:KILL "},
	{RST_IPC_AUTH, 4, "a:KILL "}, /* one more than it may have */
	{RST_IPC_AUTH_CONTINUE, 99, "a:KILL "},
	{RST_IPC_HOLD_CLOSED, 99, "a:KILL "},
	{RST_IPC_HOLD_CLOSED, 2, ""},
	{RST_IPC_AUTH_CONTINUE, 1, ""},
	{RST_IPC_CLOSED, 99, ""},
};

START_TEST(test_forged)
{
	begin();
	sign_in(&t.a, 1, "bob");
	registered(&t.a, 2, "eve");
	t.said[0] = '\0';
	hear(&t.a, RST_IPC_AUTH, 3, 1);
	hear(&t.a, forged[_i].type, forged[_i].session, 5);
	expect(forged[_i].said);
	finish();
}
END_TEST

/* A worker cannot name another worker's session. */
START_TEST(test_other_workers_session)
{
	begin();
	registered(&t.a, 1, "bob");
	t.said[0] = '\0';
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("b:KILL ");
	hear(&t.b, RST_IPC_CLOSED, 1, 0);
	sessions_held(t.sessions, RST_STR("bob"));
	expect("a1:HELD ");
	finish();
}
END_TEST

START_TEST(test_hold_open_twice)
{
	begin();
	opened(&t.a, 1, "bob");
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("a:KILL ");
	finish();
}
END_TEST

START_TEST(test_bad_base64)
{
	struct rst_ipc msg = {.type = RST_IPC_AUTH_CONTINUE,
			      .session = 1,
			      .id = 2,
			      .a = RST_STR("!")};

	begin();
	hear(&t.a, RST_IPC_AUTH, 1, 1);
	sessions_message(t.sessions, &t.a, &msg);
	expect("continue1 cancel1 a1:AUTH_DONE=2#2 ");
	finish();
}
END_TEST

static const size_t user_lengths[] = {0, 513};

START_TEST(test_no_usable_user)
{
	char user[600];

	begin();
	memset(user, 'u', sizeof(user));
	user[user_lengths[_i]] = '\0';
	hear(&t.a, RST_IPC_AUTH, 1, 1);
	auth_event(RST_AUTH_OK, 1, user);
	expect("a1:AUTH_DONE=1#1 ");
	finish();
}
END_TEST

START_TEST(test_worker_gone)
{
	begin();
	opened(&t.a, 1, "bob");
	sign_in(&t.a, 2, "eve");
	hear(&t.a, RST_IPC_ATRN, 2, 2);
	hear(&t.a, RST_IPC_AUTH, 3, 1);
	t.said[0] = '\0';
	sessions_worker_gone(t.sessions, &t.a);
	expect("cancel3 ");
	sessions_held(t.sessions, RST_STR("bob"));
	expect("");
	/* the next worker may use the same numbers */
	hear(&t.a, RST_IPC_AUTH, 1, 1);
	expect("");
	finish();
}
END_TEST

/* ---- signing out */

static void register_quietly(struct worker *worker, uint64_t session,
			     const char *user)
{
	registered(worker, session, user);
	t.said[0] = '\0';
}

static bool out(enum recheck_reason reason)
{
	return sessions_recheck_out(t.last_watched, reason, NULL);
}

/* A session that is registered is looked at again, until it ends, whichever
   way. */
START_TEST(test_watched)
{
	begin();
	sign_in(&t.a, 1, "bob");
	ck_assert_uint_eq(t.rechecked, 0);
	hear(&t.a, RST_IPC_ATRN, 1, 2);
	answer_check(RST_HOLD_OPENED, "");
	ck_assert_uint_eq(t.rechecked, 1);
	t.said[0] = '\0';
	register_quietly(&t.b, 1, "bob"); /* takes over */
	ck_assert_uint_eq(t.rechecked, 1);
	register_quietly(&t.b, 2, "eve");
	ck_assert_uint_eq(t.rechecked, 2);
	hear(&t.b, RST_IPC_CLOSED, 2, 0);
	ck_assert_uint_eq(t.rechecked, 1);
	finish();
}
END_TEST

START_TEST(test_signed_out)
{
	begin();
	registered(&t.a, 1, "bob");
	t.said[0] = '\0';
	ck_assert(out(RECHECK_DISABLED));
	expect("a1:DISMISS ");
	ck_assert_uint_eq(t.rechecked, 0);
	/* mail is not announced to it, and it gets no hold */
	sessions_held(t.sessions, RST_STR("bob"));
	hear(&t.a, RST_IPC_HOLD_OPEN, 1, 0);
	expect("");
	/* neither twice */
	ck_assert(!out(RECHECK_DISABLED));
	expect("");
	hear(&t.a, RST_IPC_CLOSED, 1, 0);
	registered(&t.a, 2, "bob");
	expect("a2:ATRN_DONE=0#2(bob) ");
	finish();
}
END_TEST

/* Who signs in next waits until the session that was signed out has closed the
   hold, or has had it cut off. */
START_TEST(test_signed_out_with_hold)
{
	begin_with(_i == 0 ? 1000000 : 30, 3);
	opened(&t.a, 1, "bob");
	ck_assert(out(RECHECK_PASSWORD));
	expect("a1:DISMISS ");
	registered(&t.b, 1, "bob");
	expect("b1:ATRN_DONE=0#2(bob) ");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	expect("");
	if (_i == 0)
		hear_closed(&t.a, 1, 0, 0);
	else
		(void)event_base_dispatch(t.base);
	expect("dial(bob) ");
	answer_dial(true);
	expect("b1:HOLD ");
	finish();
}
END_TEST

/* The same where it was waiting itself. */
START_TEST(test_signed_out_waiting)
{
	begin();
	opened(&t.a, 1, "bob");
	registered(&t.b, 1, "bob");
	hear(&t.b, RST_IPC_HOLD_OPEN, 1, 0);
	t.said[0] = '\0';
	ck_assert(out(RECHECK_GONE));
	expect("b1:DISMISS ");
	registered(&t.b, 2, "bob");
	hear(&t.b, RST_IPC_HOLD_OPEN, 2, 0);
	expect("b2:ATRN_DONE=0#2(bob) ");
	hear_closed(&t.a, 1, 0, 0);
	expect("dial(bob) ");
	finish();
}
END_TEST

/* What is being pushed would have to be sent again. */
START_TEST(test_lifetime)
{
	begin();
	opened(&t.a, 1, "bob");
	ck_assert(!out(RECHECK_LIFETIME));
	expect("");
	hear_closed(&t.a, 1, 0, 0);
	ck_assert(out(RECHECK_LIFETIME));
	expect("a1:DISMISS ");
	finish();
}
END_TEST

START_TEST(test_kick)
{
	begin_with(1000000, 10);
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("bob")), 0);
	register_quietly(&t.a, 1, "bob");
	register_quietly(&t.a, 2, "eve");
	sign_in(&t.b, 3, "bob"); /* SIGNED_IN */
	sign_in(&t.b, 4, "bob");
	hear(&t.b, RST_IPC_ATRN, 4, 2); /* CHECKING */
	expect("check(bob) ");
	hear(&t.b, RST_IPC_AUTH, 5, 1); /* NEW */
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("bob")), 3);
	expect("a1:DISMISS ");
	/* as Dovecot spells it, and nobody else */
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("bo")), 0);
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("Bob")), 0);
	answer_check(RST_HOLD_OPENED, "");
	expect("b4:ATRN_DONE=1#2 ");
	hear(&t.b, RST_IPC_ATRN, 3, 7);
	answer_check(RST_HOLD_OPENED, "");
	expect("check(bob) b3:ATRN_DONE=1#7 ");
	/* a password that was checked afterwards counts */
	auth_event(RST_AUTH_OK, t.exchanges, "bob");
	t.said[0] = '\0';
	hear(&t.b, RST_IPC_ATRN, 5, 8);
	answer_check(RST_HOLD_OPENED, "");
	expect("check(bob) b5:ATRN_DONE=0#8(bob) ");
	finish();
}
END_TEST

static void read_all(struct sessions_reader *reader, const char *want)
{
	struct sessions_row row;

	while (sessions_reader_next(reader, &row)) {
		ck_assert_rst_str_eq(row.remote, "192.0.2.1");
		ck_assert_int_gt(row.since, 1600000000);
		say("%.*s/%d%s ", (int)row.user.n, row.user.p, (int)row.epoch,
		    row.draining ? "!" : "");
	}
	sessions_reader_free(&reader);
	expect(want);
}

START_TEST(test_reader)
{
	struct sessions_reader *reader, *other;
	struct sessions_row row;

	begin_with(1000000, 10);
	read_all(sessions_reader_new(t.sessions), "");
	register_quietly(&t.a, 1, "ann");
	register_quietly(&t.b, 1, "bob");
	opened(&t.a, 2, "cat");
	register_quietly(&t.a, 3, "dan");
	sign_in(&t.a, 4, "eve");
	t.said[0] = '\0';
	read_all(sessions_reader_new(t.sessions), "ann/1 bob/2 cat/3! dan/4 ");
	/* bob is next, and goes; ann has been read, and goes; dan is replaced
	 */
	reader = sessions_reader_new(t.sessions);
	other = sessions_reader_new(t.sessions);
	ck_assert(sessions_reader_next(reader, &row));
	hear(&t.b, RST_IPC_CLOSED, 1, 0);
	ck_assert_uint_eq(sessions_kick(t.sessions, RST_STR("ann")), 1);
	t.said[0] = '\0';
	registered(&t.b, 2, "dan");
	t.said[0] = '\0';
	read_all(reader, "cat/3! dan/5 ");
	read_all(other, "cat/3! dan/5 ");
	finish();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sessions");
	TCase *tcase = tcase_create("sessions");

	tcase_add_test(tcase, test_main_road);
	tcase_add_test(tcase, test_renamed);
	tcase_add_test(tcase, test_touched);
	tcase_add_test(tcase, test_hold_seen);
	tcase_add_test(tcase, test_hold_seen_at_takeover);
	tcase_add_test(tcase, test_sign_in_fails);
	tcase_add_test(tcase, test_guessing);
	tcase_add_loop_test(tcase, test_not_granted, 0, N_ELEMENTS(checks));
	tcase_add_loop_test(tcase, test_takeover, 0, 3);
	tcase_add_test(tcase, test_takeover_closed_first);
	tcase_add_test(tcase, test_takeover_time);
	tcase_add_test(tcase, test_takeover_settling);
	tcase_add_test(tcase, test_takeover_chain);
	tcase_add_test(tcase, test_takeover_late_close);
	tcase_add_test(tcase, test_takeover_while_dialling);
	tcase_add_loop_test(tcase, test_cut_off, 0, 3);
	tcase_add_test(tcase, test_quick_checks);
	tcase_add_test(tcase, test_many_checks);
	tcase_add_test(tcase, test_two_users);
	tcase_add_test(tcase, test_held);
	tcase_add_loop_test(tcase, test_forged, 0, N_ELEMENTS(forged));
	tcase_add_test(tcase, test_other_workers_session);
	tcase_add_test(tcase, test_hold_open_twice);
	tcase_add_test(tcase, test_bad_base64);
	tcase_add_loop_test(tcase, test_no_usable_user, 0,
			    N_ELEMENTS(user_lengths));
	tcase_add_test(tcase, test_worker_gone);
	tcase_add_test(tcase, test_watched);
	tcase_add_test(tcase, test_signed_out);
	tcase_add_loop_test(tcase, test_signed_out_with_hold, 0, 2);
	tcase_add_test(tcase, test_signed_out_waiting);
	tcase_add_test(tcase, test_lifetime);
	tcase_add_test(tcase, test_kick);
	tcase_add_test(tcase, test_reader);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
