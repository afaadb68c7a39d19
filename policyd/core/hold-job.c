/* SPDX-License-Identifier: MIT */
#include "hold-job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "hold-dial.h"

struct hold_job {
	struct event_base *base;
	enum hold_job_type type;
	struct hold_dial *dial;
	int fd;
	struct rst_hold_dialler *hold;
	struct event *readable, *timer;
	hold_job_func *event;
	void *ctx;
	size_t in_used;
	bool pumping;
	bool over; /* the last event was told */
	bool dead; /* freed inside event() */
	char in[2 * RST_HOLD_LINE_MAX];
};

/* A sign-in waits for CHECK. A fallback goes through Sieve and quota, message
   by message. A walk over all users takes minutes, but has a line for us after
   a thousand of them at the latest. */
static const int64_t reply_timeout_ms[] = {
	[HOLD_JOB_CHECK] = 10 * 1000,
	[HOLD_JOB_EXPIRED] = 600 * 1000,
	[HOLD_JOB_SCAN] = 3600 * 1000,
};

static bool is_last(const struct hold_job *job, const struct rst_hold_event *ev)
{
	return ev == NULL || ev->type == RST_HOLD_REFUSED ||
	       ev->type == RST_HOLD_CLOSED || ev->type == RST_HOLD_RELEASED ||
	       ev->type == RST_HOLD_SCANNED ||
	       (ev->type == RST_HOLD_OPENED && job->type == HOLD_JOB_CHECK);
}

static void tell(struct hold_job *job, const struct rst_hold_event *ev,
		 const char *text)
{
	if (job->over)
		return;
	if (is_last(job, ev)) {
		job->over = true;
		if (job->readable != NULL)
			(void)event_del(job->readable);
		if (job->timer != NULL)
			(void)event_del(job->timer);
	}
	job->event(ev, text, job->ctx);
}

static void on_event(struct hold_job *job, const struct rst_hold_event *ev)
{
	if (ev->type == RST_HOLD_OPENED && job->type == HOLD_JOB_EXPIRED)
		rst_hold_dialler_release(job->hold, RST_STR("EXPIRED"),
					 clock_ms());
	tell(job, ev, "");
}

/** @return RST_EPROTO, RST_ELIMIT or 0 */
static ssize_t take_input(struct hold_job *job)
{
	struct rst_hold_event ev;
	size_t done = 0;
	ssize_t taken;

	do {
		taken = rst_hold_dialler_recv(job->hold, job->in + done,
					      job->in_used - done, clock_ms());
		if (taken > 0)
			done += (size_t)taken;
		while (!job->over && !job->dead &&
		       rst_hold_dialler_next(job->hold, &ev))
			on_event(job, &ev);
	} while (taken > 0 && !job->over && !job->dead);
	job->in_used -= done;
	memmove(job->in, job->in + done, job->in_used);
	return taken < 0 ? taken : 0;
}

/* What we say is one short line into an empty socket. */
static bool flush_output(struct hold_job *job)
{
	size_t len;
	const char *out = rst_hold_dialler_output(job->hold, &len);

	if (len == 0)
		return true;
	if (send(job->fd, out, len, MSG_NOSIGNAL) != (ssize_t)len)
		return false;
	rst_hold_dialler_sent(job->hold, len);
	return true;
}

static void set_timer(struct hold_job *job)
{
	int64_t deadline = rst_hold_dialler_deadline(job->hold);
	struct timeval delay = clock_timeval(deadline - clock_ms());

	if (deadline < 0)
		(void)event_del(job->timer);
	else
		(void)event_add(job->timer, &delay);
}

static void release(struct hold_job *job)
{
	hold_dial_free(&job->dial);
	rst_hold_dialler_free(&job->hold);
	if (job->readable != NULL)
		event_free(job->readable);
	if (job->timer != NULL)
		event_free(job->timer);
	if (job->fd >= 0)
		(void)close(job->fd);
	free(job);
}

static void pump(struct hold_job *job)
{
	job->pumping = true;
	if (take_input(job) < 0)
		tell(job, NULL, "not the hold protocol");
	else if (!job->over && !job->dead && !flush_output(job))
		tell(job, NULL, "connection lost");
	job->pumping = false;
	if (job->dead)
		release(job);
	else if (!job->over)
		set_timer(job);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hold_job *job = arg;
	ssize_t n = recv(fd, job->in + job->in_used,
			 sizeof(job->in) - job->in_used, 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		tell(job, NULL, "connection lost");
		return;
	}
	job->in_used += (size_t)n;
	pump(job);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tell(arg, NULL, "no answer in time");
}

static void on_dialled(int fd, int error, void *ctx)
{
	struct hold_job *job = ctx;
	const struct rst_hold_dialler_limits limits = {
		reply_timeout_ms[job->type]};

	hold_dial_free(&job->dial);
	if (fd < 0) {
		tell(job, NULL, strerror(error));
		return;
	}
	job->fd = fd;
	job->hold = rst_hold_dialler_new(&limits, job->type == HOLD_JOB_SCAN,
					 clock_ms());
	job->readable = event_new(job->base, fd, EV_READ | EV_PERSIST,
				  on_readable, job);
	job->timer = evtimer_new(job->base, on_timer, job);
	if (job->readable == NULL || job->timer == NULL ||
	    event_add(job->readable, NULL) < 0)
		abort();
	set_timer(job);
}

struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx)
{
	struct hold_job *job = rst_calloc(1, sizeof(*job));

	job->base = base;
	job->type = type;
	job->fd = -1;
	job->event = event;
	job->ctx = ctx;
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
	if (job->pumping)
		job->dead = true;
	else
		release(job);
}
