/* SPDX-License-Identifier: MIT */
/*
 * A job dials, asks, tells its caller of each answer, and closes at the answer
 * that ends it, or when it fails; it then waits to be freed.
 */
#include "hold-job.h"

#include <stdlib.h>
#include <string.h>

#include "common/hold-conn.h"
#include "hold-dial.h"
#include "restante/clock.h"

/** Callbacks of the core are kept short, so that Postfix need not wait. */
#define INPUT_MAX (2 * RST_HOLD_LINE_MAX)

struct hold_job {
	struct event_base *base;
	enum hold_job_type type;
	struct hold_dial *dial;
	struct hold_conn *conn;
	struct event *timer;
	hold_job_func *event;
	void *ctx;
	bool telling; /* in event(), with views into conn */
	bool freed;   /* inside event() */
};

/* A sign-in waits for CHECK. A fallback goes through Sieve and quota, message
   by message. A walk over all users takes minutes, but says something after a
   thousand of them at the latest. */
static const int64_t reply_timeout_ms[] = {
	[HOLD_JOB_CHECK] = 10 * 1000,
	[HOLD_JOB_EXPIRED] = 600 * 1000,
	[HOLD_JOB_SCAN] = 3600 * 1000,
};

static void close_connection(struct hold_job *job)
{
	hold_conn_free(&job->conn);
	(void)event_del(job->timer);
}

/* The callee may free the job. */
static void fail(struct hold_job *job, const char *text)
{
	close_connection(job);
	job->event(NULL, text, job->ctx);
}

static bool is_last(const struct hold_job *job, const struct rst_hold_event *ev)
{
	return ev->type == RST_HOLD_REFUSED || ev->type == RST_HOLD_CLOSED ||
	       ev->type == RST_HOLD_RELEASED || ev->type == RST_HOLD_SCANNED ||
	       (ev->type == RST_HOLD_OPENED && job->type == HOLD_JOB_CHECK);
}

static void on_event(struct hold_job *job, const struct rst_hold_event *ev)
{
	if (ev->type == RST_HOLD_OPENED && job->type == HOLD_JOB_EXPIRED)
		rst_hold_dialler_release(hold_conn_machine(job->conn),
					 RST_STR("EXPIRED"), clock_ms());
	job->event(ev, "", job->ctx);
}

static void set_timer(struct hold_job *job)
{
	int64_t deadline = hold_conn_deadline(job->conn);
	struct timeval delay = clock_timeval(deadline - clock_ms());

	if (deadline < 0)
		(void)event_del(job->timer);
	else
		(void)event_add(job->timer, &delay);
}

static void destroy(struct hold_job *job)
{
	hold_dial_free(&job->dial);
	hold_conn_free(&job->conn);
	event_free(job->timer);
	free(job);
}

/** @return as hold_conn_next(); 1: the job is over, or freed */
static int tell_events(struct hold_job *job)
{
	struct rst_hold_event ev;
	bool over = false;
	int ret = 1;

	job->telling = true;
	while (!over && !job->freed &&
	       (ret = hold_conn_next(job->conn, SIZE_MAX, &ev, clock_ms())) >
		       0) {
		over = is_last(job, &ev);
		on_event(job, &ev);
	}
	job->telling = false;
	return ret;
}

static void on_wake(void *ctx)
{
	struct hold_job *job = ctx;
	int ret = tell_events(job);

	if (job->freed) {
		destroy(job);
	} else if (ret < 0) {
		fail(job, ret == RST_ETEMP ? "connection lost"
					   : "not the hold protocol");
	} else if (ret > 0) {
		close_connection(job);
	} else {
		hold_conn_flush(job->conn);
		set_timer(job);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fail(arg, "no answer in time");
}

static void on_dialled(int fd, int error, void *ctx)
{
	struct hold_job *job = ctx;
	const struct hold_conn_config config = {
		.reply_timeout_ms = reply_timeout_ms[job->type],
		.input_max = INPUT_MAX,
		.scan = job->type == HOLD_JOB_SCAN};

	hold_dial_free(&job->dial);
	if (fd < 0) {
		fail(job, strerror(error));
		return;
	}
	job->conn =
		hold_conn_new(job->base, fd, &config, clock_ms(), on_wake, job);
	set_timer(job);
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	struct hold_job *job = rst_calloc(1, sizeof(*job));

	job->base = base;
	job->type = type;
	job->event = event;
	job->ctx = ctx;
	job->timer = evtimer_new(base, on_timer, job);
	if (job->timer == NULL)
		abort();
	job->dial = hold_dial_start(base, path,
				    type == HOLD_JOB_SCAN ? RST_STR("") : user,
				    on_dialled, job);
	return job;
}

void hold_job_free(struct hold_job **_job)
{
	struct hold_job *job = *_job;

	*_job = NULL;
	if (job == NULL)
		return;
	if (job->telling)
		job->freed = true;
	else
		destroy(job);
}
