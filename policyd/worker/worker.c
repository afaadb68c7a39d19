/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <event2/event.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client-conn.h"
#include "common/acceptor.h"
#include "common/clock.h"
#include "common/ipc-conn.h"
#include "common/log.h"
#include "common/tls.h"
#include "unsent.h"

/** A session's number is its slot in the table, below a serial number. */
#define SLOT_BITS 20
#define SLOT_MASK ((1U << SLOT_BITS) - 1)
/** The core kills after five seconds: be done before. What is on its way is
    waited for until then, for a second at most. */
#define SETTLE_MS 1000
#define CLOSE_MS 3500
#define STOP_MS 4500
#define LOG_INTERVAL_MS 60000

struct network {
	struct event_base *base;
	struct ipc_conn *core;     /* NULL: it has gone */
	struct acceptor *acceptor; /* NULL: nobody comes in any more */
	const int *listen_fds;
	unsigned int listen_count;
	struct tls_server *tls;
	struct event *terminated, *stop_timer;

	struct client_conn_settings settings;
	/* the settings' views; NULL before CONFIG */
	char *hostname, *congestion;
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
	struct network *net = ctx;

	if (net->core != NULL)
		ipc_conn_send(net->core, msg, -1);
}

static void conn_ended(struct client_conn *conn, void *ctx)
{
	struct network *net = ctx;
	unsigned int slot = (unsigned int)client_conn_session(conn) & SLOT_MASK;

	net->conns[slot] = NULL;
	net->free_slots[net->max - net->count] = slot;
	net->count--;
	if (net->stopping && net->count == 0)
		(void)event_base_loopexit(net->base, NULL);
}

static struct client_conn *find_conn(struct network *net, uint64_t session)
{
	unsigned int slot = (unsigned int)session & SLOT_MASK;
	struct client_conn *conn;

	if (slot >= net->max)
		return NULL;
	conn = net->conns[slot];
	return conn != NULL && client_conn_session(conn) == session ? conn
								    : NULL;
}

static void log_full(struct network *net)
{
	struct rst_logline line;
	int64_t now_ms = clock_ms();

	if (net->full_logged && now_ms - net->full_logged_ms < LOG_INTERVAL_MS)
		return;
	net->full_logged = true;
	net->full_logged_ms = now_ms;
	rst_logline_begin(&line, "connections closed: as many as are allowed");
	rst_logline_u64(&line, "max", net->max);
	log_line(LOG_WARNING, &line);
}

/*
 * Whoever opens connections and never signs in would keep everybody else out.
 * So the oldest of those makes room: it had the longest time.
 */
static void make_room(struct network *net)
{
	struct client_conn *oldest = NULL;
	unsigned int slot;

	for (slot = 0; slot < net->max; slot++) {
		struct client_conn *conn = net->conns[slot];

		/* the serial number stands above the slot's */
		if (conn != NULL && client_conn_is_stranger(conn) &&
		    (oldest == NULL ||
		     client_conn_session(conn) < client_conn_session(oldest)))
			oldest = conn;
	}
	if (oldest != NULL)
		client_conn_drop(oldest);
}

static void set_option(int fd, int level, int name, int64_t value)
{
	int n = value > INT_MAX ? INT_MAX : (int)value;

	/* where it does not work, the connection works less well */
	(void)setsockopt(fd, level, name, &n, sizeof(n));
}

static void set_socket_options(const struct network *net, int fd)
{
	int64_t reply_ms = net->settings.drain.reply_timeout_ms;

	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MIN);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (reply_ms > 0)
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, reply_ms);
}

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	static const struct client_conn_callbacks callbacks = {conn_to_core,
							       conn_ended};
	struct network *net = ctx;
	struct bufferevent *bev;
	unsigned int slot;
	uint64_t session;

	if (net->count == net->max) {
		log_full(net);
		make_room(net);
	}
	if (net->count == net->max) {
		(void)close(fd);
		return;
	}
	set_socket_options(net, fd);
	bev = tls_accept(net->tls, net->base, fd);
	if (bev == NULL) {
		log_short(LOG_ERR, "connection not accepted", "remote",
			  peer->address);
		return;
	}
	net->count++;
	slot = net->free_slots[net->max - net->count];
	session = ++net->serial << SLOT_BITS | slot;
	net->conns[slot] = client_conn_new(net->base, bev, true, session, peer,
					   &net->settings, net->mechanisms,
					   &callbacks, net);
}

/* ---- the end */

/* At once: whoever is started in our place wants the addresses. */
static void stop_listening(struct network *net)
{
	unsigned int i;

	acceptor_free(&net->acceptor);
	for (i = 0; i < net->listen_count; i++)
		(void)close(net->listen_fds[i]);
	net->listen_count = 0;
}

static void stop(struct network *net, const char *text)
{
	struct timeval tv = clock_timeval(STOP_MS);
	unsigned int slot;

	if (net->stopping)
		return;
	net->stopping = true;
	stop_listening(net);
	for (slot = 0; slot < net->max; slot++) {
		if (net->conns[slot] != NULL)
			client_conn_dismiss(net->conns[slot], text, SETTLE_MS);
	}
	if (net->count == 0)
		(void)event_base_loopexit(net->base, NULL);
	else
		(void)evtimer_add(net->stop_timer, &tv);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	struct network *net = arg;

	(void)fd;
	(void)what;
	(void)event_base_loopexit(net->base, NULL);
}

static void on_terminated(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stop(arg, "Service is shutting down");
}

/* ---- from the core */

static void start_if_ready(struct network *net)
{
	if (net->hostname != NULL && net->tls != NULL && !net->stopping)
		acceptor_start(net->acceptor);
}

static void on_config(struct network *net, const struct rst_ipc *msg)
{
	unsigned int i;

	if (net->hostname != NULL || msg->n[0] < 0 || msg->n[1] <= 0 ||
	    msg->n[2] <= 0 || msg->n[3] < 1 || msg->n[4] < 1) {
		log_short(LOG_ERR, "configuration not understood", NULL, NULL);
		stop(net, "Service is shutting down");
		return;
	}
	net->hostname = rst_str_dup(msg->a);
	net->settings.drain.hostname = net->hostname;
	net->congestion = rst_str_dup(msg->b);
	net->settings.congestion = net->congestion;
	net->settings.drain.keepalive_ms = msg->n[0];
	net->settings.drain.reply_timeout_ms = msg->n[1];
	net->settings.sign_in_timeout_ms = msg->n[2];
	net->settings.drain.retry_min_ms = msg->n[4];
	if (net->settings.drain.retry_max_ms < msg->n[4])
		net->settings.drain.retry_max_ms = msg->n[4];
	net->max = msg->n[3] > SLOT_MASK ? SLOT_MASK : (unsigned int)msg->n[3];
	net->conns = rst_calloc(net->max, sizeof(struct client_conn *));
	net->free_slots = rst_calloc(net->max, sizeof(unsigned int));
	for (i = 0; i < net->max; i++)
		net->free_slots[i] = i;
	start_if_ready(net);
}

static void on_tls(struct network *net, const struct rst_ipc *msg, int fd)
{
	char error[256];
	struct tls_server *tls =
		tls_server_new(fd, msg->a, error, sizeof(error));

	(void)close(fd);
	if (tls == NULL) {
		/* the one that we have, if any, is better than none */
		log_short(LOG_ERR, "certificate not loaded", "reason", error);
		return;
	}
	tls_server_free(&net->tls);
	net->tls = tls;
	start_if_ready(net);
}

static void to_conn(struct network *net, const struct rst_ipc *msg, int fd)
{
	struct client_conn *conn = find_conn(net, msg->session);

	if (conn != NULL)
		client_conn_from_core(conn, msg, fd);
	else if (fd >= 0)
		(void)close(fd); /* the session has ended meanwhile */
}

static void on_message(const struct rst_ipc *msg, int fd, void *ctx)
{
	struct network *net = ctx;

	switch (msg->type) {
	case RST_IPC_CONFIG:
		on_config(net, msg);
		break;
	case RST_IPC_TLS:
		on_tls(net, msg, fd);
		break;
	case RST_IPC_MECHANISMS:
		free(net->mechanisms);
		net->mechanisms = rst_str_dup(msg->a);
		break;
	case RST_IPC_SHUTDOWN:
		stop(net, "Service is shutting down");
		break;
	case RST_IPC_PING:
		conn_to_core(&(struct rst_ipc){.type = RST_IPC_PONG}, net);
		break;
	default:
		to_conn(net, msg, fd);
		break;
	}
}

static void on_core_gone(void *ctx)
{
	struct network *net = ctx;

	/* the holds that are open can still be told what was acknowledged */
	ipc_conn_free(&net->core);
	stop(net, "Service is restarting");
}

/* ---- */

static void network_init(struct network *net, int ipc_fd, const int *listen_fds,
			 unsigned int count)
{
	net->base = event_base_new();
	if (net->base == NULL)
		abort();
	client_conn_settings_init(&net->settings);
	net->settings.close_ms = CLOSE_MS;
	net->settings.drain.close_ms = CLOSE_MS;
	net->mechanisms = rst_strdup("");
	net->listen_fds = listen_fds;
	net->listen_count = count;
	net->acceptor = acceptor_new(net->base, listen_fds, count, NULL,
				     on_accepted, net);
	net->terminated = evsignal_new(net->base, SIGTERM, on_terminated, net);
	net->stop_timer = evtimer_new(net->base, on_stop_timer, net);
	if (net->terminated == NULL || net->stop_timer == NULL ||
	    event_add(net->terminated, NULL) < 0)
		abort();
	net->core = ipc_conn_new(net->base, ipc_fd, RST_IPC_TO_WORKER,
				 on_message, on_core_gone, net);
}

static void network_deinit(struct network *net)
{
	unsigned int slot;

	for (slot = 0; slot < net->max; slot++)
		client_conn_free(&net->conns[slot]);
	acceptor_free(&net->acceptor);
	ipc_conn_free(&net->core);
	tls_server_free(&net->tls);
	event_free(net->terminated);
	event_free(net->stop_timer);
	event_base_free(net->base);
	free(net->conns);
	free(net->free_slots);
	free(net->hostname);
	free(net->congestion);
	free(net->mechanisms);
}

int worker_run(int ipc_fd, const int *listen_fds, unsigned int count)
{
	struct network net = {0};
	int ret;

	(void)signal(SIGPIPE, SIG_IGN);
	/* at the terminal these are the core's, which then tells us */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	network_init(&net, ipc_fd, listen_fds, count);
	ret = event_base_dispatch(net.base);
	network_deinit(&net);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
