/* SPDX-License-Identifier: MIT */
#include "drain-private.h"

#include "common/log.h"

/** messages that we remember, on the way, waiting, or not yet removed */
#define MAX_LEASES 4096

static void log_hold(const struct drain *drain, int level, const char *message,
		     struct rst_str code, struct rst_str text)
{
	struct rst_logline line;

	rst_logline_begin(&line, message);
	rst_logline_cstr(&line, "user", drain->user);
	if (code.n > 0)
		rst_logline_str(&line, "code", code);
	if (text.n > 0)
		rst_logline_str(&line, "reason", text);
	log_line(level, &line);
}

/* ---- opening and closing the hold */

void drain_open_hold(struct drain *drain)
{
	drain->wanted = false;
	drain->state = HOLD_ASKED;
	drain_to_core(drain, RST_IPC_HOLD_OPEN);
}

void drain_open_later(struct drain *drain, int64_t now_ms)
{
	drain->wanted = true;
	drain->open_ms = now_ms + drain->reopen_delay_ms;
	drain->reopen_delay_ms = drain_next_delay(
		drain->reopen_delay_ms, drain->settings->reopen_max_ms);
}

/* The messages that wait by themselves are looked through only here. */
static void find_retry(struct drain *drain)
{
	const struct lease *lease;

	drain->retry_ms = -1;
	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->delay_ms > 0 && lease->state != LEASE_FLYING &&
		    (drain->retry_ms < 0 || lease->retry_ms < drain->retry_ms))
			drain->retry_ms = lease->retry_ms;
	}
}

void drain_close_hold(struct drain *drain, int64_t due)
{
	struct rst_ipc msg = {.type = RST_IPC_HOLD_CLOSED,
			      .n = {due >= 0 ? 1 : 0, due}};

	hold_conn_free(&drain->hold);
	drain->state = HOLD_NONE;
	drain->wanted = drain->wanted || drain->more;
	drain->more = false;
	drain->listing = false;
	drain->waiting = false;
	drain->committing = false;
	drain->told = 0;
	find_retry(drain);
	drain->callbacks.to_core(&msg, drain->ctx);
}

/* Everything was said and heard. */
static void hold_finished(struct drain *drain, int64_t due, int64_t now_ms)
{
	drain->reopen_delay_ms = drain->settings->reopen_min_ms;
	drain_close_hold(drain, due);
	if (drain->skipped && !drain->ended) {
		/* at once where there is room again, else as for 4xx */
		drain->wanted = true;
		drain->open_ms =
			drain->removed ? now_ms
				       : now_ms + drain->settings->retry_min_ms;
	}
}

void drain_hold_lost(struct drain *drain, const char *reason, int64_t now_ms)
{
	if (drain->state != HOLD_ENDING || !drain->ended)
		log_hold(drain, LOG_WARNING, "hold connection lost",
			 RST_STR(""), rst_str(reason));
	if (drain->feeding) {
		drain->feeding = false;
		rst_push_abort(drain->push, "held mail cannot be read now");
	}
	drain_close_hold(drain, -1);
	/* what it was told may not have been heard */
	drain->generation++;
	drain_open_later(drain, now_ms);
}

static void on_refused(struct drain *drain, const struct rst_hold_event *ev,
		       int64_t now_ms)
{
	bool busy = rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_BUSY));
	bool nothing = rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_USER)) ||
		       rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_ENROLLED));

	log_hold(drain, busy ? LOG_INFO : LOG_WARNING, "hold not opened",
		 ev->code, ev->text);
	drain_close_hold(drain, -1);
	drain->generation++;
	if (!nothing)
		drain_open_later(drain, now_ms);
	else
		drain->open_ms = now_ms + drain->settings->reopen_max_ms;
}

/* ---- what the hold says */

static void on_opened(struct drain *drain, const struct rst_hold_event *ev,
		      int64_t now_ms)
{
	drain->state = HOLD_OPEN;
	drain->listing = true;
	drain->announced = ev->messages;
	drain->given = 0;
	if (!drain->over)
		rst_push_summary(drain->push, ev->messages, ev->octets);
	rst_hold_dialler_drain(hold_conn_machine(drain->hold), now_ms);
}

/* Is this one to be pushed (again)? Its octets come in any case. */
static bool wants_push(struct drain *drain, const struct lease *lease,
		       int64_t now_ms)
{
	if (drain->state != HOLD_OPEN || drain->ended || drain->over ||
	    drain->leaving)
		return false;
	if (lease != NULL)
		return lease->state == LEASE_WAITING &&
		       now_ms >= lease->retry_ms;
	if (drain->leases.count < MAX_LEASES)
		return true;
	drain->skipped = true;
	return false;
}

static void on_message(struct drain *drain, const struct rst_hold_event *ev,
		       int64_t now_ms)
{
	struct lease *lease = lease_find(&drain->leases, ev->id);

	drain->feeding = false;
	if (lease != NULL) {
		lease->listed = drain->generation;
		if (drain->state == HOLD_OPEN &&
		    lease->state == LEASE_DECIDED &&
		    lease->told != drain->generation &&
		    now_ms >= lease->retry_ms)
			drain_tell(drain, lease, now_ms);
	}
	if (wants_push(drain, lease, now_ms)) {
		drain->message = *ev;
		drain->waiting = true;
	}
}

/* @return whether the message that waits could be started */
static bool start_message(struct drain *drain, int64_t now_ms)
{
	const struct rst_hold_event *ev = &drain->message;
	const struct rst_push_message msg = {
		.id = ev->id,
		.mail_from = ev->mail_from,
		.rcpt_to = ev->rcpt_to,
		.size = ev->size,
	};
	struct lease *lease;

	if (!rst_push_ready(drain->push))
		return false;
	lease = lease_find(&drain->leases, ev->id);
	if (lease == NULL)
		lease = lease_add(&drain->leases, ev->id);
	lease->state = LEASE_FLYING;
	lease->size = ev->size;
	lease->started_ms = now_ms;
	lease->listed = drain->generation;
	drain->given++;
	drain->waiting = false;
	drain->feeding = rst_push_message(drain->push, &msg, now_ms) == 0;
	return true;
}

static void on_octets(struct drain *drain, struct rst_str octets,
		      int64_t now_ms)
{
	size_t taken;

	if (!drain->feeding)
		return;
	taken = rst_push_octets(drain->push, octets.p, octets.n, now_ms);
	if (taken < octets.n)
		/* never: no more than its room was offered */
		rst_push_abort(drain->push, "octets of a message were lost");
}

/*
 * What we remember and a whole list does not have has most likely been removed:
 * by an ACK that the last connection still heard, or by its fallback time. But
 * a message that cannot be read just now is not listed either, and will come
 * again: only GONE lets the client forget.
 */
static void on_listed(struct drain *drain)
{
	struct lease *lease, *next;

	drain->listing = false;
	for (lease = TAILQ_FIRST(&drain->leases.list); lease != NULL;
	     lease = next) {
		next = TAILQ_NEXT(lease, next);
		if (lease->state != LEASE_FLYING &&
		    lease->listed != drain->generation)
			lease_remove(&drain->leases, lease);
	}
}

/* The hold does not have it any more: nobody will ask about it again. */
static void forget(struct drain *drain, struct lease *lease)
{
	if (!drain->over)
		rst_push_forget(drain->push, lease->id);
	lease_remove(&drain->leases, lease);
}

static void on_gone(struct drain *drain, struct rst_str id)
{
	struct lease *lease = lease_find(&drain->leases, id);

	drain->removed = true;
	if (lease != NULL)
		forget(drain, lease);
}

static void on_kept(struct drain *drain, const struct rst_hold_event *ev,
		    int64_t now_ms)
{
	struct lease *lease = lease_find(&drain->leases, ev->id);
	struct rst_logline line;

	rst_logline_begin(&line, "message not removed from hold");
	rst_logline_cstr(&line, "user", drain->user);
	rst_logline_str(&line, "id", ev->id);
	rst_logline_str(&line, "reason", ev->text);
	log_line(LOG_WARNING, &line);
	if (lease != NULL)
		drain_wait_longer(drain, lease, now_ms);
}

static void on_hold_event(struct drain *drain, const struct rst_hold_event *ev,
			  int64_t now_ms)
{
	switch (ev->type) {
	case RST_HOLD_OPENED:
		on_opened(drain, ev, now_ms);
		break;
	case RST_HOLD_REFUSED:
		on_refused(drain, ev, now_ms);
		break;
	case RST_HOLD_MESSAGE:
		on_message(drain, ev, now_ms);
		break;
	case RST_HOLD_OCTETS:
		on_octets(drain, ev->octets_view, now_ms);
		break;
	case RST_HOLD_MESSAGE_END:
		drain->feeding = false;
		break;
	case RST_HOLD_DRAINED:
		if (drain->listing)
			on_listed(drain);
		break;
	case RST_HOLD_GONE:
		on_gone(drain, ev->id);
		break;
	case RST_HOLD_KEPT:
		on_kept(drain, ev, now_ms);
		break;
	case RST_HOLD_COMMITTED:
		drain->committing = false;
		break;
	case RST_HOLD_CLOSED:
		hold_finished(drain, ev->due, now_ms);
		break;
	case RST_HOLD_RELEASED:
	case RST_HOLD_USER:
	case RST_HOLD_SCANNED:
		/* never asked for */
		break;
	}
}

bool drain_take_hold_event(struct drain *drain, int64_t now_ms)
{
	struct rst_hold_event ev;
	size_t room;
	int ret;

	if (drain->hold == NULL)
		return false;
	if (drain->waiting)
		return start_message(drain, now_ms);
	room = drain->feeding ? rst_push_room(drain->push) : SIZE_MAX;
	ret = hold_conn_next(drain->hold, room, &ev, now_ms);
	if (ret < 0) {
		drain_hold_lost(drain, "closed or not understood", now_ms);
		return true;
	}
	if (ret > 0)
		on_hold_event(drain, &ev, now_ms);
	return ret > 0;
}
