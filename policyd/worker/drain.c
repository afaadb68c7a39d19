/* SPDX-License-Identifier: MIT */
/*
 * The order in which a drain takes its steps. Callers report what has happened
 * and then call drain_work(): it takes the events of both conversations until
 * none is left, looks at the clock, and only then advances the connection to
 * the hold by one step. The states are drawn in drain-private.h.
 */
#include "drain-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "restante/clock.h"

/** Octets that the push machine queues until drain_sent(). */
#define MAX_OUTPUT (64 * 1024)
/** Messages on their way: 2560 a second at 100 ms of round trip. */
#define MAX_UNANSWERED 256
/** So many marks get a COMMIT at once, without commit_delay_ms. */
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
	drain->client.push = rst_push_new(&limits, now_ms);
	drain->client.heard_ms = now_ms;
	drain->next.delay_ms = settings->reopen_min_ms;
	drain->next.retry_ms = -1;
	leases_init(&drain->leases);
	return drain;
}

void drain_free(struct drain **_drain)
{
	struct drain *drain = *_drain;

	*_drain = NULL;
	if (drain == NULL)
		return;
	hold_conn_free(&drain->hold.conn);
	rst_push_free(&drain->client.push);
	leases_clear(&drain->leases);
	free(drain);
}

/* ---- what comes next */

/* Was anything decided that is not marked on this connection to the hold? */
static bool has_unmarked(const struct drain *drain)
{
	const struct lease *lease;

	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->state == LEASE_DECIDED && lease->delay_ms == 0 &&
		    lease->marked != drain->hold.generation)
			return true;
	}
	return false;
}

static void say_bye(struct drain *drain, int64_t now_ms)
{
	struct rst_hold_dialler *hold = hold_conn_machine(drain->hold.conn);

	if (drain->hold.marks > 0)
		rst_hold_dialler_commit(hold, now_ms);
	drain->hold.marks = 0;
	rst_hold_dialler_bye(hold, now_ms);
	drain->hold.state = HOLD_ENDING;
}

static void commit_if_due(struct drain *drain, bool idle, int64_t now_ms)
{
	if (drain->hold.marks == 0 || drain->hold.committing)
		return;
	if (!idle && drain->hold.marks < COMMIT_COUNT &&
	    now_ms < drain->hold.marked_ms + drain->settings->commit_delay_ms)
		return;
	rst_hold_dialler_commit(hold_conn_machine(drain->hold.conn), now_ms);
	drain->hold.committing = true;
	drain->hold.marks = 0;
}

/* The summary has announced messages that were not pushed: the client is not to
   wait for them. */
static void correct_summary(struct drain *drain)
{
	if (drain->hold.given < drain->hold.announced && !drain->hold.skipped)
		rst_push_summary(drain->client.push, 0, 0);
}

/* In LISTING and OPEN, while the client is not GONE. */
static void advance_open(struct drain *drain, int64_t now_ms)
{
	struct rst_hold_dialler *hold = hold_conn_machine(drain->hold.conn);
	bool idle;

	if (drain->hold.more && drain_may_push(drain) &&
	    !rst_hold_dialler_draining(hold)) {
		drain->hold.more = false;
		rst_hold_dialler_more(hold, now_ms);
	}
	idle = !rst_hold_dialler_draining(hold) &&
	       rst_push_unanswered(drain->client.push) == 0;
	commit_if_due(drain, idle, now_ms);
	if (idle && !drain->hold.committing) {
		correct_summary(drain);
		say_bye(drain, now_ms);
	}
}

static bool open_due(const struct drain *drain, int64_t now_ms)
{
	if (now_ms < drain->next.open_ms)
		return false;
	if (drain->client.state >= CLIENT_GONE)
		return has_unmarked(drain);
	return drain_may_push(drain) &&
	       (drain->next.wanted ||
		(drain->next.retry_ms >= 0 && now_ms >= drain->next.retry_ms));
}

static void advance_none(struct drain *drain, int64_t now_ms)
{
	if (open_due(drain, now_ms)) {
		drain_open_hold(drain);
		return;
	}
	/* plain ODMR ends when nothing is left; deferred mail stays held */
	if (drain->client.state == CLIENT_PUSHING && !drain->client.extended &&
	    !drain->next.wanted &&
	    rst_push_unanswered(drain->client.push) == 0) {
		drain->client.state = CLIENT_QUITTING;
		rst_push_quit(drain->client.push, now_ms);
	}
}

static void check_time(struct drain *drain, int64_t now_ms)
{
	int64_t deadline = -1;

	if (drain->client.state == CLIENT_GONE &&
	    now_ms >= drain->client.end_ms)
		drain->client.state = CLIENT_GIVEN_UP;
	if (drain->hold.conn == NULL)
		return;
	if (drain->hold.message_state != MESSAGE_WAITING)
		deadline = hold_conn_deadline(drain->hold.conn);
	if (drain->client.state == CLIENT_GIVEN_UP)
		drain_close_hold(drain, -1);
	else if (deadline >= 0 && now_ms >= deadline)
		drain_hold_lost(drain, "no answer in time", now_ms);
}

static void advance(struct drain *drain, int64_t now_ms)
{
	bool gone = drain->client.state >= CLIENT_GONE;

	switch (drain->hold.state) {
	case HOLD_NONE:
		advance_none(drain, now_ms);
		break;
	case HOLD_OPENING:
		if (gone && !has_unmarked(drain))
			drain_close_hold(drain, -1);
		break;
	case HOLD_LISTING:
		/* a message must be listed before it can be marked */
		if (!gone)
			advance_open(drain, now_ms);
		else if (!has_unmarked(drain))
			say_bye(drain, now_ms);
		break;
	case HOLD_OPEN:
		if (!gone)
			advance_open(drain, now_ms);
		else
			say_bye(drain, now_ms);
		break;
	case HOLD_ASKED:
	case HOLD_ENDING:
		break;
	}
}

static int64_t leave_deadline(const struct drain *drain)
{
	int64_t quiet_ms =
		drain->client.quiet_since_ms + drain->settings->quiet_ms;

	return quiet_ms < drain->client.leave_ms ? quiet_ms
						 : drain->client.leave_ms;
}

static bool abort_if_due(struct drain *drain, int64_t now_ms)
{
	if (drain->client.state != CLIENT_LEAVING ||
	    now_ms < leave_deadline(drain))
		return false;
	drain->client.state = CLIENT_ABORTED;
	rst_push_abort(drain->client.push, "client did not answer in time");
	return true;
}

void drain_work(struct drain *drain, int64_t now_ms)
{
	int64_t deadline = rst_push_deadline(drain->client.push);
	bool moved;

	if (deadline >= 0 && now_ms >= deadline)
		rst_push_tick(drain->client.push, now_ms);
	do {
		moved = false;
		while (drain_take_push_event(drain, now_ms))
			moved = true;
		if (drain_take_hold_event(drain, now_ms))
			moved = true;
		if (abort_if_due(drain, now_ms))
			moved = true;
	} while (moved);
	check_time(drain, now_ms);
	if (!drain_ended(drain))
		advance(drain, now_ms);
	if (drain->hold.conn != NULL)
		hold_conn_flush(drain->hold.conn);
}

static int64_t open_deadline(const struct drain *drain)
{
	int64_t open_ms = drain->next.open_ms;
	int64_t retry_ms = drain->next.retry_ms;

	if (drain->client.state >= CLIENT_GONE)
		return has_unmarked(drain) ? open_ms : -1;
	if (!drain_may_push(drain))
		return -1;
	if (drain->next.wanted)
		return open_ms;
	return retry_ms >= 0 && retry_ms < open_ms ? open_ms : retry_ms;
}

static int64_t client_deadline(const struct drain *drain)
{
	int64_t deadline = rst_push_deadline(drain->client.push);

	if (drain->client.state >= CLIENT_GONE)
		return drain->client.end_ms;
	if (drain->client.state == CLIENT_LEAVING)
		return clock_sooner(deadline, leave_deadline(drain));
	return deadline;
}

static int64_t hold_deadline(const struct drain *drain)
{
	int64_t deadline = -1;

	if (drain->hold.state == HOLD_NONE)
		return open_deadline(drain);
	if (drain->hold.conn != NULL &&
	    drain->hold.message_state != MESSAGE_WAITING)
		deadline = hold_conn_deadline(drain->hold.conn);
	if (drain_may_mark(drain) && drain->hold.marks > 0 &&
	    !drain->hold.committing)
		deadline = clock_sooner(
			deadline, drain->hold.marked_ms +
					  drain->settings->commit_delay_ms);
	return deadline;
}

int64_t drain_deadline(const struct drain *drain)
{
	return clock_sooner(client_deadline(drain), hold_deadline(drain));
}

/* ---- the client's side */

ssize_t drain_recv(struct drain *drain, const char *buf, size_t len,
		   int64_t now_ms)
{
	ssize_t taken = rst_push_recv(drain->client.push, buf, len, now_ms);

	if (taken > 0)
		drain->client.heard_ms = drain->client.quiet_since_ms = now_ms;
	return taken;
}

const char *drain_output(const struct drain *drain, size_t *len_r)
{
	return rst_push_output(drain->client.push, len_r);
}

void drain_sent(struct drain *drain, size_t n, int64_t now_ms)
{
	drain->client.moved_ms = now_ms;
	rst_push_sent(drain->client.push, n);
}

bool drain_extended(const struct drain *drain)
{
	return drain->client.extended;
}

const char *drain_over(const struct drain *drain)
{
	return drain->client.state == CLIENT_OVER ||
			       drain->client.state == CLIENT_ABORTED
		       ? drain->client.over_text
		       : NULL;
}

/* A half-open connection is most often known to nobody but its client, which
   signs in again: that client is not to wait for itself. */
static bool is_silent(const struct drain *drain, int64_t now_ms)
{
	int64_t limit_ms = drain->settings->settle_ms;

	return rst_push_unanswered(drain->client.push) > 0 &&
	       now_ms - drain->client.heard_ms >= limit_ms &&
	       now_ms - drain->client.moved_ms >= limit_ms;
}

void drain_dismiss(struct drain *drain, const char *text, int64_t max_ms,
		   int64_t now_ms)
{
	bool silent = is_silent(drain, now_ms);

	if (drain->client.state >= CLIENT_LEAVING)
		return;
	drain->client.state = CLIENT_LEAVING;
	if (drain->hold.message_state == MESSAGE_WAITING)
		drain->hold.message_state = MESSAGE_SKIPPED;
	rst_push_leave(drain->client.push, text);
	drain->client.quiet_since_ms = now_ms;
	drain->client.leave_ms = silent ? now_ms : now_ms + max_ms;
	if (!silent && rst_push_unanswered(drain->client.push) > 0)
		drain_to_core(drain, RST_IPC_SETTLING);
}

bool drain_aborted(const struct drain *drain)
{
	return drain->client.state == CLIENT_ABORTED;
}

void drain_end(struct drain *drain, int64_t now_ms)
{
	if (drain->client.state >= CLIENT_GONE)
		return;
	drain->client.state = CLIENT_GONE;
	drain->client.end_ms = now_ms + drain->settings->close_ms;
	/* no time to be patient with a hold that was lost just now */
	drain->next.open_ms = now_ms;
	drain->hold.message_state = MESSAGE_SKIPPED;
}

bool drain_ended(const struct drain *drain)
{
	return drain->client.state >= CLIENT_GONE && drain->hold.conn == NULL &&
	       (drain->client.state == CLIENT_GIVEN_UP || !has_unmarked(drain));
}

/* ---- the core's side */

void drain_held(struct drain *drain)
{
	if (drain->client.state >= CLIENT_GONE ||
	    drain->hold.state == HOLD_ASKED)
		return; /* not ours any more; or DRAIN will list the message */
	if (drain->hold.state == HOLD_NONE)
		drain->next.wanted = true;
	else
		drain->hold.more = true;
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

	if (drain->hold.state != HOLD_ASKED || drain_ended(drain)) {
		(void)close(fd);
		return;
	}
	drain->hold.state = HOLD_OPENING;
	drain->hold.generation++;
	drain->hold.more = false;
	drain->hold.skipped = false;
	drain->hold.removed = false;
	drain->hold.conn =
		hold_conn_new(drain->base, fd, &config, now_ms, wake, drain);
}

void drain_hold_failed(struct drain *drain, int64_t now_ms)
{
	if (drain->hold.state != HOLD_ASKED)
		return;
	drain->hold.state = HOLD_NONE;
	drain_open_later(drain, now_ms);
}

struct drain_counts drain_counts(const struct drain *drain)
{
	struct drain_counts counts = drain->counts;
	const struct lease *lease;

	counts.unsettled = rst_push_unanswered(drain->client.push);
	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->state == LEASE_DECIDED &&
		    lease->verdict == RST_VERDICT_OK)
			counts.unsettled++;
	}
	return counts;
}
