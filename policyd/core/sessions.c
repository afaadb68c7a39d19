/* SPDX-License-Identifier: MIT */
#include "sessions-private.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "restante/smtp.h"

/** Wrong passwords for one user from one source. A client whose password has
    changed, and that asks every minute, should not get here. */
#define MAX_FAILURES 20
#define FAILURES_WINDOW_MS (10 * 60 * 1000)
#define MAX_GUESSERS 50000

/* ---- finding */

static int compare_number(const void *_a, const void *_b)
{
	const struct session *a = _a, *b = _b;

	if (a->peer != b->peer)
		return (uintptr_t)a->peer < (uintptr_t)b->peer ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

static int compare_exchange(const void *_a, const void *_b)
{
	const struct session *a = _a, *b = _b;

	return (a->auth_id > b->auth_id) - (a->auth_id < b->auth_id);
}

static struct session *find_session(struct sessions *all, struct peer *peer,
				    uint64_t number)
{
	struct session wanted = {.peer = peer, .number = number};
	struct session **found =
		tfind(&wanted, &all->by_number, compare_number);

	return found == NULL ? NULL : *found;
}

static struct session *find_exchange(struct sessions *all, uint32_t id)
{
	struct session wanted = {.auth_id = id};
	struct session **found =
		tfind(&wanted, &all->by_exchange, compare_exchange);

	return id == 0 || found == NULL ? NULL : *found;
}

static struct peer *find_peer(struct sessions *all, struct worker *worker)
{
	struct peer *peer;

	LIST_FOREACH(peer, &all->peers, entry)
	{
		if (peer->worker == worker)
			return peer;
	}
	peer = rst_calloc(1, sizeof(*peer));
	peer->worker = worker;
	LIST_INIT(&peer->list);
	LIST_INSERT_HEAD(&all->peers, peer, entry);
	return peer;
}

/* ---- telling */

void session_begin_line(struct rst_logline *line, const char *message,
			const struct session *session)
{
	rst_logline_begin(line, message);
	/* the two together are what the worker's own lines have */
	rst_logline_u64(line, "session", session->number);
	rst_logline_i64(line, "worker", worker_pid(session->peer->worker));
	if (session->user != NULL)
		rst_logline_cstr(line, "user", session->user);
	rst_logline_cstr(line, "remote", session->remote);
}

void session_log(int level, const char *message, const struct session *session)
{
	struct rst_logline line;

	session_begin_line(&line, message, session);
	log_line(level, &line);
}

void session_tell(struct session *session, enum rst_ipc_type type, int fd)
{
	struct rst_ipc msg = {.type = type, .session = session->number};

	worker_send(session->peer->worker, &msg, fd);
}

void session_tell_verdict(struct session *session, enum rst_ipc_type type,
			  uint32_t id, enum rst_verdict verdict,
			  struct rst_str user)
{
	struct rst_ipc msg = {.type = type,
			      .session = session->number,
			      .id = id,
			      .verdict = verdict,
			      .a = user};

	worker_send(session->peer->worker, &msg, -1);
}

void session_forged(struct session *session, const char *what)
{
	struct rst_logline line;

	session_begin_line(&line, "worker asks for what it cannot have",
			   session);
	rst_logline_cstr(&line, "reason", what);
	log_line(LOG_ERR, &line);
	worker_kill(session->peer->worker, what);
}

/* ---- sign-in */

static void end_exchange(struct session *session)
{
	(void)tdelete(session, &session->all->by_exchange, compare_exchange);
	session->auth_id = 0;
}

static void cancel_exchange(struct session *session)
{
	if (session->auth_id == 0)
		return;
	auth_conn_cancel(session->all->auth, session->auth_id);
	end_exchange(session);
}

static void auth_answer(struct session *session, enum rst_verdict verdict)
{
	session_tell_verdict(session, RST_IPC_AUTH_DONE, session->answer_id,
			     verdict, RST_STR(""));
}

static void cmd_auth(struct session *session, const struct rst_ipc *msg)
{
	const struct rst_auth_request request = {
		.service = "restante",
		.mechanism = msg->a,
		.initial = msg->b,
		.has_initial = msg->n[1] == 1,
		.remote_ip = msg->c,
		.local_ip = RST_STR(""),
		.remote_port = msg->n[0] > 0 && msg->n[0] <= 65535
				       ? (unsigned int)msg->n[0]
				       : 0};
	ssize_t id;

	if (session->auth_id != 0 || session->user != NULL) {
		session_forged(session, "AUTH twice");
		return;
	}
	(void)snprintf(session->remote, sizeof(session->remote), "%.*s",
		       (int)msg->c.n, msg->c.p);
	session->answer_id = msg->id;
	id = auth_conn_start(session->all->auth, &request);
	if (id < 0) {
		auth_answer(session, id == RST_EPERM ? RST_VERDICT_REFUSED
						     : RST_VERDICT_TEMPFAIL);
		return;
	}
	session->auth_id = (uint32_t)id;
	if (tsearch(session, &session->all->by_exchange, compare_exchange) ==
	    NULL)
		abort();
}

static void cmd_auth_continue(struct session *session,
			      const struct rst_ipc *msg)
{
	if (session->auth_id == 0)
		return; /* crossed our TEMPFAIL */
	session->answer_id = msg->id;
	if (auth_conn_continue(session->all->auth, session->auth_id, msg->a) <
	    0) {
		cancel_exchange(session);
		auth_answer(session, RST_VERDICT_REFUSED);
	}
}

static void cmd_auth_cancel(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	cancel_exchange(session);
}

static void on_challenge(struct session *session,
			 const struct rst_auth_event *ev)
{
	struct rst_ipc msg = {.type = RST_IPC_AUTH_CHALLENGE,
			      .session = session->number,
			      .id = session->answer_id,
			      .a = ev->challenge};

	if (ev->challenge.n <= RST_SMTP_AUTH_LINE_MAX) {
		worker_send(session->peer->worker, &msg, -1);
		return;
	}
	cancel_exchange(session);
	auth_answer(session, RST_VERDICT_TEMPFAIL);
}

/* Right or wrong: it is not told. Dovecot's own penalty stays beside this: it
   counts for all who share an address, ours for one user from one source. */
static void refuse_guesser(struct session *session,
			   const struct rst_auth_event *ev)
{
	struct rst_logline line;

	session_begin_line(&line, "sign-in refused, too many failures before",
			   session);
	rst_logline_str(&line, "user", ev->user);
	log_line(LOG_WARNING, &line);
	auth_answer(session, RST_VERDICT_TEMPFAIL);
}

static void on_auth_ok(struct session *session, const struct rst_auth_event *ev)
{
	end_exchange(session);
	if (ev->user.n == 0 || ev->user.n > RST_HOLD_USER_MAX) {
		session_log(LOG_ERR, "Dovecot named no usable user", session);
		auth_answer(session, RST_VERDICT_TEMPFAIL);
		return;
	}
	if (rst_throttle_blocks(session->all->throttle, ev->user,
				rst_str(session->remote), clock_ms())) {
		refuse_guesser(session, ev);
		return;
	}
	rst_throttle_clear(session->all->throttle, ev->user,
			   rst_str(session->remote));
	session->user = rst_str_dup(ev->user);
	session_log(LOG_INFO, "signed in", session);
	auth_answer(session, RST_VERDICT_OK);
}

static void on_auth_failed(struct session *session,
			   const struct rst_auth_event *ev)
{
	struct rst_logline line;

	end_exchange(session);
	if (!ev->temporary) {
		if (rst_throttle_blocks(session->all->throttle, ev->user,
					rst_str(session->remote), clock_ms())) {
			refuse_guesser(session, ev);
			return;
		}
		rst_throttle_failed(session->all->throttle, ev->user,
				    rst_str(session->remote), clock_ms());
	}
	session_begin_line(&line, "sign-in failed", session);
	rst_logline_str(&line, "user", ev->user);
	rst_logline_str(&line, "reason", ev->reason);
	log_line(ev->temporary ? LOG_WARNING : LOG_INFO, &line);
	auth_answer(session,
		    ev->temporary ? RST_VERDICT_TEMPFAIL : RST_VERDICT_REFUSED);
}

void sessions_auth_event(struct sessions *all, const struct rst_auth_event *ev)
{
	struct session *session = find_exchange(all, ev->id);

	if (session == NULL)
		return;
	switch (ev->type) {
	case RST_AUTH_CONTINUE:
		on_challenge(session, ev);
		break;
	case RST_AUTH_OK:
		on_auth_ok(session, ev);
		break;
	case RST_AUTH_FAILED:
		on_auth_failed(session, ev);
		break;
	case RST_AUTH_READY:
		break;
	}
}

void sessions_auth_lost(struct sessions *all)
{
	while (all->by_exchange != NULL) {
		/* the key of the root */
		struct session *session = *(struct session **)all->by_exchange;

		end_exchange(session);
		auth_answer(session, RST_VERDICT_TEMPFAIL);
	}
}

/* ---- the session itself */

static struct session *add_session(struct peer *peer, struct sessions *all,
				   uint64_t number)
{
	struct session *session = rst_calloc(1, sizeof(*session));

	session->all = all;
	session->peer = peer;
	session->number = number;
	session->key = ++all->last_key;
	session->hold_fd = -1;
	LIST_INSERT_HEAD(&peer->list, session, entry);
	peer->count++;
	if (tsearch(session, &all->by_number, compare_number) == NULL)
		abort();
	return session;
}

static void end_session(struct session *session)
{
	struct sessions *all = session->all;

	cancel_exchange(session);
	session_leave(session);
	(void)tdelete(session, &all->by_number, compare_number);
	LIST_REMOVE(session, entry);
	session->peer->count--;
	free(session->user);
	free(session);
}

static void cmd_closed(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	end_session(session);
}

static const struct {
	enum rst_ipc_type type;
	void (*handle)(struct session *session, const struct rst_ipc *msg);
} commands[] = {
	{RST_IPC_AUTH, cmd_auth},
	{RST_IPC_AUTH_CONTINUE, cmd_auth_continue},
	{RST_IPC_AUTH_CANCEL, cmd_auth_cancel},
	{RST_IPC_ATRN, session_atrn},
	{RST_IPC_HOLD_OPEN, session_hold_open},
	{RST_IPC_SETTLING, session_settling},
	{RST_IPC_HOLD_CLOSED, session_hold_closed},
	{RST_IPC_CLOSED, cmd_closed},
};

static void handle(struct session *session, const struct rst_ipc *msg)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].type == msg->type) {
			commands[i].handle(session, msg);
			return;
		}
	}
}

void sessions_message(struct sessions *all, struct worker *worker,
		      const struct rst_ipc *msg)
{
	struct peer *peer = find_peer(all, worker);
	struct session *session = find_session(all, peer, msg->session);

	if (session != NULL) {
		handle(session, msg);
	} else if (msg->type == RST_IPC_CLOSED) {
		/* one that left before it signed in: never heard of */
	} else if (msg->type != RST_IPC_AUTH) {
		worker_kill(worker, "message for no session");
	} else if (peer->count >= all->config.max_per_worker) {
		worker_kill(worker, "more sessions than connections");
	} else {
		handle(add_session(peer, all, msg->session), msg);
	}
}

static void remove_peer(struct peer *peer)
{
	struct session *session;

	while ((session = LIST_FIRST(&peer->list)) != NULL)
		end_session(session);
	LIST_REMOVE(peer, entry);
	free(peer);
}

void sessions_worker_gone(struct sessions *all, struct worker *worker)
{
	remove_peer(find_peer(all, worker));
}

struct sessions *sessions_new(struct event_base *base,
			      const struct sessions_config *config)
{
	const struct rst_throttle_limits limits = {
		MAX_FAILURES, FAILURES_WINDOW_MS, MAX_GUESSERS};
	struct sessions *all = rst_calloc(1, sizeof(*all));

	all->base = base;
	all->config = *config;
	all->registry = rst_registry_new();
	all->throttle = rst_throttle_new(&limits);
	LIST_INIT(&all->peers);
	TAILQ_INIT(&all->check_queue);
	TAILQ_INIT(&all->checks);
	all->check_turn = evtimer_new(base, sessions_check_turn, all);
	if (all->check_turn == NULL)
		abort();
	return all;
}

void sessions_free(struct sessions **_all)
{
	struct sessions *all = *_all;
	struct peer *peer;

	*_all = NULL;
	if (all == NULL)
		return;
	while ((peer = LIST_FIRST(&all->peers)) != NULL)
		remove_peer(peer);
	event_free(all->check_turn);
	rst_registry_free(&all->registry);
	rst_throttle_free(&all->throttle);
	free(all);
}

void sessions_set_auth(struct sessions *all, struct auth_conn *auth)
{
	all->auth = auth;
}
