/* SPDX-License-Identifier: MIT */
#include "drain-private.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

void drain_mark(struct drain *drain, struct lease *lease, int64_t now_ms)
{
	struct rst_hold_dialler *hold = hold_conn_machine(drain->hold.conn);

	if (lease->verdict == RST_VERDICT_OK)
		rst_hold_dialler_ack(hold, lease->id);
	else
		rst_hold_dialler_fallback(hold, lease->id,
					  rst_str(lease->reply));
	lease->marked = drain->hold.generation;
	if (drain->hold.marks++ == 0)
		drain->hold.marked_ms = now_ms;
}

void drain_defer(struct drain *drain, struct lease *lease, int64_t now_ms)
{
	const struct drain_settings *settings = drain->settings;

	lease->delay_ms = lease->delay_ms == 0
				  ? settings->retry_min_ms
				  : drain_next_delay(lease->delay_ms,
						     settings->retry_max_ms);
	lease->retry_ms = now_ms + lease->delay_ms;
	if (drain->next.retry_ms < 0 || lease->retry_ms < drain->next.retry_ms)
		drain->next.retry_ms = lease->retry_ms;
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
	if (!drain_may_mark(drain))
		return;
	/* On a connection that was opened since the push, the message is marked
	   when it is listed. Where all was listed without it, it has been
	   removed by something else. */
	if (lease->listed == drain->hold.generation)
		drain_mark(drain, lease, now_ms);
	else if (drain->hold.state == HOLD_OPEN)
		lease_remove(&drain->leases, lease);
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
	drain_defer(drain, lease, now_ms);
}

static void on_ready(struct drain *drain, bool extended)
{
	if (drain->client.state == CLIENT_GREETING)
		drain->client.state = CLIENT_PUSHING;
	drain->client.extended = extended;
	drain->next.wanted = true;
}

static void on_closed(struct drain *drain, struct rst_str text)
{
	if (drain->client.state < CLIENT_ABORTED)
		drain->client.state = CLIENT_OVER;
	(void)snprintf(drain->client.over_text, sizeof(drain->client.over_text),
		       "%.*s", (int)text.n, text.p);
}

bool drain_take_push_event(struct drain *drain, int64_t now_ms)
{
	struct rst_push_event ev;

	if (!rst_push_next(drain->client.push, &ev))
		return false;
	switch (ev.type) {
	case RST_PUSH_READY:
		on_ready(drain, ev.extended);
		break;
	case RST_PUSH_RESULT:
		on_result(drain, &ev, now_ms);
		break;
	case RST_PUSH_CLOSED:
		on_closed(drain, ev.text);
		break;
	}
	return true;
}
