/* SPDX-License-Identifier: MIT */
/*
 * The hold connection:
 *
 *   NONE     nothing open, maybe `wanted`
 *   ASKED    HOLD_OPEN was said to the core
 *   OPENING  the descriptor is here, OPENED is not
 *   OPEN     DRAIN was said: messages come, ACKs and COMMITs go
 *   ENDING   BYE was said
 *
 * Every one that gets as far as OPENING has a number of its own
 * (`generation`): what was said to an earlier one may not have been heard, and
 * is said again when the message is listed again. So a message leaves the hold
 * only by an ACK that follows the client's 2xx, and is pushed again only when
 * there was none.
 */
#include "drain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hold-conn.h"
#include "lease.h"
#include "log.h"
#include "restante/push.h"

/** octets that the push machine queues for us to take */
#define MAX_OUTPUT (64 * 1024)
/** Messages on the way: at 100 ms of round trip, 2560 a second. */
#define MAX_UNANSWERED 256
/** messages that we remember, on the way, waiting, or not yet removed */
#define MAX_LEASES 4096
/** acknowledgements that are worth a COMMIT at once */
#define COMMIT_COUNT 200

enum hold_state {
	HOLD_NONE,
	HOLD_ASKED,
	HOLD_OPENING,
	HOLD_OPEN,
	HOLD_ENDING,
};

struct drain {
	struct event_base *base;
	const struct drain_settings *settings;
	const char *user;
	struct drain_callbacks callbacks;
	void *ctx;

	struct rst_push *push;
	bool ready;    /* EHLO was answered */
	bool extended; /* and this is how it goes */
	bool quitting;
	bool over;
	char over_text[256];

	enum hold_state state;
	struct hold_conn *hold;
	uint64_t generation;
	bool listing; /* the answer to DRAIN still comes, not to MORE */
	bool more;    /* something may have come since DRAIN or MORE */
	bool skipped; /* a message was passed over: there was no lease */
	bool removed; /* something was GONE on this connection */
	bool waiting; /* a MESSAGE waits until the client can take it */
	bool feeding; /* its octets go to the client; else nowhere */
	bool committing;
	unsigned int told; /* ACKs and FALLBACKs since the last COMMIT */
	int64_t told_ms;   /* when the first of these was said */
	struct rst_hold_event message; /* that waits */

	bool wanted; /* a hold is to be opened, but not before open_ms */
	int64_t open_ms;
	int64_t reopen_delay_ms;
	int64_t retry_ms; /* earliest of the leases'; -1: none */

	bool ended;
	bool given_up; /* end_ms has passed */
	int64_t end_ms;
	struct leases leases;
	struct drain_counts counts;
};

void drain_settings_init(struct drain_settings *settings)
{
	*settings = (struct drain_settings){
		/* a COMMIT may run Sieve for every message in it */
		.hold_reply_timeout_ms = 300 * 1000,
		.retry_min_ms = 60 * 1000,
		.retry_max_ms = 3600 * 1000,
		.reopen_min_ms = 1000,
		.reopen_max_ms = 60 * 1000,
		.commit_delay_ms = 100,
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

static void open_hold(struct drain *drain)
{
	drain->wanted = false;
	drain->state = HOLD_ASKED;
	drain->callbacks.to_core(RST_IPC_HOLD_OPEN, drain->ctx);
}

static int64_t next_delay(int64_t delay_ms, int64_t max_ms)
{
	return delay_ms > max_ms / 2 ? max_ms : delay_ms * 2;
}

static void open_later(struct drain *drain, int64_t now_ms)
{
	drain->wanted = true;
	drain->open_ms = now_ms + drain->reopen_delay_ms;
	drain->reopen_delay_ms = next_delay(drain->reopen_delay_ms,
					    drain->settings->reopen_max_ms);
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

static void close_hold(struct drain *drain)
{
	hold_conn_free(&drain->hold);
	drain->state = HOLD_NONE;
	drain->wanted = drain->wanted || drain->more;
	drain->more = false;
	drain->listing = false;
	drain->waiting = false;
	drain->committing = false;
	drain->told = 0;
	find_retry(drain);
	drain->callbacks.to_core(RST_IPC_HOLD_CLOSED, drain->ctx);
}

/* Everything was said and heard. */
static void hold_finished(struct drain *drain, int64_t now_ms)
{
	drain->reopen_delay_ms = drain->settings->reopen_min_ms;
	close_hold(drain);
	if (drain->skipped && !drain->ended) {
		/* at once where there is room again, else as for 4xx */
		drain->wanted = true;
		drain->open_ms =
			drain->removed ? now_ms
				       : now_ms + drain->settings->retry_min_ms;
	}
}

static void hold_lost(struct drain *drain, const char *reason, int64_t now_ms)
{
	if (drain->state != HOLD_ENDING || !drain->ended)
		log_hold(drain, LOG_WARNING, "hold connection lost",
			 RST_STR(""), rst_str(reason));
	if (drain->feeding) {
		drain->feeding = false;
		rst_push_abort(drain->push, "held mail cannot be read now");
	}
	close_hold(drain);
	/* what it was told may not have been heard */
	drain->generation++;
	open_later(drain, now_ms);
}

static void on_refused(struct drain *drain, const struct rst_hold_event *ev,
		       int64_t now_ms)
{
	bool busy = rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_BUSY));
	bool nothing = rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_USER)) ||
		       rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_ENROLLED));

	log_hold(drain, busy ? LOG_INFO : LOG_WARNING, "hold not opened",
		 ev->code, ev->text);
	close_hold(drain);
	drain->generation++;
	if (!nothing)
		open_later(drain, now_ms);
	else
		drain->open_ms = now_ms + drain->settings->reopen_max_ms;
}

/* ---- what the client decided */

/* Ask for the removal; what becomes of it comes as GONE or KEPT. */
static void tell(struct drain *drain, struct lease *lease, int64_t now_ms)
{
	struct rst_hold *hold = hold_conn_machine(drain->hold);

	if (lease->verdict == RST_VERDICT_OK)
		rst_hold_ack(hold, lease->id);
	else
		rst_hold_fallback(hold, lease->id, rst_str(lease->reply));
	lease->told = drain->generation;
	if (drain->told++ == 0)
		drain->told_ms = now_ms;
}

static void wait_longer(struct drain *drain, struct lease *lease,
			int64_t now_ms)
{
	const struct drain_settings *settings = drain->settings;

	lease->delay_ms =
		lease->delay_ms == 0
			? settings->retry_min_ms
			: next_delay(lease->delay_ms, settings->retry_max_ms);
	lease->retry_ms = now_ms + lease->delay_ms;
	if (drain->retry_ms < 0 || lease->retry_ms < drain->retry_ms)
		drain->retry_ms = lease->retry_ms;
}

/* The hold does not have it any more: nobody will ask about it again. */
static void forget(struct drain *drain, struct lease *lease)
{
	if (!drain->over)
		rst_push_forget(drain->push, lease->id);
	lease_remove(&drain->leases, lease);
}

static void log_result(const struct drain *drain, const struct lease *lease,
		       const struct rst_push_event *ev, int64_t now_ms)
{
	static const char *const messages[] = {
		[RST_VERDICT_OK] = "message pushed",
		[RST_VERDICT_TEMPFAIL] = "message deferred by client",
		[RST_VERDICT_REFUSED] = "message refused by client",
	};
	struct rst_logline line;

	rst_logline_begin(&line, messages[ev->verdict]);
	rst_logline_cstr(&line, "user", drain->user);
	rst_logline_str(&line, "id", lease->id);
	rst_logline_u64(&line, "size", lease->size);
	rst_logline_i64(&line, "ms", now_ms - lease->started_ms);
	if (ev->verdict != RST_VERDICT_OK)
		rst_logline_str(&line, "reply", ev->text);
	log_line(ev->verdict == RST_VERDICT_REFUSED ? LOG_NOTICE : LOG_INFO,
		 &line);
}

static void decide(struct drain *drain, struct lease *lease,
		   const struct rst_push_event *ev, int64_t now_ms)
{
	lease->state = LEASE_DECIDED;
	lease->verdict = ev->verdict;
	lease->retry_ms = now_ms;
	lease->delay_ms = 0;
	if (ev->verdict == RST_VERDICT_OK) {
		drain->counts.pushed++;
		drain->counts.octets += lease->size;
	} else {
		drain->counts.refused++;
		free(lease->reply);
		lease->reply = rst_str_dup(ev->text);
	}
	if (drain->state != HOLD_OPEN)
		return;
	/* a connection opened since it was pushed is told when it lists the
	   message; if it has not, somebody else has removed it */
	if (lease->listed == drain->generation)
		tell(drain, lease, now_ms);
	else if (!drain->listing)
		forget(drain, lease);
}

static void on_result(struct drain *drain, const struct rst_push_event *ev,
		      int64_t now_ms)
{
	struct lease *lease = lease_find(&drain->leases, ev->id);

	if (lease == NULL || lease->state != LEASE_FLYING)
		return;
	log_result(drain, lease, ev, now_ms);
	if (ev->verdict != RST_VERDICT_TEMPFAIL) {
		decide(drain, lease, ev, now_ms);
		return;
	}
	drain->counts.deferred++;
	lease->state = LEASE_WAITING;
	wait_longer(drain, lease, now_ms);
}

static bool take_push_event(struct drain *drain, int64_t now_ms)
{
	struct rst_push_event ev;

	if (!rst_push_next(drain->push, &ev))
		return false;
	switch (ev.type) {
	case RST_PUSH_READY:
		drain->ready = true;
		drain->extended = ev.extended;
		drain->wanted = true;
		break;
	case RST_PUSH_RESULT:
		on_result(drain, &ev, now_ms);
		break;
	case RST_PUSH_CLOSED:
		drain->over = true;
		(void)snprintf(drain->over_text, sizeof(drain->over_text),
			       "%.*s", (int)ev.text.n, ev.text.p);
		break;
	}
	return true;
}

/* ---- what the hold says */

static void on_opened(struct drain *drain, const struct rst_hold_event *ev,
		      int64_t now_ms)
{
	drain->state = HOLD_OPEN;
	drain->listing = true;
	if (!drain->over)
		rst_push_summary(drain->push, ev->messages, ev->octets);
	rst_hold_drain(hold_conn_machine(drain->hold), now_ms);
}

/* Is this one to be pushed (again)? Its octets come in any case. */
static bool wants_push(struct drain *drain, const struct lease *lease,
		       int64_t now_ms)
{
	if (drain->state != HOLD_OPEN || drain->ended || drain->over)
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
			tell(drain, lease, now_ms);
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

/* What we remember and a whole list does not have has been removed: by an ACK
   that the last connection still heard, or by its fallback time. */
static void on_listed(struct drain *drain)
{
	struct lease *lease, *next;

	drain->listing = false;
	for (lease = TAILQ_FIRST(&drain->leases.list); lease != NULL;
	     lease = next) {
		next = TAILQ_NEXT(lease, next);
		if (lease->state != LEASE_FLYING &&
		    lease->listed != drain->generation)
			forget(drain, lease);
	}
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
		wait_longer(drain, lease, now_ms);
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
		hold_finished(drain, now_ms);
		break;
	case RST_HOLD_RELEASED:
	case RST_HOLD_USER:
	case RST_HOLD_SCANNED:
		/* never asked for */
		break;
	}
}

static bool take_hold_event(struct drain *drain, int64_t now_ms)
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
		hold_lost(drain, "closed or not understood", now_ms);
		return true;
	}
	if (ret > 0)
		on_hold_event(drain, &ev, now_ms);
	return ret > 0;
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
	struct rst_hold *hold = hold_conn_machine(drain->hold);

	if (drain->told > 0)
		rst_hold_commit(hold, now_ms);
	drain->told = 0;
	rst_hold_bye(hold, now_ms);
	drain->state = HOLD_ENDING;
}

static void commit_if_due(struct drain *drain, bool idle, int64_t now_ms)
{
	if (drain->told == 0 || drain->committing)
		return;
	if (!idle && drain->told < COMMIT_COUNT &&
	    now_ms < drain->told_ms + drain->settings->commit_delay_ms)
		return;
	rst_hold_commit(hold_conn_machine(drain->hold), now_ms);
	drain->committing = true;
	drain->told = 0;
}

static void settle_open(struct drain *drain, int64_t now_ms)
{
	struct rst_hold *hold = hold_conn_machine(drain->hold);
	bool idle;

	if (drain->ended) {
		if (!drain->listing || !has_untold(drain))
			say_bye(drain, now_ms);
		return;
	}
	if (drain->more && !rst_hold_draining(hold)) {
		drain->more = false;
		rst_hold_more(hold, now_ms);
	}
	idle = !rst_hold_draining(hold) &&
	       rst_push_unanswered(drain->push) == 0;
	commit_if_due(drain, idle, now_ms);
	if (idle && !drain->committing)
		say_bye(drain, now_ms);
}

static bool open_due(const struct drain *drain, int64_t now_ms)
{
	if (drain->ended)
		return has_untold(drain) && now_ms >= drain->open_ms;
	return drain->ready && !drain->over && now_ms >= drain->open_ms &&
	       (drain->wanted ||
		(drain->retry_ms >= 0 && now_ms >= drain->retry_ms));
}

static void settle_none(struct drain *drain, int64_t now_ms)
{
	if (open_due(drain, now_ms)) {
		open_hold(drain);
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
		close_hold(drain);
	else if (deadline >= 0 && now_ms >= deadline)
		hold_lost(drain, "no answer in time", now_ms);
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
			close_hold(drain);
		break;
	case HOLD_OPEN:
		settle_open(drain, now_ms);
		break;
	case HOLD_ASKED:
	case HOLD_ENDING:
		break;
	}
}

void drain_work(struct drain *drain, int64_t now_ms)
{
	int64_t deadline = rst_push_deadline(drain->push);
	bool moved;

	if (deadline >= 0 && now_ms >= deadline)
		rst_push_tick(drain->push, now_ms);
	do {
		moved = false;
		while (take_push_event(drain, now_ms))
			moved = true;
		if (take_hold_event(drain, now_ms))
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
	if (!drain->ready || drain->over)
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
	return rst_push_recv(drain->push, buf, len, now_ms);
}

const char *drain_output(const struct drain *drain, size_t *len_r)
{
	return rst_push_output(drain->push, len_r);
}

void drain_sent(struct drain *drain, size_t n)
{
	rst_push_sent(drain->push, n);
}

const char *drain_over(const struct drain *drain)
{
	return drain->over ? drain->over_text : NULL;
}

void drain_dismiss(struct drain *drain, const char *text)
{
	rst_push_dismiss(drain->push, text);
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
	if (drain->state != HOLD_ASKED || drain_ended(drain)) {
		(void)close(fd);
		return;
	}
	drain->state = HOLD_OPENING;
	drain->generation++;
	drain->more = false;
	drain->skipped = false;
	drain->removed = false;
	drain->hold = hold_conn_new(drain->base, fd,
				    drain->settings->hold_reply_timeout_ms,
				    now_ms, wake, drain);
}

void drain_hold_failed(struct drain *drain, int64_t now_ms)
{
	if (drain->state != HOLD_ASKED)
		return;
	drain->state = HOLD_NONE;
	open_later(drain, now_ms);
}

void drain_end(struct drain *drain, int64_t now_ms)
{
	if (drain->ended)
		return;
	drain->ended = true;
	drain->end_ms = now_ms + drain->settings->close_ms;
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
	return drain->counts;
}
