/* SPDX-License-Identifier: MIT */
#include "drain-private.h"

#include "common/log.h"

/** Messages on their way, deferred, or not yet removed from the hold. */
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
	drain->next.wanted = false;
	drain->hold.state = HOLD_ASKED;
	drain_to_core(drain, RST_IPC_HOLD_OPEN);
}

void drain_open_later(struct drain *drain, int64_t now_ms)
{
	drain->next.wanted = true;
	drain->next.open_ms = now_ms + drain->next.delay_ms;
	drain->next.delay_ms = drain_next_delay(drain->next.delay_ms,
						drain->settings->reopen_max_ms);
}

/* Only here, once a connection, are all deferred messages looked through. */
static void find_retry(struct drain *drain)
{
	const struct lease *lease;

	drain->next.retry_ms = -1;
	TAILQ_FOREACH(lease, &drain->leases.list, next)
	{
		if (lease->delay_ms > 0 && lease->state != LEASE_FLYING &&
		    (drain->next.retry_ms < 0 ||
		     lease->retry_ms < drain->next.retry_ms))
			drain->next.retry_ms = lease->retry_ms;
	}
}

void drain_close_hold(struct drain *drain, int64_t due)
{
	struct rst_ipc msg = {.type = RST_IPC_HOLD_CLOSED,
			      .n = {due >= 0 ? 1 : 0, due}};

	hold_conn_free(&drain->hold.conn);
	drain->hold.state = HOLD_NONE;
	drain->hold.message_state = MESSAGE_SKIPPED;
	drain->next.wanted = drain->next.wanted || drain->hold.more;
	drain->hold.more = false;
	drain->hold.committing = false;
	drain->hold.marks = 0;
	find_retry(drain);
	drain->callbacks.to_core(&msg, drain->ctx);
}

/* BYE was answered: no mark was lost. */
static void on_bye(struct drain *drain, int64_t due, int64_t now_ms)
{
	drain->next.delay_ms = drain->settings->reopen_min_ms;
	drain_close_hold(drain, due);
	if (drain->hold.skipped && drain->client.state < CLIENT_GONE) {
		/* at once where leases are free again, else as for 4xx */
		drain->next.wanted = true;
		drain->next.open_ms = now_ms;
		if (!drain->hold.removed)
			drain->next.open_ms += drain->settings->retry_min_ms;
	}
}

void drain_hold_lost(struct drain *drain, const char *reason, int64_t now_ms)
{
	if (drain->hold.state != HOLD_ENDING ||
	    drain->client.state < CLIENT_GONE)
		log_hold(drain, LOG_WARNING, "hold connection lost",
			 RST_STR(""), rst_str(reason));
	if (drain->hold.message_state == MESSAGE_FEEDING)
		rst_push_abort(drain->client.push,
			       "held mail cannot be read now");
	drain_close_hold(drain, -1);
	/* its marks may not have been heard */
	drain->hold.generation++;
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
	drain->hold.generation++;
	if (!nothing)
		drain_open_later(drain, now_ms);
	else
		drain->next.open_ms = now_ms + drain->settings->reopen_max_ms;
}

/* ---- what the hold says */

static void on_opened(struct drain *drain, const struct rst_hold_event *ev,
		      int64_t now_ms)
{
	drain->hold.state = HOLD_LISTING;
	drain->hold.announced = ev->messages;
	drain->hold.given = 0;
	rst_push_summary(drain->client.push, ev->messages, ev->octets);
	rst_hold_dialler_drain(hold_conn_machine(drain->hold.conn), now_ms);
}

/* Is the message to be pushed (again)? Its octets come in any case. */
static bool wants_push(struct drain *drain, const struct lease *lease,
		       int64_t now_ms)
{
	if (!drain_may_mark(drain) || !drain_may_push(drain))
		return false;
	if (lease != NULL)
		return lease->state == LEASE_WAITING &&
		       now_ms >= lease->retry_ms;
	if (drain->leases.count < MAX_LEASES)
		return true;
	drain->hold.skipped = true;
	return false;
}

static void on_message(struct drain *drain, const struct rst_hold_event *ev,
		       int64_t now_ms)
{
	struct lease *lease = lease_find(&drain->leases, ev->id);

	drain->hold.message_state = MESSAGE_SKIPPED;
	if (lease != NULL) {
		lease->listed = drain->hold.generation;
		if (drain_may_mark(drain) && lease->state == LEASE_DECIDED &&
		    lease->marked != drain->hold.generation &&
		    now_ms >= lease->retry_ms)
			drain_mark(drain, lease, now_ms);
	}
	if (wants_push(drain, lease, now_ms)) {
		drain->hold.message = *ev;
		drain->hold.message_state = MESSAGE_WAITING;
	}
}

/* @return whether the message that waits was started */
static bool start_message(struct drain *drain, int64_t now_ms)
{
	const struct rst_hold_event *ev = &drain->hold.message;
	const struct rst_push_message msg = {
		.id = ev->id,
		.mail_from = ev->mail_from,
		.rcpt_to = ev->rcpt_to,
		.size = ev->size,
	};
	struct lease *lease;

	if (!rst_push_ready(drain->client.push))
		return false;
	lease = lease_find(&drain->leases, ev->id);
	if (lease == NULL)
		lease = lease_add(&drain->leases, ev->id);
	lease->state = LEASE_FLYING;
	lease->size = ev->size;
	lease->started_ms = now_ms;
	lease->listed = drain->hold.generation;
	drain->hold.given++;
	drain->hold.message_state =
		rst_push_message(drain->client.push, &msg, now_ms) == 0
			? MESSAGE_FEEDING
			: MESSAGE_SKIPPED;
	return true;
}

static void on_octets(struct drain *drain, struct rst_str octets,
		      int64_t now_ms)
{
	size_t taken;

	if (drain->hold.message_state != MESSAGE_FEEDING)
		return;
	taken = rst_push_octets(drain->client.push, octets.p, octets.n, now_ms);
	if (taken < octets.n)
		/* never: no more than its room was offered */
		rst_push_abort(drain->client.push,
			       "octets of a message were lost");
}

/*
 * A lease whose message is not in the whole list is removed: most likely the
 * message has left the hold, by an ACK that the last connection still heard or
 * by its fallback time. But a message that cannot be read just now is not
 * listed either, and will come again: only GONE lets the client forget an id.
 */
static void on_listed(struct drain *drain)
{
	struct lease *lease, *next;

	if (drain->hold.state == HOLD_LISTING)
		drain->hold.state = HOLD_OPEN;
	for (lease = TAILQ_FIRST(&drain->leases.list); lease != NULL;
	     lease = next) {
		next = TAILQ_NEXT(lease, next);
		if (lease->state != LEASE_FLYING &&
		    lease->listed != drain->hold.generation)
			lease_remove(&drain->leases, lease);
	}
}

static void on_gone(struct drain *drain, struct rst_str id)
{
	struct lease *lease = lease_find(&drain->leases, id);

	drain->hold.removed = true;
	if (lease == NULL)
		return;
	rst_push_forget(drain->client.push, lease->id);
	lease_remove(&drain->leases, lease);
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
		drain_defer(drain, lease, now_ms);
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
		drain->hold.message_state = MESSAGE_SKIPPED;
		break;
	case RST_HOLD_DRAINED:
		/* in OPEN this is the END of MORE, which lists only new
		   messages */
		if (drain->hold.state != HOLD_OPEN)
			on_listed(drain);
		break;
	case RST_HOLD_GONE:
		on_gone(drain, ev->id);
		break;
	case RST_HOLD_KEPT:
		on_kept(drain, ev, now_ms);
		break;
	case RST_HOLD_COMMITTED:
		drain->hold.committing = false;
		break;
	case RST_HOLD_CLOSED:
		on_bye(drain, ev->due, now_ms);
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

	if (drain->hold.conn == NULL)
		return false;
	if (drain->hold.message_state == MESSAGE_WAITING)
		return start_message(drain, now_ms);
	room = drain->hold.message_state == MESSAGE_FEEDING
		       ? rst_push_room(drain->client.push)
		       : SIZE_MAX;
	ret = hold_conn_next(drain->hold.conn, room, &ev, now_ms);
	if (ret < 0) {
		drain_hold_lost(drain, "closed or not understood", now_ms);
		return true;
	}
	if (ret > 0)
		on_hold_event(drain, &ev, now_ms);
	return ret > 0;
}
