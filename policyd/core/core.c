/* SPDX-License-Identifier: MIT */
/*
 * Connects the modules of the core:
 *
 *   Postfix -> policy-service           answers from memory
 *   plugin -> holders -> sessions       HELD to that user's worker
 *                     -> fallback       when a message falls due
 *                     -> rooms          is there really no room?
 *   rooms -> policy-service             452 at RCPT
 *   worker -> workers -> sessions       AUTH, ATRN, HOLD_OPEN
 *   sessions -> auth-conn -> Dovecot    and back
 *   sessions, fallback, rooms -> restante-hold
 *   worker -> sessions -> fallback      when what a drain left falls due
 *   doveadm -> control-service -> sessions
 *   sessions -> recheck -> Dovecot      is the account still there?
 *   keeper -> policy-service, control-service
 */
#include "core.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth-conn.h"
#include "certificate.h"
#include "common/log.h"
#include "common/tls.h"
#include "control-service.h"
#include "fallback.h"
#include "holders.h"
#include "policy-service.h"
#include "privileges.h"
#include "recheck.h"
#include "rooms.h"
#include "sessions.h"
#include "workers.h"

/** Both are for a worker that hangs. A sound one closes the hold a little after
    RST_IPC_QUIET_MS without an answer of its client, or after
    RST_IPC_SETTLE_MS in all. */
#define TAKEOVER_MS 1000
#define TAKEOVER_SETTLE_MS (RST_IPC_SETTLE_MS + TAKEOVER_MS)
/** A "no" about an account counts when it was said twice, so far apart: then a
    file that is being written has been written. */
#define CONFIRM_MS 3000
/** Sessions looked at again in a second, at most. */
#define RECHECKS_PER_SECOND 200
/** Postfix's requests have priority 0, everything else 1. libevent looks for
   new requests after each callback of priority 1. On a busy machine a
   millisecond of work takes several, so callbacks are also kept short. */
#define PRIORITIES 2
#define MAX_CALLBACKS 1

struct core {
	const struct core_setup *setup;
	struct event_base *base;
	struct event *sigterm, *sigint, *sighup;
	struct policy_service *policy;
	struct holders *holders;
	struct sessions *sessions;
	struct auth_conn *auth;
	struct fallback *fallback;
	struct recheck *recheck;
	struct rooms *rooms;
	struct control_service *control;
	struct keeper *keeper;
	struct workers *workers;
};

/* ---- callbacks of the modules */

static void on_mechanisms(const char *mechanisms, void *ctx)
{
	struct core *core = ctx;

	workers_set_mechanisms(core->workers, mechanisms);
	if (mechanisms[0] == '\0')
		sessions_auth_lost(core->sessions);
}

static void on_auth_event(const struct rst_auth_event *ev, void *ctx)
{
	struct core *core = ctx;

	sessions_auth_event(core->sessions, ev);
}

static const struct auth_conn_callbacks auth_calls = {on_mechanisms,
						      on_auth_event};

static void on_worker_message(struct worker *worker, const struct rst_ipc *msg,
			      void *ctx)
{
	struct core *core = ctx;

	sessions_message(core->sessions, worker, msg);
}

static void on_worker_gone(struct worker *worker, void *ctx)
{
	struct core *core = ctx;

	sessions_worker_gone(core->sessions, worker);
}

static void on_workers_gone(void *ctx)
{
	struct core *core = ctx;

	(void)event_base_loopexit(core->base, NULL);
}

static const struct workers_callbacks worker_calls = {
	on_worker_message, on_worker_gone, on_workers_gone};

static void on_held(struct rst_str user, void *ctx)
{
	struct core *core = ctx;

	sessions_held(core->sessions, user);
}

static void on_touched(struct rst_str user, int64_t touched_ns, void *ctx)
{
	struct core *core = ctx;

	sessions_touched(core->sessions, user, touched_ns);
}

static unsigned int on_wanted(struct rst_str user, void *ctx)
{
	struct core *core = ctx;
	unsigned int wanted = 0;

	if (sessions_has(core->sessions, user))
		wanted |= HOLDERS_SESSION;
	if (!fallback_has(core->fallback, user))
		wanted |= HOLDERS_DUE;
	return wanted;
}

static void on_due(struct rst_str user, int64_t due, void *ctx)
{
	struct core *core = ctx;

	fallback_note(core->fallback, user, due);
}

static void on_full(struct rst_str user, bool full, void *ctx)
{
	struct core *core = ctx;

	if (full)
		rooms_ask(core->rooms, user);
	else
		policy_service_full(core->policy, user, false);
}

static void on_no_room(struct rst_str user, void *ctx)
{
	struct core *core = ctx;

	policy_service_full(core->policy, user, true);
}

static void on_lost(void *ctx)
{
	struct core *core = ctx;

	fallback_look_again(core->fallback);
	fallback_audit(core->fallback);
}

static void on_audited(void *ctx)
{
	struct core *core = ctx;

	holders_audited(core->setup->conf->holders_directory);
}

static void on_read_again(void *ctx)
{
	struct core *core = ctx;

	holders_look_through(core->holders);
}

/* ---- signals */

static void on_stop(evutil_socket_t signal_number, short what, void *arg)
{
	struct core *core = arg;

	(void)what;
	log_short(LOG_NOTICE, "stopping", "signal",
		  signal_number == SIGTERM ? "TERM" : "INT");
	workers_shutdown(core->workers);
}

static bool read_new_certificate(const struct conf *conf, char **pem,
				 size_t *len, char *error, size_t error_size)
{
	privileges_read_begin();
	*pem = certificate_read(conf, len, error, error_size);
	privileges_read_end();
	return *pem != NULL &&
	       tls_check(*pem, *len, conf->hostname, error, error_size);
}

static void on_hup(evutil_socket_t signal_number, short what, void *arg)
{
	struct core *core = arg;
	char error[512] = "";
	size_t len = 0;
	char *pem;

	(void)signal_number;
	(void)what;
	log_short(LOG_NOTICE,
		  "reading the certificate again; other settings need a "
		  "restart",
		  NULL, NULL);
	if (read_new_certificate(core->setup->conf, &pem, &len, error,
				 sizeof(error))) {
		workers_set_pem(core->workers, (struct rst_str){pem, len});
		log_short(LOG_NOTICE, "new certificate in use", NULL, NULL);
	} else {
		log_short(LOG_ERR,
			  "new certificate not used, the old one stays",
			  "error", error);
	}
	certificate_free(&pem, len);
}

static struct event *watch_signal(struct core *core, int signal_number,
				  event_callback_fn handler)
{
	struct event *event =
		evsignal_new(core->base, signal_number, handler, core);

	if (event == NULL || event_add(event, NULL) < 0)
		abort();
	return event;
}

/* ---- beginning and end */

static void start_fallback(struct core *core, const struct conf *conf)
{
	struct fallback_config config = {
		.hold_socket = conf->hold_socket,
		.concurrency = (unsigned int)conf->fallback_concurrency,
		.audit_ms = conf->reconcile_interval_ms,
		.held = on_held,
		.audited = on_audited,
		.read_again = on_read_again,
		.ctx = core};
	int64_t age = holders_audit_age(conf->holders_directory);

	if (age >= 0)
		config.first_audit_ms = config.audit_ms - age * 1000;
	core->fallback = fallback_new(core->base, &config);
}

static void start_holders(struct core *core, const struct conf *conf)
{
	const struct holders_config config = {.path = conf->holders_directory,
					      .wanted = on_wanted,
					      .held = on_held,
					      .touched = on_touched,
					      .due = on_due,
					      .full = on_full,
					      .lost = on_lost,
					      .ctx = core};

	core->holders = holders_new(core->base, &config);
}

static void start_rooms(struct core *core, const struct conf *conf)
{
	const struct rooms_config config = {.hold_socket = conf->hold_socket,
					    .full = on_no_room,
					    .ctx = core};

	core->rooms = rooms_new(core->base, &config);
}

static void on_hold_watched(struct rst_str user, void *ctx)
{
	struct core *core = ctx;

	fallback_watch(core->fallback, user);
}

static void on_hold_seen(struct rst_str user, int64_t due, void *ctx)
{
	struct core *core = ctx;

	fallback_seen(core->fallback, user, due);
}

static void start_recheck(struct core *core, const struct conf *conf)
{
	const struct recheck_config config = {
		.userdb_socket = conf->userdb_socket,
		.hold_socket = conf->hold_socket,
		.interval_ms = conf->userdb_socket[0] == '\0'
				       ? 0
				       : conf->recheck_interval_ms,
		.confirm_ms = CONFIRM_MS,
		.lifetime_ms = conf->session_lifetime_ms,
		.per_second = RECHECKS_PER_SECOND,
		.out = sessions_recheck_out,
		.ctx = core};

	if (config.interval_ms == 0 && config.lifetime_ms == 0)
		return;
	core->recheck = recheck_new(core->base, &config);
	sessions_set_recheck(core->sessions, core->recheck);
}

static void start_sessions(struct core *core, const struct conf *conf)
{
	/* twice the connections: a worker may tell of a new session before it
	   tells of the end of an old one */
	const struct sessions_config config = {
		.hold_socket = conf->hold_socket,
		.max_per_worker = (unsigned int)(2 * conf->max_connections),
		/* one for each processor, unless the setting says otherwise */
		.checks_at_once = (unsigned int)conf->workers,
		.takeover_ms = TAKEOVER_MS,
		.settle_ms = TAKEOVER_SETTLE_MS,
		.hold_watched = on_hold_watched,
		.hold_seen = on_hold_seen,
		.ctx = core};

	core->sessions = sessions_new(core->base, &config);
	start_recheck(core, conf);
	core->auth =
		auth_conn_new(core->base, conf->auth_socket, &auth_calls, core);
	sessions_set_auth(core->sessions, core->auth);
}

static void start_workers(struct core *core)
{
	const struct core_setup *setup = core->setup;
	const struct workers_config config = {.conf = setup->conf,
					      .listen_fds = setup->listen_fds,
					      .listen_count =
						      setup->listen_count,
					      .use_stderr = setup->use_stderr};

	core->workers = workers_new(core->base, &config, setup->pem,
				    &worker_calls, core);
}

static void start_policy(struct core *core)
{
	const struct core_setup *setup = core->setup;
	unsigned int i;

	core->policy =
		policy_service_new(core->base, setup->policy_fd, setup->conf);
	for (i = 0; i < setup->fdstore->count; i++)
		policy_service_adopt(core->policy, setup->fdstore->conns[i]);
}

static void start_control(struct core *core, int listen_fd)
{
	core->control =
		control_service_new(core->base, listen_fd, core->sessions,
				    core->setup->conf->holders_directory);
}

static void on_remade(unsigned int n, int listen_fd, void *ctx)
{
	struct core *core = ctx;

	switch ((enum core_socket)n) {
	case CORE_POLICY_SOCKET:
		policy_service_relisten(core->policy, listen_fd);
		break;
	case CORE_CONTROL_SOCKET:
		if (core->control == NULL)
			start_control(core, listen_fd);
		else
			control_service_relisten(core->control, listen_fd);
		break;
	case CORE_SOCKETS:
		break;
	}
}

/* The next policyd gets Postfix's connections from the service manager. */
static void stop_policy(struct core *core)
{
	unsigned int count, i;
	int *fds;

	count = policy_service_detach(&core->policy, &fds);
	fdstore_leave(core->setup->manager, fds, count);
	for (i = 0; i < count; i++)
		(void)close(fds[i]);
	free(fds);
}

static void start(struct core *core)
{
	const struct conf *conf = core->setup->conf;

	core->sigterm = watch_signal(core, SIGTERM, on_stop);
	core->sigint = watch_signal(core, SIGINT, on_stop);
	core->sighup = watch_signal(core, SIGHUP, on_hup);
	start_policy(core);
	start_sessions(core, conf);
	start_fallback(core, conf);
	if (core->setup->control_fd >= 0)
		start_control(core, core->setup->control_fd);
	if (core->setup->keeper_fd >= 0)
		core->keeper = keeper_new(core->base, core->setup->keeper_fd,
					  core->setup->sockets, CORE_SOCKETS,
					  on_remade, core);
	start_rooms(core, conf);
	start_holders(core, conf);
	start_workers(core);
}

static void stop(struct core *core)
{
	keeper_free(&core->keeper);
	stop_policy(core);
	holders_free(&core->holders);
	rooms_free(&core->rooms);
	control_service_free(&core->control);
	sessions_free(&core->sessions);
	recheck_free(&core->recheck);
	fallback_free(&core->fallback);
	auth_conn_free(&core->auth);
	workers_free(&core->workers);
	event_free(core->sigterm);
	event_free(core->sigint);
	event_free(core->sighup);
}

static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config != NULL && event_config_set_max_dispatch_interval(
				      config, NULL, MAX_CALLBACKS, 1) == 0)
		base = event_base_new_with_config(config);
	if (config != NULL)
		event_config_free(config);
	if (base != NULL && event_base_priority_init(base, PRIORITIES) < 0) {
		event_base_free(base);
		base = NULL;
	}
	return base;
}

int core_run(const struct core_setup *setup)
{
	struct core core = {.setup = setup, .base = make_base()};
	int ret;

	if (core.base == NULL)
		return EX_OSERR;
	start(&core);
	log_short(LOG_NOTICE, "started", "hostname", setup->conf->hostname);
	ret = event_base_dispatch(core.base);
	stop(&core);
	event_base_free(core.base);
	log_short(LOG_NOTICE, "stopped", NULL, NULL);
	return ret < 0 ? EX_SOFTWARE : EX_OK;
}
