/* SPDX-License-Identifier: MIT */
#include "drain-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** octets that the push machine queues for us to take */
#define MAX_OUTPUT (64 * 1024)
/** Messages on the way: at 100 ms of round trip, 2560 a second. */
#define MAX_UNANSWERED 256
/** acknowledgements that are worth a COMMIT at once */
#define COMMIT_COUNT 200
/** octets read ahead from restante-hold */
#define HOLD_INPUT_MAX 65536

void drain_settings_init(struct drain_settings *settings)
{
	*settings = (struct drain_settings){
		/* a COMMIT may run Sieve for every message in it */
		.hold_reply_timeout_ms = 300 * 1000,
		.retry_min_ms = 60 * 1000,
		.retry_max_ms = 3600 * 1000,
		.reopen_min_ms = 250,
		.reopen_max_ms = 60 * 1000,
		.commit_delay_ms = 100,
		.quiet_ms = RST_IPC_QUIET_MS,
		.settle_ms = RST_IPC_SETTLE_MS,
		.close_ms = 5000,
	};
}

struct drain *drain_new(struct event_base *base,
			const struct drain_settings *settings, const char *user,
			const struct drain_callbacks *callbacks, void *ctx,
			int64_t now_ms)
{
	const struct rst_push_limits limits = {
		.hostname = settings->hostname,
		.max_output = MAX_OUTPUT,
		.max_unanswered = MAX_UNANSWERED,
		.reply_timeout_ms = settings->reply_timeout_ms,
		.keepalive_ms = settings->keepalive_ms,
	};
	struct drain *drain = rst_calloc(1, sizeof(*drain));

	drain->base = base;
	drain->settings = settings;
	drain->user = user;
	drain->callbacks = *callbacks;
	drain->ctx = ctx;
	drain->push = rst_push_new(&limits, now_ms);
	drain->reopen_delay_ms = settings->reopen_min_ms;
	drain->retry_ms = -1;
	drain->heard_ms = now_ms;
	leases_init(&drain->leases);
	return drain;
}

void drain_free(struct drain **_drain)
{
	struct drain *drain = *_drain;

	*_drain = NULL;
	if (drain == NULL)
		return;
	hold_conn_free(&drain->hold);
	rst_push_free(&drain->push);
	leases_clear(&drain->leases);
	free(drain);
}

/* ---- what comes next */

/* Decided, and this connection to the hold does not know yet. */
static bool has_untold(const struct drain *drain)
{
	const struct lease *lease;

	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->state == LEASE_DECIDED && lease->delay_ms == 0 &&
		    lease->told != drain->generation)
			return true;
	}
	return false;
}

static void say_bye(struct drain *drain, int64_t now_ms)
{
	struct rst_hold_dialler *hold = hold_conn_machine(drain->hold);

	if (drain->told > 0)
		rst_hold_dialler_commit(hold, now_ms);
	drain->told = 0;
	rst_hold_dialler_bye(hold, now_ms);
	drain->state = HOLD_ENDING;
}

static void commit_if_due(struct drain *drain, bool idle, int64_t now_ms)
{
	if (drain->told == 0 || drain->committing)
		return;
	if (!idle && drain->told < COMMIT_COUNT &&
	    now_ms < drain->told_ms + drain->settings->commit_delay_ms)
		return;
	rst_hold_dialler_commit(hold_conn_machine(drain->hold), now_ms);
	drain->committing = true;
	drain->told = 0;
}

/* What was announced counts some that are not given out; who waits for them
   is told. */
static void correct_summary(struct drain *drain)
{
	if (drain->given < drain->announced && !drain->skipped &&
	    !drain->over && !drain->leaving)
		rst_push_summary(drain->push, 0, 0);
}

static void settle_open(struct drain *drain, int64_t now_ms)
{
	struct rst_hold_dialler *hold = hold_conn_machine(drain->hold);
	bool idle;

	if (drain->ended) {
		if (!drain->listing || !has_untold(drain))
			say_bye(drain, now_ms);
		return;
	}
	if (drain->more && !drain->leaving &&
	    !rst_hold_dialler_draining(hold)) {
		drain->more = false;
		rst_hold_dialler_more(hold, now_ms);
	}
	idle = !rst_hold_dialler_draining(hold) &&
	       rst_push_unanswered(drain->push) == 0;
	commit_if_due(drain, idle, now_ms);
	if (idle && !drain->committing) {
		correct_summary(drain);
		say_bye(drain, now_ms);
	}
}

static bool open_due(const struct drain *drain, int64_t now_ms)
{
	if (drain->ended)
		return has_untold(drain) && now_ms >= drain->open_ms;
	return drain->ready && !drain->over && !drain->leaving &&
	       now_ms >= drain->open_ms &&
	       (drain->wanted ||
		(drain->retry_ms >= 0 && now_ms >= drain->retry_ms));
}

static void settle_none(struct drain *drain, int64_t now_ms)
{
	if (open_due(drain, now_ms)) {
		drain_open_hold(drain);
		return;
	}
	/* plain ODMR ends when nothing is left; what waits stays held */
	if (drain->ready && !drain->extended && !drain->wanted &&
	    !drain->over && !drain->quitting &&
	    rst_push_unanswered(drain->push) == 0) {
		drain->quitting = true;
		rst_push_quit(drain->push, now_ms);
	}
}

static void check_time(struct drain *drain, int64_t now_ms)
{
	int64_t deadline;

	if (drain->ended && now_ms >= drain->end_ms)
		drain->given_up = true;
	if (drain->hold == NULL)
		return;
	deadline = drain->waiting ? -1 : hold_conn_deadline(drain->hold);
	if (drain->given_up)
		drain_close_hold(drain, -1);
	else if (deadline >= 0 && now_ms >= deadline)
		drain_hold_lost(drain, "no answer in time", now_ms);
}

static void settle(struct drain *drain, int64_t now_ms)
{
	check_time(drain, now_ms);
	if (drain_ended(drain))
		return;
	switch (drain->state) {
	case HOLD_NONE:
		settle_none(drain, now_ms);
		break;
	case HOLD_OPENING:
		if (drain->ended && !has_untold(drain))
			drain_close_hold(drain, -1);
		break;
	case HOLD_OPEN:
		settle_open(drain, now_ms);
		break;
	case HOLD_ASKED:
	case HOLD_ENDING:
		break;
	}
}

static int64_t leave_deadline(const struct drain *drain)
{
	int64_t quiet = drain->quiet_since_ms + drain->settings->quiet_ms;

	return quiet < drain->leave_ms ? quiet : drain->leave_ms;
}

static bool leave_if_due(struct drain *drain, int64_t now_ms)
{
	if (!drain->leaving || drain->over || drain->aborted ||
	    now_ms < leave_deadline(drain))
		return false;
	drain->aborted = true;
	rst_push_abort(drain->push, "client did not answer in time");
	return true;
}

void drain_work(struct drain *drain, int64_t now_ms)
{
	int64_t deadline = rst_push_deadline(drain->push);
	bool moved;

	if (deadline >= 0 && now_ms >= deadline)
		rst_push_tick(drain->push, now_ms);
	do {
		moved = false;
		while (drain_take_push_event(drain, now_ms))
			moved = true;
		if (drain_take_hold_event(drain, now_ms))
			moved = true;
		if (leave_if_due(drain, now_ms))
			moved = true;
	} while (moved);
	settle(drain, now_ms);
	if (drain->hold != NULL)
		hold_conn_flush(drain->hold);
}

static int64_t earlier(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

static int64_t open_deadline(const struct drain *drain)
{
	if (drain->ended)
		return has_untold(drain) ? drain->open_ms : -1;
	if (!drain->ready || drain->over || drain->leaving)
		return -1;
	if (drain->wanted || drain->retry_ms < 0)
		return drain->wanted ? drain->open_ms : -1;
	return drain->retry_ms > drain->open_ms ? drain->retry_ms
						: drain->open_ms;
}

int64_t drain_deadline(const struct drain *drain)
{
	int64_t deadline =
		drain->ended ? drain->end_ms : rst_push_deadline(drain->push);

	if (drain->leaving && !drain->over && !drain->ended)
		deadline = earlier(deadline, leave_deadline(drain));
	if (drain->state == HOLD_NONE)
		deadline = earlier(deadline, open_deadline(drain));
	if (drain->hold != NULL && !drain->waiting)
		deadline = earlier(deadline, hold_conn_deadline(drain->hold));
	if (drain->state == HOLD_OPEN && drain->told > 0 && !drain->committing)
		deadline = earlier(deadline,
				   drain->told_ms +
					   drain->settings->commit_delay_ms);
	return deadline;
}

/* ---- what the caller tells */

ssize_t drain_recv(struct drain *drain, const char *buf, size_t len,
		   int64_t now_ms)
{
	ssize_t taken = rst_push_recv(drain->push, buf, len, now_ms);

	if (taken > 0)
		drain->heard_ms = drain->quiet_since_ms = now_ms;
	return taken;
}

const char *drain_output(const struct drain *drain, size_t *len_r)
{
	return rst_push_output(drain->push, len_r);
}

void drain_sent(struct drain *drain, size_t n, int64_t now_ms)
{
	drain->moved_ms = now_ms;
	rst_push_sent(drain->push, n);
}

bool drain_extended(const struct drain *drain)
{
	return drain->extended;
}

const char *drain_over(const struct drain *drain)
{
	return drain->over ? drain->over_text : NULL;
}

/* A half-open connection is most often known to nobody but the client, which
   comes back: it is not to wait for itself. */
static bool is_silent(const struct drain *drain, int64_t now_ms)
{
	return rst_push_unanswered(drain->push) > 0 &&
	       now_ms - drain->heard_ms >= drain->settings->settle_ms &&
	       now_ms - drain->moved_ms >= drain->settings->settle_ms;
}

void drain_dismiss(struct drain *drain, const char *text, int64_t max_ms,
		   int64_t now_ms)
{
	bool silent = is_silent(drain, now_ms);

	if (drain->leaving)
		return;
	drain->leaving = true;
	drain->waiting = false;
	rst_push_leave(drain->push, text);
	drain->quiet_since_ms = now_ms;
	drain->leave_ms = silent ? now_ms : now_ms + max_ms;
	if (!silent && rst_push_unanswered(drain->push) > 0)
		drain_to_core(drain, RST_IPC_SETTLING);
}

bool drain_aborted(const struct drain *drain)
{
	return drain->aborted;
}

void drain_held(struct drain *drain)
{
	if (drain->ended || drain->state == HOLD_ASKED)
		return; /* a drain to come has it */
	if (drain->state == HOLD_NONE)
		drain->wanted = true;
	else
		drain->more = true;
}

static void wake(void *ctx)
{
	struct drain *drain = ctx;

	drain->callbacks.wake(drain->ctx);
}

void drain_hold(struct drain *drain, int fd, int64_t now_ms)
{
	const struct hold_conn_config config = {
		.reply_timeout_ms = drain->settings->hold_reply_timeout_ms,
		.input_max = HOLD_INPUT_MAX};

	if (drain->state != HOLD_ASKED || drain_ended(drain)) {
		(void)close(fd);
		return;
	}
	drain->state = HOLD_OPENING;
	drain->generation++;
	drain->more = false;
	drain->skipped = false;
	drain->removed = false;
	drain->hold =
		hold_conn_new(drain->base, fd, &config, now_ms, wake, drain);
}

void drain_hold_failed(struct drain *drain, int64_t now_ms)
{
	if (drain->state != HOLD_ASKED)
		return;
	drain->state = HOLD_NONE;
	drain_open_later(drain, now_ms);
}

void drain_end(struct drain *drain, int64_t now_ms)
{
	if (drain->ended)
		return;
	drain->ended = true;
	drain->end_ms = now_ms + drain->settings->close_ms;
	/* no time to be patient with a hold that was lost just now */
	drain->open_ms = now_ms;
	drain->waiting = false;
	drain->feeding = false;
}

bool drain_ended(const struct drain *drain)
{
	return drain->ended && drain->hold == NULL &&
	       (drain->given_up || !has_untold(drain));
}

struct drain_counts drain_counts(const struct drain *drain)
{
	struct drain_counts counts = drain->counts;
	const struct lease *lease;

	counts.unsettled = rst_push_unanswered(drain->push);
	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->state == LEASE_DECIDED &&
		    lease->verdict == RST_VERDICT_OK)
			counts.unsettled++;
	}
	return counts;
}
