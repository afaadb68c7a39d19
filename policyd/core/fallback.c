/* SPDX-License-Identifier: MIT */
/*
 * A user's deadline moves through the timetable:
 *
 *   noted        by a note, or by the walk
 *   being swept  taken out by run_due(), while one EXPIRED job runs
 *   then         set to what RELEASED says falls due next, or, after a failure,
 *                to a retry whose delay grows
 *
 * A session that looks at the hold (watch, seen) sets the deadline as well. The
 * rules for what wins are the timetable's (restante/timetable.h).
 *
 * The walk (SCAN) runs at the start, every reconcile_ms, and after the wall
 * clock was set; after a failure sooner.
 */
#include "fallback.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "common/log.h"
#include "hold-job.h"
#include "restante/clock.h"
#include "restante/timetable.h"

/**
 * Anybody on this machine can send notes, also for users that do not exist.
 * Notes for further users than these are ignored; the walk finds their mail.
 */
#define MAX_NOTED 200000
/** The wall clock may be set: it is looked at this often at least. */
#define MAX_SLEEP_SECS 60
/** A larger step of the wall clock may make the timetable wrong. */
#define MAX_STEP_SECS 60
/** until the next walk, after one that failed; doubled up to the maximum */
#define FIRST_SCAN_DELAY_MS 1000
#define MAX_SCAN_DELAY_MS (600 * 1000)

struct sweep {
	LIST_ENTRY(sweep) entry;
	struct fallback *fallback;
	char *user;
	struct hold_job *job;
};

struct fallback {
	struct event_base *base;
	struct fallback_config config;
	struct rst_timetable *timetable;
	struct event *due_timer, *scan_timer;
	LIST_HEAD(, sweep) sweeps;
	unsigned int running;
	struct hold_job *scan;
	int64_t scan_delay_ms;
	bool scan_complained;
	bool scan_again;
	bool complete;   /* a walk has ended, and no note was ignored since */
	bool left_out;   /* a note was ignored since the walk began */
	uint64_t unread; /* users whose holds the last walk could not read */
	int64_t clock_offset; /* of the wall clock, from the monotonic one */
};

static void run_due(struct fallback *fallback);

/* ---- one user */

static void log_sweep(int level, const char *message, const struct sweep *sweep,
		      const struct rst_hold_event *ev, const char *text)
{
	struct rst_logline line;

	rst_logline_begin(&line, message);
	rst_logline_cstr(&line, "user", sweep->user);
	if (ev == NULL) {
		rst_logline_cstr(&line, "error", text);
	} else if (ev->type == RST_HOLD_REFUSED) {
		rst_logline_str(&line, "code", ev->code);
		rst_logline_str(&line, "error", ev->text);
	} else {
		rst_logline_u64(&line, "delivered", ev->messages);
		rst_logline_u64(&line, "failed", ev->failed);
	}
	log_line(level, &line);
}

static void retry(struct sweep *sweep)
{
	rst_timetable_retry(sweep->fallback->timetable, rst_str(sweep->user),
			    clock_wall_secs());
}

static void on_released(struct sweep *sweep, const struct rst_hold_event *ev)
{
	if (ev->messages > 0 || ev->failed > 0)
		log_sweep(ev->failed > 0 ? LOG_WARNING : LOG_INFO,
			  "fallback delivery", sweep, ev, "");
	/* a user whose mail is due and yet was not delivered would be swept
	   again at once, for ever */
	if (ev->failed > 0 || (ev->due > 0 && ev->due <= clock_wall_secs()))
		retry(sweep);
	else
		rst_timetable_set(sweep->fallback->timetable,
				  rst_str(sweep->user),
				  ev->due == 0 ? -1 : ev->due);
}

static void on_refused(struct sweep *sweep, const struct rst_hold_event *ev)
{
	if (rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_USER)) ||
	    rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_ENROLLED))) {
		rst_timetable_set(sweep->fallback->timetable,
				  rst_str(sweep->user), -1);
		return;
	}
	log_sweep(rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_BUSY)) ? LOG_INFO
								  : LOG_WARNING,
		  "fallback delivery put off", sweep, ev, "");
	retry(sweep);
}

static void end_sweep(struct sweep *sweep)
{
	LIST_REMOVE(sweep, entry);
	sweep->fallback->running--;
	hold_job_free(&sweep->job);
	free(sweep->user);
	free(sweep);
}

static void on_sweep_event(const struct rst_hold_event *ev, const char *text,
			   void *ctx)
{
	struct sweep *sweep = ctx;
	struct fallback *fallback = sweep->fallback;

	if (ev == NULL) {
		log_sweep(LOG_WARNING, "fallback delivery put off", sweep, ev,
			  text);
		retry(sweep);
	} else if (ev->type == RST_HOLD_REFUSED) {
		on_refused(sweep, ev);
	} else if (ev->type == RST_HOLD_RELEASED) {
		on_released(sweep, ev);
	} else {
		return;
	}
	end_sweep(sweep);
	run_due(fallback);
}

static int64_t clock_offset(void)
{
	return clock_wall_secs() - clock_ms() / 1000;
}

/*
 * The time when a message falls due is stored with the message, in wall-clock
 * time, and stays true. But the delays after failures were counted from a clock
 * that was wrong, perhaps by a month: a walk finds the mail that they put off.
 */
static void watch_clock(struct fallback *fallback)
{
	int64_t offset = clock_offset();
	int64_t step = offset - fallback->clock_offset;
	struct rst_logline line;

	if (step >= -MAX_STEP_SECS && step <= MAX_STEP_SECS)
		return;
	fallback->clock_offset = offset;
	rst_logline_begin(&line, "the clock was set, looking through the "
				 "holds");
	rst_logline_i64(&line, "secs", step);
	log_line(LOG_NOTICE, &line);
	if (fallback->scan != NULL)
		fallback->scan_again = true;
	else
		event_active(fallback->scan_timer, EV_TIMEOUT, 0);
}

static void start_sweep(struct fallback *fallback, struct rst_str user)
{
	struct sweep *sweep = rst_calloc(1, sizeof(*sweep));

	sweep->fallback = fallback;
	sweep->user = rst_str_dup(user);
	LIST_INSERT_HEAD(&fallback->sweeps, sweep, entry);
	fallback->running++;
	sweep->job = hold_job_start(
		fallback->base, fallback->config.hold_socket, HOLD_JOB_EXPIRED,
		rst_str(sweep->user), on_sweep_event, sweep);
}

static void run_due(struct fallback *fallback)
{
	int64_t now = clock_wall_secs(), next;
	struct timeval delay;
	struct rst_str user;

	watch_clock(fallback);
	while (fallback->running < fallback->config.concurrency &&
	       rst_timetable_take(fallback->timetable, now, &user))
		start_sweep(fallback, user);
	next = rst_timetable_next(fallback->timetable);
	/* while as many sweeps run as may, the end of one comes here again */
	if (next < 0 || fallback->running >= fallback->config.concurrency) {
		(void)event_del(fallback->due_timer);
		return;
	}
	next = next <= now ? 0 : next - now;
	if (next > MAX_SLEEP_SECS)
		next = MAX_SLEEP_SECS;
	delay = clock_timeval(next * 1000);
	(void)event_add(fallback->due_timer, &delay);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	run_due(arg);
}

void fallback_note(struct fallback *fallback, struct rst_str user, int64_t due)
{
	if (due <= 0 || user.n > RST_HOLD_USER_MAX)
		return;
	if (rst_timetable_count(fallback->timetable) >= MAX_NOTED &&
	    !rst_timetable_has(fallback->timetable, user)) {
		fallback->complete = false;
		fallback->left_out = true;
		return;
	}
	rst_timetable_note(fallback->timetable, user, due);
	run_due(fallback);
}

void fallback_watch(struct fallback *fallback, struct rst_str user)
{
	rst_timetable_watch(fallback->timetable, user);
}

void fallback_seen(struct fallback *fallback, struct rst_str user, int64_t due)
{
	rst_timetable_seen(fallback->timetable, user, due == 0 ? -1 : due);
	run_due(fallback);
}

struct rst_timetable_reader *fallback_read(struct fallback *fallback,
					   uint64_t *unread_r)
{
	*unread_r = fallback->unread;
	return fallback->complete
		       ? rst_timetable_reader_new(fallback->timetable)
		       : NULL;
}

/* ---- the walk over all users */

static void schedule_scan(struct fallback *fallback, int64_t delay_ms)
{
	struct timeval delay = clock_timeval(delay_ms);

	(void)event_add(fallback->scan_timer, &delay);
}

static void scan_failed(struct fallback *fallback,
			const struct rst_hold_event *ev, const char *text)
{
	struct rst_logline line;

	if (!fallback->scan_complained) {
		rst_logline_begin(&line, "walk over the holds failed, will "
					 "be tried again");
		if (ev == NULL) {
			rst_logline_cstr(&line, "error", text);
		} else {
			rst_logline_str(&line, "code", ev->code);
			rst_logline_str(&line, "error", ev->text);
		}
		log_line(LOG_ERR, &line);
	}
	fallback->scan_complained = true;
	schedule_scan(fallback, fallback->scan_delay_ms);
	fallback->scan_delay_ms *= 2;
	if (fallback->scan_delay_ms > MAX_SCAN_DELAY_MS)
		fallback->scan_delay_ms = MAX_SCAN_DELAY_MS;
}

static void scan_done(struct fallback *fallback,
		      const struct rst_hold_event *ev)
{
	struct rst_logline line;

	rst_logline_begin(&line, "walk over the holds done");
	rst_logline_u64(&line, "users", ev->messages);
	if (ev->failed > 0)
		rst_logline_u64(&line, "failed", ev->failed);
	rst_logline_u64(&line, "timetable",
			rst_timetable_count(fallback->timetable));
	log_line(ev->failed > 0 ? LOG_WARNING : LOG_INFO, &line);
	fallback->complete = !fallback->left_out;
	fallback->unread = ev->failed;
	fallback->scan_complained = false;
	fallback->scan_delay_ms = FIRST_SCAN_DELAY_MS;
	schedule_scan(fallback,
		      fallback->scan_again ? 0 : fallback->config.reconcile_ms);
	fallback->scan_again = false;
	run_due(fallback);
}

/* Mail that is due is delivered before the walk ends: with many users a walk
   takes minutes. */
static void on_scan_user(struct fallback *fallback,
			 const struct rst_hold_event *ev)
{
	int64_t next = rst_timetable_next(fallback->timetable);

	if (ev->due > 0)
		rst_timetable_note(fallback->timetable, ev->user, ev->due);
	if (ev->messages > 0)
		fallback->config.held(ev->user, fallback->config.ctx);
	if (rst_timetable_next(fallback->timetable) != next)
		run_due(fallback);
}

static void on_scan_event(const struct rst_hold_event *ev, const char *text,
			  void *ctx)
{
	struct fallback *fallback = ctx;

	if (ev != NULL && ev->type == RST_HOLD_USER) {
		on_scan_user(fallback, ev);
		return;
	}
	if (ev != NULL && ev->type == RST_HOLD_SCANNED)
		scan_done(fallback, ev);
	else
		scan_failed(fallback, ev, text);
	hold_job_free(&fallback->scan);
}

static void on_scan_time(evutil_socket_t fd, short what, void *arg)
{
	struct fallback *fallback = arg;

	(void)fd;
	(void)what;
	(void)event_del(fallback->scan_timer);
	fallback->left_out = false;
	fallback->scan = hold_job_start(
		fallback->base, fallback->config.hold_socket, HOLD_JOB_SCAN,
		RST_STR(""), on_scan_event, fallback);
}

struct fallback *fallback_new(struct event_base *base,
			      const struct fallback_config *config)
{
	struct fallback *fallback = rst_calloc(1, sizeof(*fallback));

	fallback->base = base;
	fallback->config = *config;
	fallback->timetable = rst_timetable_new();
	fallback->scan_delay_ms = FIRST_SCAN_DELAY_MS;
	fallback->clock_offset = clock_offset();
	LIST_INIT(&fallback->sweeps);
	fallback->due_timer = evtimer_new(base, on_due, fallback);
	fallback->scan_timer = evtimer_new(base, on_scan_time, fallback);
	if (fallback->due_timer == NULL || fallback->scan_timer == NULL)
		abort();
	event_active(fallback->scan_timer, EV_TIMEOUT, 0);
	return fallback;
}

void fallback_free(struct fallback **_fallback)
{
	struct fallback *fallback = *_fallback;
	struct sweep *sweep;

	*_fallback = NULL;
	if (fallback == NULL)
		return;
	while ((sweep = LIST_FIRST(&fallback->sweeps)) != NULL)
		end_sweep(sweep);
	hold_job_free(&fallback->scan);
	event_free(fallback->due_timer);
	event_free(fallback->scan_timer);
	rst_timetable_free(&fallback->timetable);
	free(fallback);
}
