/* SPDX-License-Identifier: MIT */
/*
 * A session: (AUTH ... OK) signed in -> (ATRN, enrolled) registered ->
 * (a newer one of the same user) dismissed. It ends with CLOSED, or with its
 * worker.
 *
 * Its hold: NONE -> (HOLD_OPEN) [WAITING ->] DIALLING -> OPEN -> (HOLD_CLOSED)
 * NONE. WAITING: the session that was replaced has not closed the hold yet.
 * At most one session of a user is OPEN, so that the `blocker` of the newest
 * is all there is to remember.
 *
 * What a worker cannot have said while it follows the protocol gets it killed.
 * What it can say because our own message crossed its is ignored.
 */
#include "sessions.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "clock.h"
#include "hold-dial.h"
#include "hold-job.h"
#include "log.h"
#include "restante/registry.h"
#include "restante/smtp.h"

#define USER_MAX 512

enum hold_state {
	HOLD_NONE,
	HOLD_WAITING,
	HOLD_DIALLING,
	HOLD_OPEN,
};

/** A worker and its sessions. */
struct peer {
	LIST_ENTRY(peer) entry;
	struct worker *worker;
	LIST_HEAD(, session) list;
	unsigned int count;
};

struct session {
	LIST_ENTRY(session) entry;
	struct sessions *all;
	struct peer *peer;
	uint64_t number; /* the worker's */
	uint64_t key;    /* ours: unlike the number, the only one in here */

	/* sign-in */
	uint32_t auth_id; /* Dovecot's exchange; 0: none is open */
	uint32_t answer_id;
	char remote[64];
	char *user; /* NULL: not signed in */

	/* registration */
	struct hold_job *check;
	uint32_t atrn_id;
	uint64_t epoch; /* 0: not registered */
	bool dismissed;

	/* hold */
	enum hold_state hold;
	struct hold_dial *dial;
	uint64_t blocker; /* key of the session to be waited for; 0: none */
	struct event *takeover;
	bool held_told; /* the worker knows, and has not asked yet */
};

struct sessions {
	struct event_base *base;
	struct sessions_config config;
	struct auth_conn *auth;
	struct rst_registry *registry;
	LIST_HEAD(, peer) peers;
	void *by_number;   /* tree of sessions: worker, number */
	void *by_exchange; /* tree of sessions with auth_id != 0 */
	uint64_t last_key;
};

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

static struct session *find_registered(struct sessions *all,
				       struct rst_str user)
{
	struct rst_registration reg;

	return rst_registry_find(all->registry, user, &reg) ? reg.ctx : NULL;
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

static void begin_line(struct rst_logline *line, const char *message,
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

static void log_session(int level, const char *message,
			const struct session *session)
{
	struct rst_logline line;

	begin_line(&line, message, session);
	log_line(level, &line);
}

static void tell(struct session *session, enum rst_ipc_type type, int fd)
{
	struct rst_ipc msg = {.type = type, .session = session->number};

	worker_send(session->peer->worker, &msg, fd);
}

static void tell_verdict(struct session *session, enum rst_ipc_type type,
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

static void forged(struct session *session, const char *what)
{
	struct rst_logline line;

	begin_line(&line, "worker asks for what it cannot have", session);
	rst_logline_cstr(&line, "reason", what);
	log_line(LOG_ERR, &line);
	worker_kill(session->peer->worker, what);
}

/* ---- hold */

static void on_hold_dialled(int fd, int error, void *ctx)
{
	struct session *session = ctx;
	struct rst_logline line;

	hold_dial_free(&session->dial);
	if (fd >= 0) {
		session->hold = HOLD_OPEN;
		tell(session, RST_IPC_HOLD, fd);
		return;
	}
	session->hold = HOLD_NONE;
	begin_line(&line, "hold not reached", session);
	rst_logline_cstr(&line, "error", strerror(error));
	log_line(LOG_ERR, &line);
	tell(session, RST_IPC_HOLD_FAILED, -1);
}

static void dial_hold(struct session *session)
{
	session->hold = HOLD_DIALLING;
	session->dial = hold_dial_start(
		session->all->base, session->all->config.hold_socket,
		rst_str(session->user), on_hold_dialled, session);
}

static void stop_waiting(struct session *session)
{
	session->blocker = 0;
	if (session->takeover != NULL)
		event_free(session->takeover);
	session->takeover = NULL;
	if (session->hold == HOLD_WAITING)
		dial_hold(session);
}

static void on_takeover_time(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	log_session(LOG_WARNING, "replaced session did not close the hold",
		    session);
	stop_waiting(session);
}

static void wait_for(struct session *session, uint64_t blocker)
{
	struct timeval delay = clock_timeval(session->all->config.takeover_ms);

	session->blocker = blocker;
	session->takeover =
		evtimer_new(session->all->base, on_takeover_time, session);
	if (session->takeover == NULL ||
	    event_add(session->takeover, &delay) < 0)
		abort();
}

/* Whoever waits for this session is the user's newest. */
static void hold_closed(struct session *session)
{
	struct session *newest;

	if (session->hold != HOLD_OPEN)
		return;
	session->hold = HOLD_NONE;
	session->held_told = false;
	newest = find_registered(session->all, rst_str(session->user));
	if (newest != NULL && newest->blocker == session->key)
		stop_waiting(newest);
}

static void cmd_hold_open(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	if (session->dismissed)
		return; /* crossed our DISMISS */
	if (session->epoch == 0 || session->hold != HOLD_NONE) {
		forged(session, session->epoch == 0
					? "HOLD_OPEN without registration"
					: "HOLD_OPEN twice");
		return;
	}
	session->held_told = false;
	if (session->blocker != 0)
		session->hold = HOLD_WAITING;
	else
		dial_hold(session);
}

static void cmd_hold_closed(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	hold_closed(session);
}

/* ---- registration */

/* A newer sign-in wins. */
static void dismiss(struct session *old)
{
	static const char text[] = "A newer sign-in has taken over";
	struct rst_ipc msg = {.type = RST_IPC_DISMISS,
			      .session = old->number,
			      .a = rst_str(text)};

	log_session(LOG_INFO, "session replaced by a newer sign-in", old);
	old->dismissed = true;
	hold_dial_free(&old->dial);
	if (old->hold != HOLD_OPEN)
		old->hold = HOLD_NONE;
	stop_waiting(old);
	worker_send(old->peer->worker, &msg, -1);
}

static void register_session(struct session *session)
{
	struct rst_registration replaced;
	struct rst_logline line;
	struct session *old;

	session->epoch =
		rst_registry_add(session->all->registry, rst_str(session->user),
				 session->key, session, &replaced);
	begin_line(&line, "session registered", session);
	rst_logline_u64(&line, "epoch", session->epoch);
	log_line(LOG_INFO, &line);
	if (replaced.session == 0)
		return;
	old = replaced.ctx;
	if (old->hold == HOLD_OPEN)
		wait_for(session, old->key);
	else if (old->blocker != 0)
		wait_for(session, old->blocker);
	dismiss(old);
}

static enum rst_verdict verdict_of(const struct rst_hold_event *ev)
{
	if (ev == NULL)
		return RST_VERDICT_TEMPFAIL;
	if (ev->type == RST_HOLD_OPENED)
		return RST_VERDICT_OK;
	if (ev->type == RST_HOLD_REFUSED &&
	    (rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_USER)) ||
	     rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_ENROLLED))))
		return RST_VERDICT_REFUSED;
	return RST_VERDICT_TEMPFAIL;
}

static void on_checked(const struct rst_hold_event *ev, const char *text,
		       void *ctx)
{
	struct session *session = ctx;
	enum rst_verdict verdict = verdict_of(ev);
	struct rst_logline line;

	if (verdict == RST_VERDICT_OK) {
		register_session(session);
	} else {
		begin_line(&line, "ATRN not granted", session);
		if (ev == NULL)
			rst_logline_cstr(&line, "error", text);
		else
			rst_logline_str(&line, "code", ev->code);
		log_line(verdict == RST_VERDICT_REFUSED ? LOG_INFO
							: LOG_WARNING,
			 &line);
	}
	hold_job_free(&session->check); /* and with it *ev */
	tell_verdict(session, RST_IPC_ATRN_DONE, session->atrn_id, verdict,
		     verdict == RST_VERDICT_OK ? rst_str(session->user)
					       : RST_STR(""));
}

/* Domains are not looked at: what is picked up is the mail of the account
   that signed in. */
static void cmd_atrn(struct session *session, const struct rst_ipc *msg)
{
	if (session->user == NULL || session->check != NULL ||
	    session->epoch != 0) {
		forged(session, session->user == NULL ? "ATRN without sign-in"
						      : "ATRN twice");
		return;
	}
	session->atrn_id = msg->id;
	session->check = hold_job_start(
		session->all->base, session->all->config.hold_socket,
		HOLD_JOB_CHECK, rst_str(session->user), on_checked, session);
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
	tell_verdict(session, RST_IPC_AUTH_DONE, session->answer_id, verdict,
		     RST_STR(""));
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
		forged(session, "AUTH twice");
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

static void on_auth_ok(struct session *session, const struct rst_auth_event *ev)
{
	end_exchange(session);
	if (ev->user.n == 0 || ev->user.n > USER_MAX) {
		log_session(LOG_ERR, "Dovecot named no usable user", session);
		auth_answer(session, RST_VERDICT_TEMPFAIL);
		return;
	}
	session->user = rst_str_dup(ev->user);
	log_session(LOG_INFO, "signed in", session);
	auth_answer(session, RST_VERDICT_OK);
}

static void on_auth_failed(struct session *session,
			   const struct rst_auth_event *ev)
{
	struct rst_logline line;

	end_exchange(session);
	begin_line(&line, "sign-in failed", session);
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
	hold_job_free(&session->check);
	hold_dial_free(&session->dial);
	if (session->epoch != 0)
		(void)rst_registry_remove(all->registry, rst_str(session->user),
					  session->epoch);
	hold_closed(session);
	session->hold = HOLD_NONE;
	stop_waiting(session);
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
	{RST_IPC_ATRN, cmd_atrn},
	{RST_IPC_HOLD_OPEN, cmd_hold_open},
	{RST_IPC_HOLD_CLOSED, cmd_hold_closed},
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

void sessions_held(struct sessions *all, struct rst_str user)
{
	struct session *session = find_registered(all, user);

	if (session == NULL)
		return;
	/* With the hold open every note is told, for the worker to ask for
	   MORE. While it is being opened the drain to come covers it. */
	if (session->hold == HOLD_OPEN) {
		tell(session, RST_IPC_HELD, -1);
	} else if (session->hold == HOLD_NONE && !session->held_told) {
		session->held_told = true;
		tell(session, RST_IPC_HELD, -1);
	}
}

struct sessions *sessions_new(struct event_base *base,
			      const struct sessions_config *config)
{
	struct sessions *all = rst_calloc(1, sizeof(*all));

	all->base = base;
	all->config = *config;
	all->registry = rst_registry_new();
	LIST_INIT(&all->peers);
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
	rst_registry_free(&all->registry);
	free(all);
}

void sessions_set_auth(struct sessions *all, struct auth_conn *auth)
{
	all->auth = auth;
}
