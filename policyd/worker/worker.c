/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "client-conn.h"
#include "common/acceptor.h"
#include "common/ipc-conn.h"
#include "common/log.h"
#include "common/tls.h"
#include "restante/clock.h"

/** A session's number: a serial number, and below it the slot in the table. */
#define SLOT_BITS 20
#define SLOT_MASK ((1U << SLOT_BITS) - 1)
/** The core kills a worker that has not ended five seconds after SHUTDOWN.
    Clients may answer for QUIT_SETTLE_MS, lines and holds are closed after
   CLOSE_MS, and the process ends after STOP_MS. */
#define QUIT_SETTLE_MS 1000
#define CLOSE_MS 3500
#define STOP_MS 4500
#define LOG_INTERVAL_MS 60000

struct worker {
	struct event_base *base;
	struct ipc_conn *core;     /* NULL: the core has gone */
	struct acceptor *acceptor; /* NULL: nothing is accepted any more */
	const int *listen_fds;
	unsigned int listen_count;
	struct tls_server *tls;
	struct event *terminated, *stop_timer;

	struct client_conn_settings settings;
	char *hostname, *congestion; /* as in settings; NULL before CONFIG */
	char *mechanisms;

	struct client_conn **conns; /* by slot */
	unsigned int *free_slots;   /* a stack */
	unsigned int max, count;
	uint64_t serial;
	bool full_logged;
	int64_t full_logged_ms;
	bool stopping;
};

/* ---- sessions */

static void conn_to_core(const struct rst_ipc *msg, void *ctx)
{
	struct worker *worker = ctx;

	if (worker->core != NULL)
		ipc_conn_send(worker->core, msg, -1);
}

static void conn_ended(struct client_conn *conn, void *ctx)
{
	struct worker *worker = ctx;
	unsigned int slot = (unsigned int)client_conn_session(conn) & SLOT_MASK;

	worker->conns[slot] = NULL;
	worker->free_slots[worker->max - worker->count] = slot;
	worker->count--;
	if (worker->stopping && worker->count == 0)
		(void)event_base_loopexit(worker->base, NULL);
}

static struct client_conn *find_conn(struct worker *worker, uint64_t session)
{
	unsigned int slot = (unsigned int)session & SLOT_MASK;
	struct client_conn *conn;

	if (slot >= worker->max)
		return NULL;
	conn = worker->conns[slot];
	return conn != NULL && client_conn_session(conn) == session ? conn
								    : NULL;
}

static void log_full(struct worker *worker)
{
	struct rst_logline line;
	int64_t now_ms = clock_ms();

	if (worker->full_logged &&
	    now_ms - worker->full_logged_ms < LOG_INTERVAL_MS)
		return;
	worker->full_logged = true;
	worker->full_logged_ms = now_ms;
	rst_logline_begin(&line, "connections closed: as many as are allowed");
	rst_logline_u64(&line, "max", worker->max);
	log_line(LOG_WARNING, &line);
}

/*
 * Connections that never sign in would keep every client out. So the oldest of
 * those that have not been turned round makes room: it had the longest time.
 */
static void make_room(struct worker *worker)
{
	struct client_conn *oldest = NULL;
	unsigned int slot;

	for (slot = 0; slot < worker->max; slot++) {
		struct client_conn *conn = worker->conns[slot];

		/* the smaller number is the older session */
		if (conn != NULL && client_conn_is_stranger(conn) &&
		    (oldest == NULL ||
		     client_conn_session(conn) < client_conn_session(oldest)))
			oldest = conn;
	}
	if (oldest != NULL)
		client_conn_drop(oldest);
}

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	static const struct client_conn_callbacks callbacks = {conn_to_core,
							       conn_ended};
	struct worker *worker = ctx;
	struct bufferevent *bev;
	unsigned int slot;
	uint64_t session;

	if (worker->count == worker->max) {
		log_full(worker);
		make_room(worker);
	}
	if (worker->count == worker->max) {
		(void)close(fd);
		return;
	}
	bev = tls_accept(worker->tls, worker->base, fd);
	if (bev == NULL) {
		log_short(LOG_ERR, "connection not accepted", "remote",
			  peer->address);
		return;
	}
	worker->count++;
	slot = worker->free_slots[worker->max - worker->count];
	session = ++worker->serial << SLOT_BITS | slot;
	worker->conns[slot] = client_conn_new(
		worker->base, bev, true, session, peer, &worker->settings,
		worker->mechanisms, &callbacks, worker);
}

/* ---- the end */

/* At once: a daemon that is started in our place binds the same addresses. */
static void stop_listening(struct worker *worker)
{
	unsigned int i;

	acceptor_free(&worker->acceptor);
	for (i = 0; i < worker->listen_count; i++)
		(void)close(worker->listen_fds[i]);
	worker->listen_count = 0;
}

static void stop(struct worker *worker, const char *text)
{
	struct timeval tv = clock_timeval(STOP_MS);
	unsigned int slot;

	if (worker->stopping)
		return;
	worker->stopping = true;
	stop_listening(worker);
	for (slot = 0; slot < worker->max; slot++) {
		if (worker->conns[slot] != NULL)
			client_conn_dismiss(worker->conns[slot], text,
					    QUIT_SETTLE_MS);
	}
	if (worker->count == 0)
		(void)event_base_loopexit(worker->base, NULL);
	else
		(void)evtimer_add(worker->stop_timer, &tv);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	(void)event_base_loopexit(worker->base, NULL);
}

static void on_terminated(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stop(arg, "Service is shutting down");
}

/* ---- from the core */

static void start_if_ready(struct worker *worker)
{
	if (worker->hostname != NULL && worker->tls != NULL &&
	    !worker->stopping)
		acceptor_start(worker->acceptor);
}

static void on_config(struct worker *worker, const struct rst_ipc *msg)
{
	unsigned int i;

	if (worker->hostname != NULL || msg->n[0] < 0 || msg->n[1] <= 0 ||
	    msg->n[2] <= 0 || msg->n[3] < 1 || msg->n[4] < 1) {
		log_short(LOG_ERR, "configuration not understood", NULL, NULL);
		stop(worker, "Service is shutting down");
		return;
	}
	worker->hostname = rst_str_dup(msg->a);
	worker->settings.drain.hostname = worker->hostname;
	worker->congestion = rst_str_dup(msg->b);
	worker->settings.congestion = worker->congestion;
	worker->settings.drain.keepalive_ms = msg->n[0];
	worker->settings.drain.reply_timeout_ms = msg->n[1];
	worker->settings.sign_in_timeout_ms = msg->n[2];
	worker->settings.drain.retry_min_ms = msg->n[4];
	if (worker->settings.drain.retry_max_ms < msg->n[4])
		worker->settings.drain.retry_max_ms = msg->n[4];
	worker->max =
		msg->n[3] > SLOT_MASK ? SLOT_MASK : (unsigned int)msg->n[3];
	worker->conns = rst_calloc(worker->max, sizeof(struct client_conn *));
	worker->free_slots = rst_calloc(worker->max, sizeof(unsigned int));
	for (i = 0; i < worker->max; i++)
		worker->free_slots[i] = i;
	start_if_ready(worker);
}

static void on_tls(struct worker *worker, const struct rst_ipc *msg, int fd)
{
	char error[256];
	struct tls_server *tls =
		tls_server_new(fd, msg->a, error, sizeof(error));

	(void)close(fd);
	if (tls == NULL) {
		/* an old certificate, if there is one, is better than none */
		log_short(LOG_ERR, "certificate not loaded", "reason", error);
		return;
	}
	tls_server_free(&worker->tls);
	worker->tls = tls;
	start_if_ready(worker);
}

static void to_conn(struct worker *worker, const struct rst_ipc *msg, int fd)
{
	struct client_conn *conn = find_conn(worker, msg->session);

	if (conn != NULL)
		client_conn_from_core(conn, msg, fd);
	else if (fd >= 0)
		(void)close(fd); /* the session has ended meanwhile */
}

static void on_message(const struct rst_ipc *msg, int fd, void *ctx)
{
	struct worker *worker = ctx;

	switch (msg->type) {
	case RST_IPC_CONFIG:
		on_config(worker, msg);
		break;
	case RST_IPC_TLS:
		on_tls(worker, msg, fd);
		break;
	case RST_IPC_MECHANISMS:
		free(worker->mechanisms);
		worker->mechanisms = rst_str_dup(msg->a);
		break;
	case RST_IPC_SHUTDOWN:
		stop(worker, "Service is shutting down");
		break;
	case RST_IPC_PING:
		conn_to_core(&(struct rst_ipc){.type = RST_IPC_PONG}, worker);
		break;
	default:
		to_conn(worker, msg, fd);
		break;
	}
}

static void on_core_gone(void *ctx)
{
	struct worker *worker = ctx;

	/* acknowledgements can still be brought to the holds that are open */
	ipc_conn_free(&worker->core);
	stop(worker, "Service is restarting");
}

/* ---- start and end of the process */

static void worker_init(struct worker *worker, int ipc_fd,
			const int *listen_fds, unsigned int count)
{
	worker->base = event_base_new();
	if (worker->base == NULL)
		abort();
	client_conn_settings_init(&worker->settings);
	worker->settings.close_ms = CLOSE_MS;
	worker->settings.drain.close_ms = CLOSE_MS;
	worker->mechanisms = rst_strdup("");
	worker->listen_fds = listen_fds;
	worker->listen_count = count;
	worker->acceptor = acceptor_new(worker->base, listen_fds, count, NULL,
					on_accepted, worker);
	worker->terminated =
		evsignal_new(worker->base, SIGTERM, on_terminated, worker);
	worker->stop_timer = evtimer_new(worker->base, on_stop_timer, worker);
	if (worker->terminated == NULL || worker->stop_timer == NULL ||
	    event_add(worker->terminated, NULL) < 0)
		abort();
	worker->core = ipc_conn_new(worker->base, ipc_fd, RST_IPC_TO_WORKER,
				    on_message, on_core_gone, worker);
}

static void worker_deinit(struct worker *worker)
{
	unsigned int slot;

	for (slot = 0; slot < worker->max; slot++)
		client_conn_free(&worker->conns[slot]);
	acceptor_free(&worker->acceptor);
	ipc_conn_free(&worker->core);
	tls_server_free(&worker->tls);
	event_free(worker->terminated);
	event_free(worker->stop_timer);
	event_base_free(worker->base);
	free(worker->conns);
	free(worker->free_slots);
	free(worker->hostname);
	free(worker->congestion);
	free(worker->mechanisms);
}

int worker_run(int ipc_fd, const int *listen_fds, unsigned int count)
{
	struct worker worker = {0};
	int ret;

	(void)signal(SIGPIPE, SIG_IGN);
	/* sent to all by a terminal; the core sends SHUTDOWN where it ends */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	worker_init(&worker, ipc_fd, listen_fds, count);
	ret = event_base_dispatch(worker.base);
	worker_deinit(&worker);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
