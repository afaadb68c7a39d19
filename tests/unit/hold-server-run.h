/* SPDX-License-Identifier: MIT */
/**
 * Play both a dialler's commands and the work of a hold to rst_hold_server,
 * and write down what was to be seen, for the unit test and the fuzzer alike:
 * the network's cuts may not change an octet of it.
 *
 * The hold has three messages, m1 to m3. `how` says what else the caller does:
 *   u e   USER: NOUSER, NOTENROLLED     b     DRAIN, MORE, RELEASE: BUSY
 *   t     USER, RELEASE, SCAN: TEMPFAIL k     every mark is KEPT
 *   f     no message can be read to its end
 *   d     it cannot tell at BYE when the next message is due
 *   z     the hold is empty             S     the socket takes SCAN only
 *
 * In the input, '|' is not said: where it stands the listing goes one step
 * further, by a MSG line, by half of the octets that are left, or by END. It
 * also does so when a command waits for it, and at the end of the input to its
 * own end. '!' is not said either: there the dialler is gone.
 */
#ifndef HOLD_SERVER_RUN_H
#define HOLD_SERVER_RUN_H

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/hold-server.h"

#define HOLD_SERVER_RUN_MARKS 3
/** Octets of output that may wait in the machine after one event. */
#define HOLD_SERVER_RUN_OUTPUT_MAX 512

struct hold_server_run {
	struct rst_hold_server *server;
	const char *how;
	struct rst_buf events; /**< what the caller was told, each with ';' */
	struct rst_buf output; /**< what went to the dialler */
	struct rst_buf marks;  /**< ids of the marks so far, each with LF */
	struct rst_buf input;  /**< not taken yet */
	unsigned int seen[RST_HOLD_SERVER_ERROR + 1]; /**< events of a type */
	size_t next;    /**< message to be listed */
	size_t body_at; /**< octets of the current one that are written */
	bool hung_up;
};

static inline void hold_server_run_check(bool holds)
{
	if (!holds)
		abort();
}

static inline bool hold_server_run_does(const struct hold_server_run *run,
					char what)
{
	return strchr(run->how, what) != NULL;
}

static const struct {
	const char *id, *mail_from, *rcpt_to, *body;
} hold_server_run_messages[] = {
	{"m1", "s@x", "t@y", "abc\r\n"},
	{"m2", "", "t+\001\td@y", ""},
	/* octets that look like an answer */
	{"m3", "s@x", "t@y", "\nEND\t9\nBYE\n"},
};

#define HOLD_SERVER_RUN_MESSAGES \
	(sizeof(hold_server_run_messages) / sizeof(hold_server_run_messages[0]))

static inline void hold_server_run_start(struct hold_server_run *run,
					 const char *how)
{
	const struct rst_hold_server_limits limits = {
		.max_marks = HOLD_SERVER_RUN_MARKS,
	};

	*run = (struct hold_server_run){
		.server = rst_hold_server_new(&limits),
		.how = how,
	};
}

static inline void hold_server_run_free(struct hold_server_run *run)
{
	rst_hold_server_free(&run->server);
	rst_buf_clear(&run->events);
	rst_buf_clear(&run->output);
	rst_buf_clear(&run->marks);
	rst_buf_clear(&run->input);
}

/* No line may come while octets of a message are missing. */
static inline void hold_server_run_flush(struct hold_server_run *run,
					 bool in_message)
{
	size_t n;
	const char *out = rst_hold_server_output(run->server, &n);

	hold_server_run_check(n <= HOLD_SERVER_RUN_OUTPUT_MAX);
	hold_server_run_check(n == 0 || (!in_message && !run->hung_up));
	rst_buf_append(&run->output, out, n);
	rst_hold_server_sent(run->server, n);
}

/* ---- the caller's work */

static inline void hold_server_run_open(struct hold_server_run *run)
{
	if (hold_server_run_does(run, 'u'))
		rst_hold_server_no(run->server, RST_HOLD_NO_USER, "no\tsuch");
	else if (hold_server_run_does(run, 'e'))
		rst_hold_server_no(run->server, RST_HOLD_NO_ENROLLED, "no");
	else if (hold_server_run_does(run, 't'))
		rst_hold_server_no(run->server, RST_HOLD_NO_TEMP, "disk");
	else
		rst_hold_server_ok(run->server, RST_STR("u"),
				   &(struct rst_hold_server_held){
					   3, 16, 1700000000, false});
}

static inline void hold_server_run_scan(struct hold_server_run *run)
{
	if (hold_server_run_does(run, 't')) {
		rst_hold_server_no(run->server, RST_HOLD_NO_TEMP, "not yet");
		return;
	}
	rst_hold_server_holds(run->server, RST_STR("a\tb"), 1, 2, 3);
	rst_hold_server_holds(run->server, RST_STR("c"), 0, 0, 0);
	rst_hold_server_scanned(run->server, 5, 1);
}

static inline void hold_server_run_lock(struct hold_server_run *run, bool first)
{
	if (hold_server_run_does(run, 'b'))
		rst_hold_server_no(run->server, RST_HOLD_NO_BUSY, "locked");
	else if (hold_server_run_does(run, 'z'))
		run->next = HOLD_SERVER_RUN_MESSAGES;
	else if (first)
		run->next = 0;
}

static inline void hold_server_run_release(struct hold_server_run *run)
{
	if (hold_server_run_does(run, 'b'))
		rst_hold_server_no(run->server, RST_HOLD_NO_BUSY, "locked");
	else if (hold_server_run_does(run, 't'))
		rst_hold_server_no(run->server, RST_HOLD_NO_TEMP, "disk");
	else
		rst_hold_server_released(run->server, 2, 1, 0);
}

static inline void hold_server_run_decide(struct hold_server_run *run)
{
	struct rst_str rest = rst_buf_view(&run->marks), id;

	while (rst_str_split(&rest, '\n', &id) && id.n > 0) {
		if (hold_server_run_does(run, 'k'))
			rst_hold_server_kept(run->server, id, "over\nquota");
		else
			rst_hold_server_gone(run->server, id);
	}
	rst_buf_clear(&run->marks);
}

static inline void hold_server_run_mark(struct hold_server_run *run,
					struct rst_str id)
{
	hold_server_run_check(rst_id_valid(id));
	rst_buf_str(&run->marks, id);
	rst_buf_puts(&run->marks, "\n");
}

static inline void hold_server_run_do(struct hold_server_run *run,
				      const struct rst_hold_server_event *ev)
{
	switch (ev->type) {
	case RST_HOLD_SERVER_USER:
		hold_server_run_open(run);
		break;
	case RST_HOLD_SERVER_SCAN:
		hold_server_run_scan(run);
		break;
	case RST_HOLD_SERVER_DRAIN:
		hold_server_run_lock(run, true);
		break;
	case RST_HOLD_SERVER_MORE:
		hold_server_run_lock(run, false);
		break;
	case RST_HOLD_SERVER_ACK:
	case RST_HOLD_SERVER_FALLBACK:
		hold_server_run_mark(run, ev->id);
		break;
	case RST_HOLD_SERVER_COMMIT:
		hold_server_run_decide(run);
		rst_hold_server_done(run->server);
		break;
	case RST_HOLD_SERVER_RELEASE_ALL:
	case RST_HOLD_SERVER_RELEASE_EXPIRED:
	case RST_HOLD_SERVER_RELEASE_ONE:
		hold_server_run_release(run);
		break;
	case RST_HOLD_SERVER_BYE:
		hold_server_run_decide(run);
		rst_hold_server_bye(run->server,
				    hold_server_run_does(run, 'd') ? -1 : 7);
		break;
	case RST_HOLD_SERVER_ERROR:
		hold_server_run_check(rst_hold_server_ended(run->server));
		break;
	}
}

static inline void hold_server_run_saw(struct hold_server_run *run,
				       const struct rst_hold_server_event *ev)
{
	static const char *const names[] = {
		[RST_HOLD_SERVER_USER] = "user",
		[RST_HOLD_SERVER_SCAN] = "scan",
		[RST_HOLD_SERVER_DRAIN] = "drain",
		[RST_HOLD_SERVER_MORE] = "more",
		[RST_HOLD_SERVER_ACK] = "ack",
		[RST_HOLD_SERVER_FALLBACK] = "fallback",
		[RST_HOLD_SERVER_COMMIT] = "commit",
		[RST_HOLD_SERVER_RELEASE_ALL] = "release all",
		[RST_HOLD_SERVER_RELEASE_EXPIRED] = "release expired",
		[RST_HOLD_SERVER_RELEASE_ONE] = "release",
		[RST_HOLD_SERVER_BYE] = "bye",
		[RST_HOLD_SERVER_ERROR] = "error",
	};
	const struct rst_str *const views[] = {&ev->user, &ev->id, &ev->text};
	size_t i;

	run->seen[ev->type]++;
	rst_buf_puts(&run->events, names[ev->type]);
	for (i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		if (views[i]->n == 0)
			continue;
		rst_buf_puts(&run->events, " ");
		rst_buf_str(&run->events, *views[i]);
	}
	if (ev->type == RST_HOLD_SERVER_BYE && ev->listed)
		rst_buf_puts(&run->events, " listed");
	rst_buf_puts(&run->events, ";");
}

/* ---- the listing */

static inline void hold_server_run_begin(struct hold_server_run *run)
{
	size_t i = run->next++;
	const struct rst_hold_server_message msg = {
		.uid = (uint32_t)i + 1,
		.id = rst_str(hold_server_run_messages[i].id),
		.size = strlen(hold_server_run_messages[i].body),
		.arrived = 1699999999,
		.mail_from = rst_str(hold_server_run_messages[i].mail_from),
		.rcpt_to = rst_str(hold_server_run_messages[i].rcpt_to),
	};

	rst_hold_server_message(run->server, &msg);
	hold_server_run_flush(run, false);
	run->body_at = 0;
}

static inline void hold_server_run_body(struct hold_server_run *run)
{
	size_t left = (size_t)rst_hold_server_body_left(run->server), n;
	const char *body = hold_server_run_messages[run->next - 1].body;

	if (hold_server_run_does(run, 'f') && run->body_at > 0) {
		rst_hold_server_no(run->server, RST_HOLD_NO_TEMP, "short");
		return;
	}
	n = (left + 1) / 2;
	rst_buf_append(&run->output, body + run->body_at, n);
	run->body_at += n;
	rst_hold_server_body_sent(run->server, n);
}

/* @return whether there was anything to do */
static inline bool hold_server_run_list(struct hold_server_run *run)
{
	if (!rst_hold_server_ended(run->server) &&
	    rst_hold_server_body_left(run->server) > 0) {
		hold_server_run_body(run);
		return true;
	}
	if (!rst_hold_server_may_list(run->server))
		return false;
	if (run->next < HOLD_SERVER_RUN_MESSAGES)
		hold_server_run_begin(run);
	else
		rst_hold_server_end(run->server);
	return true;
}

/* ---- the driver */

static inline bool hold_server_run_pull(struct hold_server_run *run)
{
	bool in_message = rst_hold_server_body_left(run->server) > 0;
	struct rst_hold_server_event ev;
	bool any = false;

	while (rst_hold_server_next(run->server, &ev)) {
		hold_server_run_saw(run, &ev);
		hold_server_run_do(run, &ev);
		hold_server_run_flush(run, in_message);
		any = true;
	}
	hold_server_run_flush(run, in_message);
	return any;
}

/* Offer what is there; a whole line from an allocation of its own: ASan then
   sees a read behind its end, and a view into it that is kept. @return whether
   a line was taken */
static inline bool hold_server_run_offer(struct hold_server_run *run)
{
	struct rst_str in = rst_buf_view(&run->input);
	char *copy;
	size_t taken;

	if (in.n == 0)
		return false;
	if (memchr(in.p, '\n', in.n) == NULL) {
		taken = rst_hold_server_recv(run->server, in.p, in.n);
		hold_server_run_check(taken == 0);
		return false;
	}
	copy = rst_malloc(in.n);
	memcpy(copy, in.p, in.n);
	taken = rst_hold_server_recv(run->server, copy, in.n);
	hold_server_run_check(taken <= in.n);
	hold_server_run_check(taken == 0 || copy[taken - 1] == '\n');
	free(copy);
	rst_buf_take(&run->input, taken);
	return taken > 0;
}

/* Until nothing more is taken or said. */
static inline void hold_server_run_work(struct hold_server_run *run)
{
	bool moved;

	do {
		moved = hold_server_run_offer(run);
		moved = hold_server_run_pull(run) || moved;
	} while (moved);
}

static inline void hold_server_run_hang_up(struct hold_server_run *run)
{
	run->hung_up = true;
	rst_hold_server_hang_up(run->server);
	hold_server_run_work(run);
}

/* Where a command waits, only the listing can bring it on. */
static inline void hold_server_run_unblock(struct hold_server_run *run)
{
	hold_server_run_work(run);
	while (!rst_hold_server_wants_input(run->server) &&
	       hold_server_run_list(run))
		hold_server_run_work(run);
}

static inline void hold_server_run_sign(struct hold_server_run *run, char what)
{
	hold_server_run_unblock(run);
	if (what == '!')
		hold_server_run_hang_up(run);
	else if (hold_server_run_list(run))
		hold_server_run_work(run);
}

/* Some octets arrive; '|' and '!' are seen wherever the network cuts. */
static inline void hold_server_run_feed(struct hold_server_run *run,
					const char *in, size_t len)
{
	size_t n;

	while (len > 0) {
		for (n = 0; n < len && in[n] != '|' && in[n] != '!'; n++)
			;
		rst_buf_append(&run->input, in, n);
		hold_server_run_unblock(run);
		if (n < len)
			hold_server_run_sign(run, in[n++]);
		in += n;
		len -= n;
	}
}

/* All has been said: the listing goes on to its end. */
static inline void hold_server_run_finish(struct hold_server_run *run)
{
	hold_server_run_work(run);
	while (hold_server_run_list(run))
		hold_server_run_work(run);
}

/* ---- what the dialling side makes of it */

/* A dialler that has asked for all that the server heard of. */
static inline struct rst_hold_dialler *
hold_server_run_ask(const struct hold_server_run *run)
{
	const struct rst_hold_dialler_limits limits = {0};
	const unsigned int *seen = run->seen;
	bool scan = seen[RST_HOLD_SERVER_SCAN] > 0;
	struct rst_hold_dialler *h = rst_hold_dialler_new(&limits, scan, 0);
	unsigned int i;

	for (i = 0; i < seen[RST_HOLD_SERVER_DRAIN]; i++)
		rst_hold_dialler_drain(h, 0);
	for (i = 0; i < seen[RST_HOLD_SERVER_MORE]; i++)
		rst_hold_dialler_more(h, 0);
	for (i = 0; i < seen[RST_HOLD_SERVER_ACK]; i++)
		rst_hold_dialler_ack(h, RST_STR("a"));
	for (i = 0; i < seen[RST_HOLD_SERVER_FALLBACK]; i++)
		rst_hold_dialler_fallback(h, RST_STR("a"), RST_STR("552"));
	for (i = 0; i < seen[RST_HOLD_SERVER_COMMIT]; i++)
		rst_hold_dialler_commit(h, 0);
	for (i = 0; i < seen[RST_HOLD_SERVER_RELEASE_ALL] +
				seen[RST_HOLD_SERVER_RELEASE_EXPIRED] +
				seen[RST_HOLD_SERVER_RELEASE_ONE];
	     i++)
		rst_hold_dialler_release(h, RST_STR("ALL"), 0);
	if (seen[RST_HOLD_SERVER_BYE] > 0)
		rst_hold_dialler_bye(h, 0);
	return h;
}

/* The dialler takes every octet of the output, and finds nothing wrong. */
static inline void hold_server_run_dial(const struct hold_server_run *run)
{
	struct rst_hold_dialler *h = hold_server_run_ask(run);
	struct rst_str out = rst_buf_view(&run->output);
	struct rst_hold_event ev;
	ssize_t taken;

	do {
		taken = rst_hold_dialler_recv(h, out.p, out.n, 0);
		hold_server_run_check(taken >= 0);
		out.p += taken;
		out.n -= (size_t)taken;
		while (rst_hold_dialler_next(h, &ev))
			;
	} while (taken > 0);
	hold_server_run_check(out.n == 0);
	/* a message that was cut off is not whole for the dialler either */
	if (!run->hung_up)
		hold_server_run_check(rst_hold_dialler_body_left(h) ==
				      rst_hold_server_body_left(run->server));
	rst_hold_dialler_free(&h);
}

#endif
