/* SPDX-License-Identifier: MIT */
/*
 * A user's deadline moves through the timetable:
 *
 *   noted        as the user's entry or the walk says
 *   being swept  taken out by run_due(), while one EXPIRED job runs
 *   then         set to what RELEASED says falls due next, or, after a failure,
 *                to a retry whose delay grows
 *
 * A session that looks at the hold (watch, seen) sets the deadline as well. The
 * rules for what wins are the timetable's (restante/timetable.h).
 *
 * The walk over all users (SCAN) is an audit: it finds mail that has no entry
 * in the holders directory, and makes the entry. It runs every audit_ms; after
 * a failure sooner. Where the userdb cannot list its users, nothing is wrong,
 * and the walk is tried more and more seldom; in its place all that are known
 * are looked at.
 */
#include "fallback.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "common/log.h"
#include "hold-job.h"
#include "restante/clock.h"
#include "restante/timetable.h"

/**
 * Anybody on this machine can make entries, also for users that do not exist.
 * Further users than these are found by the walk, or when the entries are read
 * again in its place.
 */
#define MAX_NOTED 1000000
/** The wall clock may be set: it is looked at this often at least. */
#define MAX_SLEEP_SECS 60
/** A larger step of the wall clock may make the timetable wrong. */
#define MAX_STEP_SECS 60
/** until the next walk, after one that failed; doubled up to the maximum */
#define FIRST_SCAN_DELAY_MS 1000
#define MAX_SCAN_DELAY_MS (600 * 1000)
/** the first one where the users could not be listed */
#define FIRST_LIST_DELAY_MS (60 * 1000)
/** users at a stretch, when all of them are looked at again */
#define USERS_AT_ONCE 64

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
	struct event *due_timer, *scan_timer, *again_timer;
	LIST_HEAD(, sweep) sweeps;
	unsigned int running;
	struct hold_job *scan;
	int64_t scan_delay_ms;
	bool scan_complained;
	bool scan_again;
	bool full;                           /* a user was left out; logged */
	struct rst_timetable_reader *reader; /* of those to be looked at */
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
 * The time when a message falls due is stored in the user's entry, in
 * wall-clock time, and stays true. But the delays after failures were counted
 * from a clock that was wrong, perhaps by a month: so all entries are read
 * again.
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
				 "holders directory");
	rst_logline_i64(&line, "secs", step);
	log_line(LOG_NOTICE, &line);
	fallback->config.read_again(fallback->config.ctx);
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

/* @return whether the timetable has no room for this user */
static bool leave_out(struct fallback *fallback, struct rst_str user)
{
	if (rst_timetable_count(fallback->timetable) < MAX_NOTED ||
	    rst_timetable_has(fallback->timetable, user))
		return false;
	if (!fallback->full)
		log_short(LOG_ERR,
			  "too many entries in the holders directory: mail of "
			  "some users will not fall due before a walk over all "
			  "users",
			  NULL, NULL);
	fallback->full = true;
	return true;
}

bool fallback_has(const struct fallback *fallback, struct rst_str user)
{
	return rst_timetable_has(fallback->timetable, user);
}

void fallback_note(struct fallback *fallback, struct rst_str user, int64_t due)
{
	if (due <= 0 || leave_out(fallback, user))
		return;
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

static void look_at_some(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once = {0, 0};
	struct fallback *fallback = arg;
	int64_t now = clock_wall_secs(), due;
	unsigned int left = USERS_AT_ONCE;
	struct rst_str user;

	(void)fd;
	(void)what;
	while (left > 0 &&
	       rst_timetable_reader_next(fallback->reader, &user, &due)) {
		rst_timetable_note(fallback->timetable, user, now);
		left--;
	}
	if (left > 0)
		rst_timetable_reader_free(&fallback->reader);
	else
		(void)event_add(fallback->again_timer, &at_once);
	run_due(fallback);
}

void fallback_look_again(struct fallback *fallback)
{
	rst_timetable_reader_free(&fallback->reader);
	fallback->reader = rst_timetable_reader_new(fallback->timetable);
	event_active(fallback->again_timer, EV_TIMEOUT, 0);
}

/* ---- the walk over all users */

static void schedule_scan(struct fallback *fallback, int64_t delay_ms)
{
	struct timeval delay = clock_timeval(delay_ms);

	(void)event_add(fallback->scan_timer, &delay);
}

static bool cannot_list(const struct rst_hold_event *ev)
{
	return ev != NULL && ev->type == RST_HOLD_REFUSED &&
	       rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_LIST));
}

/* That is no fault, unless Dovecot's auth was not ready. In the place of the
   walk, the holds of all users that are known are looked at: an entry may say a
   time that is wrong by now, as the hold time was shortened, or the clock ahead
   when it was written. The first time comes at the start, before the entries
   are read. */
static void scan_impossible(struct fallback *fallback)
{
	if (!fallback->scan_complained)
		log_short(LOG_INFO,
			  "the userdb does not list its users: only mail that "
			  "has an entry in the holders directory falls due",
			  NULL, NULL);
	else
		fallback_look_again(fallback);
	if (fallback->full) {
		/* for some there may be room by now */
		fallback->full = false;
		fallback->config.read_again(fallback->config.ctx);
	}
	fallback->scan_complained = true;
	if (fallback->scan_delay_ms < FIRST_LIST_DELAY_MS)
		fallback->scan_delay_ms = FIRST_LIST_DELAY_MS;
	schedule_scan(fallback, fallback->scan_delay_ms);
	fallback->scan_delay_ms *= 2;
	if (fallback->scan_delay_ms > fallback->config.audit_ms)
		fallback->scan_delay_ms = fallback->config.audit_ms;
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
	fallback->full = false;
	fallback->scan_complained = false;
	fallback->scan_delay_ms = FIRST_SCAN_DELAY_MS;
	schedule_scan(fallback,
		      fallback->scan_again ? 0 : fallback->config.audit_ms);
	/* a walk that left somebody out is not one to rely on */
	if (!fallback->scan_again && ev->failed == 0)
		fallback->config.audited(fallback->config.ctx);
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
	else if (cannot_list(ev))
		scan_impossible(fallback);
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
	fallback->scan = hold_job_start(
		fallback->base, fallback->config.hold_socket, HOLD_JOB_SCAN,
		RST_STR(""), on_scan_event, fallback);
}

void fallback_audit(struct fallback *fallback)
{
	if (fallback->scan != NULL)
		fallback->scan_again = true;
	else
		event_active(fallback->scan_timer, EV_TIMEOUT, 0);
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
	fallback->again_timer = evtimer_new(base, look_at_some, fallback);
	if (fallback->due_timer == NULL || fallback->scan_timer == NULL ||
	    fallback->again_timer == NULL)
		abort();
	if (config->first_audit_ms > 0)
		schedule_scan(fallback, config->first_audit_ms);
	else
		fallback_audit(fallback);
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
	event_free(fallback->again_timer);
	rst_timetable_reader_free(&fallback->reader);
	rst_timetable_free(&fallback->timetable);
	free(fallback);
}
