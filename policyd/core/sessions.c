/* SPDX-License-Identifier: MIT */
#include "sessions.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "restante/clock.h"
#include "restante/smtp.h"
#include "session.h"
#include "takeover.h"

/** Wrong passwords for one user from one source. More than a client makes in
    the window that goes on trying every minute after its password was
    changed. */
#define MAX_FAILURES 20
#define FAILURES_WINDOW_MS (10 * 60 * 1000)
#define MAX_GUESSERS 50000

/* ---- finding */

static int compare_number(const void *_a, const void *_b)
{
	const struct session *a = _a, *b = _b;

	if (a->group != b->group)
		return (uintptr_t)a->group < (uintptr_t)b->group ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

static int compare_exchange(const void *_a, const void *_b)
{
	const struct session *a = _a, *b = _b;

	return (a->auth_id > b->auth_id) - (a->auth_id < b->auth_id);
}

static struct session *find_session(struct sessions *all,
				    struct worker_sessions *group,
				    uint64_t number)
{
	struct session wanted = {.group = group, .number = number};
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

/* The worker's sessions; of a worker that is new here, none so far. */
static struct worker_sessions *group_of(struct sessions *all,
					struct worker *worker)
{
	struct worker_sessions *group;

	LIST_FOREACH(group, &all->groups, entry)
	{
		if (group->worker == worker)
			return group;
	}
	group = rst_calloc(1, sizeof(*group));
	group->worker = worker;
	LIST_INIT(&group->list);
	LIST_INSERT_HEAD(&all->groups, group, entry);
	return group;
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

	if (session->auth_id != 0 || session->state != SESSION_NEW) {
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
		return; /* it crossed our TEMPFAIL */
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
		worker_send(session->group->worker, &msg, -1);
		return;
	}
	cancel_exchange(session);
	auth_answer(session, RST_VERDICT_TEMPFAIL);
}

/* The answer does not tell whether the password was right. Dovecot's own
   penalty applies besides: it counts all users who share an address, ours one
   user from one source. */
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
	session->login = rst_str_dup(ev->user);
	session->user = rst_str_dup(ev->user);
	session->state = SESSION_SIGNED_IN;
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
		/* the root node begins with a pointer to its session */
		struct session *session = *(struct session **)all->by_exchange;

		end_exchange(session);
		auth_answer(session, RST_VERDICT_TEMPFAIL);
	}
}

/* ---- the session itself */

static struct session *add_session(struct worker_sessions *group,
				   struct sessions *all, uint64_t number)
{
	struct session *session = rst_calloc(1, sizeof(*session));

	session->all = all;
	session->group = group;
	session->number = number;
	session->key = ++all->last_key;
	session->hold_fd = -1;
	LIST_INSERT_HEAD(&group->list, session, entry);
	group->count++;
	if (tsearch(session, &all->by_number, compare_number) == NULL)
		abort();
	return session;
}

static void end_session(struct session *session)
{
	struct sessions *all = session->all;

	cancel_exchange(session);
	takeover_leave(session);
	(void)tdelete(session, &all->by_number, compare_number);
	LIST_REMOVE(session, entry);
	session->group->count--;
	free(session->login);
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
	{RST_IPC_ATRN, takeover_atrn},
	{RST_IPC_HOLD_OPEN, takeover_hold_open},
	{RST_IPC_SETTLING, takeover_settling},
	{RST_IPC_HOLD_CLOSED, takeover_hold_closed},
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
	struct worker_sessions *group = group_of(all, worker);
	struct session *session = find_session(all, group, msg->session);

	if (session != NULL) {
		handle(session, msg);
	} else if (msg->type == RST_IPC_CLOSED) {
		/* it ended before its first AUTH, so it is not known here */
	} else if (msg->type != RST_IPC_AUTH) {
		worker_kill(worker, "message for no session");
	} else if (group->count >= all->config.max_per_worker) {
		worker_kill(worker, "more sessions than connections");
	} else {
		handle(add_session(group, all, msg->session), msg);
	}
}

static void remove_group(struct worker_sessions *group)
{
	struct session *session;

	while ((session = LIST_FIRST(&group->list)) != NULL)
		end_session(session);
	LIST_REMOVE(group, entry);
	free(group);
}

void sessions_worker_gone(struct sessions *all, struct worker *worker)
{
	remove_group(group_of(all, worker));
}

void sessions_held(struct sessions *all, struct rst_str user)
{
	struct session *session = takeover_newest(all, user);

	if (session == NULL)
		return;
	/* While the hold is open every note is passed on: the worker then asks
	   for MORE. While it is being opened, the drain that follows finds the
	   message. */
	if (session->hold == SESSION_HOLD_OPEN) {
		session_tell(session, RST_IPC_HELD, -1);
	} else if (session->hold == SESSION_HOLD_NONE && !session->held_told) {
		session->held_told = true;
		session_tell(session, RST_IPC_HELD, -1);
	}
}

void sessions_touched(struct sessions *all, struct rst_str user,
		      int64_t touched_ns)
{
	struct session *session = takeover_newest(all, user);

	if (session == NULL ||
	    (touched_ns != 0 && session->touched_ns == touched_ns))
		return;
	session->touched_ns = touched_ns;
	sessions_held(all, user);
}

bool sessions_has(struct sessions *all, struct rst_str user)
{
	return takeover_newest(all, user) != NULL;
}

/* ---- signing out */

/* A session that is emptying its hold lives on for a while: what is on its way
   would have to be sent again. */
bool sessions_recheck_out(void *_session, enum recheck_reason reason, void *ctx)
{
	struct session *session = _session;

	(void)ctx;
	if (reason == RECHECK_LIFETIME && session->hold != SESSION_HOLD_NONE)
		return false;
	return takeover_sign_out(session, recheck_text(reason));
}

static bool kick(struct session *session)
{
	switch (session->state) {
	case SESSION_NEW:
	case SESSION_DISMISSED:
		return false;
	case SESSION_SIGNED_IN:
	case SESSION_QUEUED:
	case SESSION_CHECKING:
		session->kicked = true;
		return true;
	case SESSION_REGISTERED:
		break;
	}
	return takeover_sign_out(session, "Signed out by the operator");
}

static bool is_of(const struct session *session, struct rst_str user)
{
	return session->user != NULL &&
	       (rst_str_eq(rst_str(session->user), user) ||
		rst_str_eq(rst_str(session->login), user));
}

unsigned int sessions_kick(struct sessions *all, struct rst_str user)
{
	struct worker_sessions *group;
	struct session *session;
	unsigned int count = 0;

	LIST_FOREACH(group, &all->groups, entry)
	{
		LIST_FOREACH(session, &group->list, entry)
		{
			if (is_of(session, user) && kick(session))
				count++;
		}
	}
	return count;
}

/* ---- listing */

struct sessions_reader *sessions_reader_new(struct sessions *all)
{
	struct sessions_reader *reader = rst_calloc(1, sizeof(*reader));

	reader->next = TAILQ_FIRST(&all->registered);
	LIST_INSERT_HEAD(&all->readers, reader, entry);
	return reader;
}

void sessions_reader_free(struct sessions_reader **_reader)
{
	struct sessions_reader *reader = *_reader;

	*_reader = NULL;
	if (reader == NULL)
		return;
	LIST_REMOVE(reader, entry);
	free(reader);
}

bool sessions_reader_next(struct sessions_reader *reader,
			  struct sessions_row *row_r)
{
	const struct session *session = reader->next;

	if (session == NULL)
		return false;
	*row_r = (struct sessions_row){.user = rst_str(session->user),
				       .remote = rst_str(session->remote),
				       .since = session->since,
				       .epoch = session->epoch,
				       .draining = session->hold !=
						   SESSION_HOLD_NONE};
	reader->next = TAILQ_NEXT(session, registered_entry);
	return true;
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
	LIST_INIT(&all->groups);
	LIST_INIT(&all->readers);
	TAILQ_INIT(&all->registered);
	TAILQ_INIT(&all->queue);
	TAILQ_INIT(&all->checks);
	all->check_timer = evtimer_new(base, takeover_check_time, all);
	if (all->check_timer == NULL)
		abort();
	return all;
}

void sessions_free(struct sessions **_all)
{
	struct sessions *all = *_all;
	struct worker_sessions *group;

	*_all = NULL;
	if (all == NULL)
		return;
	while ((group = LIST_FIRST(&all->groups)) != NULL)
		remove_group(group);
	event_free(all->check_timer);
	rst_registry_free(&all->registry);
	rst_throttle_free(&all->throttle);
	free(all);
}

void sessions_set_auth(struct sessions *all, struct auth_conn *auth)
{
	all->auth = auth;
}

void sessions_set_recheck(struct sessions *all, struct recheck *recheck)
{
	all->recheck = recheck;
}
