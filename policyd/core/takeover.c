/* SPDX-License-Identifier: MIT */
/*
 * The order of a takeover: the newer session is registered, the older one is
 * told DISMISS, closes its hold (HOLD_CLOSED), or has it cut off after
 * takeover_ms (settle_ms if it said SETTLING), and only then the newer one's
 * hold is dialled.
 */
#include "takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "recheck.h"
#include "restante/clock.h"

/*
 * After an outage all clients come back together. Each enrolment check costs
 * restante-hold a millisecond of CPU. While checks are quick, no more of them
 * run at once than keep the processors busy (checks_at_once): more would make
 * Postfix wait for a processor. A check that takes longer than QUICK_MS waits
 * for something else, a lock or a file server, so it does not count, and
 * further ones begin, up to what restante-hold has processes for.
 */
#define QUICK_MS 20
#define MAX_CHECKS 32

/* It may be DISMISSED by now: it stays in the registry until it ends, so that
   the next session waits until it has closed the hold. */
static struct session *registered_last(struct sessions *all,
				       struct rst_str user)
{
	struct rst_registration reg;

	return rst_registry_find(all->registry, user, &reg) ? reg.ctx : NULL;
}

struct session *takeover_newest(struct sessions *all, struct rst_str user)
{
	struct session *session = registered_last(all, user);

	return session != NULL && session->state == SESSION_REGISTERED ? session
								       : NULL;
}

static void unlist(struct session *session)
{
	struct sessions_reader *reader;

	if (session->state != SESSION_REGISTERED)
		return;
	recheck_remove(&session->watch);
	LIST_FOREACH(reader, &session->all->readers, entry)
	{
		if (reader->next == session)
			reader->next = TAILQ_NEXT(session, registered_entry);
	}
	TAILQ_REMOVE(&session->all->registered, session, registered_entry);
}

/* ---- hold */

static void hold_failed(struct session *session, int error)
{
	struct rst_logline line;

	session->hold = SESSION_HOLD_NONE;
	session_begin_line(&line, "hold not reached", session);
	rst_logline_cstr(&line, "error", strerror(error));
	log_line(LOG_ERR, &line);
	session_tell(session, RST_IPC_HOLD_FAILED, -1);
}

static void on_hold_dialled(int fd, int error, void *ctx)
{
	struct session *session = ctx;

	hold_dial_free(&session->dial);
	if (fd < 0) {
		hold_failed(session, error);
		return;
	}
	session->hold_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (session->hold_fd < 0) {
		hold_failed(session, errno);
		(void)close(fd);
		return;
	}
	session->hold = SESSION_HOLD_OPEN;
	session_tell(session, RST_IPC_HOLD, fd);
}

static void dial_hold(struct session *session)
{
	const struct sessions_config *config = &session->all->config;

	config->hold_watched(rst_str(session->user), config->ctx);
	session->hold = SESSION_HOLD_DIALLING;
	session->dial = hold_dial_start(session->all->base, config->hold_socket,
					rst_str(session->login),
					on_hold_dialled, session);
}

static void stop_waiting(struct session *session)
{
	session->blocker = 0;
	if (session->hold == SESSION_HOLD_WAITING)
		dial_hold(session);
}

/* The service still reads what the worker wrote so far, and nothing that the
   worker writes later through its own descriptor. */
static void cut_off(struct session *session)
{
	(void)shutdown(session->hold_fd, SHUT_RDWR);
	(void)close(session->hold_fd);
	session->hold_fd = -1;
	if (session->cut != NULL)
		event_free(session->cut);
	session->cut = NULL;
}

static void close_hold(struct session *session)
{
	struct session *newest;

	if (session->hold != SESSION_HOLD_OPEN)
		return;
	cut_off(session);
	session->hold = SESSION_HOLD_NONE;
	session->held_told = false;
	/* only the newest session can be waiting for this one */
	newest = registered_last(session->all, rst_str(session->user));
	if (newest != NULL && newest->blocker == session->key)
		stop_waiting(newest);
}

static void on_cut_time(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	session_log(LOG_WARNING, "replaced session did not close the hold",
		    session);
	close_hold(session);
}

/* The time runs from this session's DISMISS, however many more sessions take
   over meanwhile. */
static void start_cut_timer(struct session *session)
{
	struct timeval delay = clock_timeval(session->all->config.takeover_ms);

	session->cut = evtimer_new(session->all->base, on_cut_time, session);
	if (session->cut == NULL || event_add(session->cut, &delay) < 0)
		abort();
}

/* The time is extended only once: the worker that says SETTLING may hang
   afterwards. */
void takeover_settling(struct session *session, const struct rst_ipc *msg)
{
	struct timeval delay = clock_timeval(session->all->config.settle_ms);

	(void)msg;
	if (session->cut == NULL || session->settling)
		return;
	session->settling = true;
	if (event_add(session->cut, &delay) < 0)
		abort();
}

void takeover_hold_open(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	if (session->state == SESSION_DISMISSED)
		return; /* it crossed our DISMISS */
	if (session->state != SESSION_REGISTERED) {
		session_forged(session, "HOLD_OPEN without registration");
		return;
	}
	if (session->hold != SESSION_HOLD_NONE) {
		session_forged(session, "HOLD_OPEN twice");
		return;
	}
	session->held_told = false;
	if (session->blocker != 0)
		session->hold = SESSION_HOLD_WAITING;
	else
		dial_hold(session);
}

/* A worker that lies about `due` can put off the fallback delivery of a user
   who has signed in to it, until the next walk over the holds. */
void takeover_hold_closed(struct session *session, const struct rst_ipc *msg)
{
	const struct sessions_config *config = &session->all->config;

	if (session->hold == SESSION_HOLD_OPEN && msg->n[0] == 1 &&
	    msg->n[1] >= 0)
		config->hold_seen(rst_str(session->user), msg->n[1],
				  config->ctx);
	close_hold(session);
}

/* ---- registration */

/* Its blocker is kept: the session that comes next may have to wait for it. */
static void dismiss(struct session *old, const char *text)
{
	struct rst_ipc msg = {.type = RST_IPC_DISMISS,
			      .session = old->number,
			      .a = rst_str(text)};

	unlist(old);
	old->state = SESSION_DISMISSED;
	hold_dial_free(&old->dial);
	if (old->hold == SESSION_HOLD_OPEN)
		start_cut_timer(old);
	else
		old->hold = SESSION_HOLD_NONE;
	worker_send(old->group->worker, &msg, -1);
}

static void replace(struct session *old)
{
	if (old->state == SESSION_DISMISSED)
		return; /* it was signed out before */
	session_log(LOG_INFO, "session replaced by a newer sign-in", old);
	dismiss(old, "A newer sign-in has taken over");
}

bool takeover_sign_out(struct session *session, const char *text)
{
	struct rst_logline line;

	if (session->state != SESSION_REGISTERED)
		return false;
	session_begin_line(&line, "session signed out", session);
	rst_logline_cstr(&line, "reason", text);
	log_line(LOG_NOTICE, &line);
	dismiss(session, text);
	return true;
}

static void list(struct session *session)
{
	struct sessions *all = session->all;

	session->state = SESSION_REGISTERED;
	session->since = clock_wall_secs();
	TAILQ_INSERT_TAIL(&all->registered, session, registered_entry);
	session->watch = recheck_add(all->recheck, session->login,
				     session->remote, session);
}

static void register_session(struct session *session)
{
	struct rst_registration replaced;
	struct rst_logline line;
	struct session *old;

	list(session);
	session->epoch =
		rst_registry_add(session->all->registry, rst_str(session->user),
				 session->key, session, &replaced);
	session_begin_line(&line, "session registered", session);
	rst_logline_u64(&line, "epoch", session->epoch);
	log_line(LOG_INFO, &line);
	if (replaced.session == 0)
		return;
	old = replaced.ctx;
	session->blocker =
		old->hold == SESSION_HOLD_OPEN ? old->key : old->blocker;
	replace(old);
}

static void refuse_registration(struct session *session,
				enum rst_verdict verdict,
				const struct rst_hold_event *ev,
				const char *text)
{
	struct rst_logline line;

	session->state = SESSION_SIGNED_IN;
	session_begin_line(&line, "ATRN not granted", session);
	if (ev == NULL)
		rst_logline_cstr(&line, "error", text);
	else
		rst_logline_str(&line, "code", ev->code);
	log_line(verdict == RST_VERDICT_REFUSED ? LOG_INFO : LOG_WARNING,
		 &line);
}

/* ---- is the user enrolled? */

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

static void start_checks(struct sessions *all);

static void end_check(struct session *session)
{
	struct sessions *all = session->all;

	hold_job_free(&session->check);
	TAILQ_REMOVE(&all->checks, session, check_entry);
	start_checks(all);
}

/* The userdb may give an account another name than it signs in with: it is the
   name under which mail is held, and under which the account's sessions replace
   each other. */
static void rename_user(struct session *session, struct rst_str user)
{
	if (user.n == 0 || user.n > RST_HOLD_USER_MAX)
		return;
	free(session->user);
	session->user = rst_str_dup(user);
}

static void on_checked(const struct rst_hold_event *ev, const char *text,
		       void *ctx)
{
	struct session *session = ctx;
	enum rst_verdict verdict = verdict_of(ev);

	if (verdict == RST_VERDICT_OK && session->kicked) {
		verdict = RST_VERDICT_TEMPFAIL;
		refuse_registration(session, verdict, NULL,
				    "signed out by the operator");
	} else if (verdict == RST_VERDICT_OK) {
		rename_user(session, ev->user);
		register_session(session);
	} else {
		refuse_registration(session, verdict, ev, text);
	}
	end_check(session); /* *ev is gone after this */
	session_tell_verdict(session, RST_IPC_ATRN_DONE, session->atrn_id,
			     verdict,
			     verdict == RST_VERDICT_OK ? rst_str(session->user)
						       : RST_STR(""));
}

static void start_check(struct session *session)
{
	struct sessions *all = session->all;

	TAILQ_REMOVE(&all->queue, session, check_entry);
	TAILQ_INSERT_TAIL(&all->checks, session, check_entry);
	session->state = SESSION_CHECKING;
	session->check_since_ms = clock_ms();
	session->check = hold_job_start(all->base, all->config.hold_socket,
					HOLD_JOB_CHECK, rst_str(session->login),
					on_checked, session);
}

/** @return ms until one more check may begin; 0: now; -1: one has to end */
static int64_t next_turn(const struct sessions *all)
{
	const struct session *session;
	int64_t now_ms = clock_ms(), turn_ms = now_ms;
	unsigned int count = 0;

	TAILQ_FOREACH_REVERSE(session, &all->checks, session_queue, check_entry)
	{
		count++;
		/* quick until then: this one, and the newer ones */
		if (count == all->config.checks_at_once)
			turn_ms = session->check_since_ms + QUICK_MS;
	}
	if (count >= MAX_CHECKS)
		return -1;
	return turn_ms > now_ms ? turn_ms - now_ms : 0;
}

static void start_checks(struct sessions *all)
{
	struct timeval delay;
	int64_t left = 0;

	while (!TAILQ_EMPTY(&all->queue) && (left = next_turn(all)) == 0)
		start_check(TAILQ_FIRST(&all->queue));
	if (left > 0) {
		delay = clock_timeval(left);
		(void)event_add(all->check_timer, &delay);
	}
}

void takeover_check_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_checks(arg);
}

/* ATRN's domains are not looked at: the client picks up the mail of the account
   that signed in. */
void takeover_atrn(struct session *session, const struct rst_ipc *msg)
{
	if (session->state != SESSION_SIGNED_IN) {
		session_forged(session, session->state == SESSION_NEW
						? "ATRN without sign-in"
						: "ATRN twice");
		return;
	}
	session->atrn_id = msg->id;
	session->state = SESSION_QUEUED;
	TAILQ_INSERT_TAIL(&session->all->queue, session, check_entry);
	start_checks(session->all);
}

void takeover_leave(struct session *session)
{
	unlist(session);
	if (session->state == SESSION_QUEUED)
		TAILQ_REMOVE(&session->all->queue, session, check_entry);
	if (session->state == SESSION_CHECKING)
		end_check(session);
	hold_dial_free(&session->dial);
	if (session->epoch != 0)
		(void)rst_registry_remove(session->all->registry,
					  rst_str(session->user),
					  session->epoch);
	close_hold(session);
	session->hold = SESSION_HOLD_NONE;
}
