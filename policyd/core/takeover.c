/* SPDX-License-Identifier: MIT */
#include "sessions-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

/*
 * After an outage all clients come back together. Whose enrolment is asked for
 * costs restante-hold a millisecond of CPU: no more of them at once than keep
 * the processors busy, or Postfix has to wait for one. What takes longer waits
 * for something else, a lock or a file server, and others may go on, as far as
 * restante-hold has processes.
 */
#define QUICK_MS 20
#define MAX_CHECKS 32

static struct session *find_registered(struct sessions *all,
				       struct rst_str user)
{
	struct rst_registration reg;

	return rst_registry_find(all->registry, user, &reg) ? reg.ctx : NULL;
}

/* ---- hold */

static void hold_failed(struct session *session, int error)
{
	struct rst_logline line;

	session->hold = HOLD_NONE;
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
	session->hold = HOLD_OPEN;
	session_tell(session, RST_IPC_HOLD, fd);
}

static void dial_hold(struct session *session)
{
	const struct sessions_config *config = &session->all->config;

	config->hold_watched(rst_str(session->user), config->ctx);
	session->hold = HOLD_DIALLING;
	session->dial = hold_dial_start(session->all->base, config->hold_socket,
					rst_str(session->user), on_hold_dialled,
					session);
}

static void stop_waiting(struct session *session)
{
	session->blocker = 0;
	if (session->hold == HOLD_WAITING)
		dial_hold(session);
}

/* Whatever the worker has done with its own descriptor: what it wrote so far
   is read by the service, and nothing after it. */
static void cut_off(struct session *session)
{
	(void)shutdown(session->hold_fd, SHUT_RDWR);
	(void)close(session->hold_fd);
	session->hold_fd = -1;
	if (session->cut != NULL)
		event_free(session->cut);
	session->cut = NULL;
}

/* Whoever waits for this session is the user's newest. */
static void hold_closed(struct session *session)
{
	struct session *newest;

	if (session->hold != HOLD_OPEN)
		return;
	cut_off(session);
	session->hold = HOLD_NONE;
	session->held_told = false;
	newest = find_registered(session->all, rst_str(session->user));
	if (newest != NULL && newest->blocker == session->key)
		stop_waiting(newest);
}

static void on_takeover_time(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	session_log(LOG_WARNING, "replaced session did not close the hold",
		    session);
	hold_closed(session);
}

/* The time runs from when it was told, however many take over meanwhile. */
static void close_in_time(struct session *session)
{
	struct timeval delay = clock_timeval(session->all->config.takeover_ms);

	session->cut =
		evtimer_new(session->all->base, on_takeover_time, session);
	if (session->cut == NULL || event_add(session->cut, &delay) < 0)
		abort();
}

/* Once: the worker that says so may hang in the middle of it. */
void session_settling(struct session *session, const struct rst_ipc *msg)
{
	struct timeval delay = clock_timeval(session->all->config.settle_ms);

	(void)msg;
	if (session->cut == NULL || session->settling)
		return;
	session->settling = true;
	if (event_add(session->cut, &delay) < 0)
		abort();
}

void session_hold_open(struct session *session, const struct rst_ipc *msg)
{
	(void)msg;
	if (session->dismissed)
		return; /* crossed our DISMISS */
	if (session->epoch == 0 || session->hold != HOLD_NONE) {
		session_forged(session, session->epoch == 0
						? "HOLD_OPEN without "
						  "registration"
						: "HOLD_OPEN twice");
		return;
	}
	session->held_told = false;
	if (session->blocker != 0)
		session->hold = HOLD_WAITING;
	else
		dial_hold(session);
}

/* A worker that lies can put off what was not called for in time, of a user who
   has signed in to it, until the next walk. */
void session_hold_closed(struct session *session, const struct rst_ipc *msg)
{
	const struct sessions_config *config = &session->all->config;

	if (session->hold == HOLD_OPEN && msg->n[0] == 1 && msg->n[1] >= 0)
		config->hold_seen(rst_str(session->user), msg->n[1],
				  config->ctx);
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

	session_log(LOG_INFO, "session replaced by a newer sign-in", old);
	old->dismissed = true;
	hold_dial_free(&old->dial);
	old->blocker = 0;
	if (old->hold == HOLD_OPEN)
		close_in_time(old);
	else
		old->hold = HOLD_NONE;
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
	session_begin_line(&line, "session registered", session);
	rst_logline_u64(&line, "epoch", session->epoch);
	log_line(LOG_INFO, &line);
	if (replaced.session == 0)
		return;
	old = replaced.ctx;
	session->blocker = old->hold == HOLD_OPEN ? old->key : old->blocker;
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

static void log_not_granted(const struct session *session,
			    enum rst_verdict verdict,
			    const struct rst_hold_event *ev, const char *text)
{
	struct rst_logline line;

	session_begin_line(&line, "ATRN not granted", session);
	if (ev == NULL)
		rst_logline_cstr(&line, "error", text);
	else
		rst_logline_str(&line, "code", ev->code);
	log_line(verdict == RST_VERDICT_REFUSED ? LOG_INFO : LOG_WARNING,
		 &line);
}

static void start_checks(struct sessions *all);

/* Asked, or still waiting to be asked, or neither. */
static void end_check(struct session *session)
{
	struct sessions *all = session->all;

	if (session->check_waits)
		TAILQ_REMOVE(&all->check_queue, session, check_entry);
	session->check_waits = false;
	if (session->check == NULL)
		return;
	hold_job_free(&session->check);
	TAILQ_REMOVE(&all->checks, session, check_entry);
	all->checking--;
	start_checks(all);
}

static void on_checked(const struct rst_hold_event *ev, const char *text,
		       void *ctx)
{
	struct session *session = ctx;
	enum rst_verdict verdict = verdict_of(ev);

	if (verdict == RST_VERDICT_OK)
		register_session(session);
	else
		log_not_granted(session, verdict, ev, text);
	end_check(session); /* and with it *ev */
	session_tell_verdict(session, RST_IPC_ATRN_DONE, session->atrn_id,
			     verdict,
			     verdict == RST_VERDICT_OK ? rst_str(session->user)
						       : RST_STR(""));
}

static void start_check(struct session *session)
{
	struct sessions *all = session->all;

	TAILQ_REMOVE(&all->check_queue, session, check_entry);
	session->check_waits = false;
	TAILQ_INSERT_TAIL(&all->checks, session, check_entry);
	all->checking++;
	session->check_since = clock_ms();
	session->check = hold_job_start(all->base, all->config.hold_socket,
					HOLD_JOB_CHECK, rst_str(session->user),
					on_checked, session);
}

/** @return ms until fewer than checks_at_once can still be quick; 0: now */
static int64_t next_turn(const struct sessions *all)
{
	const struct session *session;
	unsigned int newer = 0;
	int64_t left;

	TAILQ_FOREACH_REVERSE(session, &all->checks, session_queue, check_entry)
	{
		if (++newer < all->config.checks_at_once)
			continue;
		left = session->check_since + QUICK_MS - clock_ms();
		return left < 0 ? 0 : left;
	}
	return 0;
}

static void start_checks(struct sessions *all)
{
	while (!TAILQ_EMPTY(&all->check_queue) && all->checking < MAX_CHECKS) {
		int64_t left = next_turn(all);
		struct timeval delay = clock_timeval(left);

		if (left > 0) {
			(void)event_add(all->check_turn, &delay);
			return;
		}
		start_check(TAILQ_FIRST(&all->check_queue));
	}
}

void sessions_check_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_checks(arg);
}

/* Domains are not looked at: what is picked up is the mail of the account
   that signed in. */
void session_atrn(struct session *session, const struct rst_ipc *msg)
{
	if (session->user == NULL || session->check != NULL ||
	    session->check_waits || session->epoch != 0) {
		session_forged(session, session->user == NULL
						? "ATRN without sign-in"
						: "ATRN twice");
		return;
	}
	session->atrn_id = msg->id;
	session->check_waits = true;
	TAILQ_INSERT_TAIL(&session->all->check_queue, session, check_entry);
	start_checks(session->all);
}

void session_leave(struct session *session)
{
	end_check(session);
	hold_dial_free(&session->dial);
	if (session->epoch != 0)
		(void)rst_registry_remove(session->all->registry,
					  rst_str(session->user),
					  session->epoch);
	hold_closed(session);
	session->hold = HOLD_NONE;
}

void sessions_held(struct sessions *all, struct rst_str user)
{
	struct session *session = find_registered(all, user);

	if (session == NULL)
		return;
	/* With the hold open every note is told, for the worker to ask for
	   MORE. While it is being opened the drain to come covers it. */
	if (session->hold == HOLD_OPEN) {
		session_tell(session, RST_IPC_HELD, -1);
	} else if (session->hold == HOLD_NONE && !session->held_told) {
		session->held_told = true;
		session_tell(session, RST_IPC_HELD, -1);
	}
}
