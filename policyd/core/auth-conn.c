/* SPDX-License-Identifier: MIT */
/*
 *   AWAY       `redial` runs
 *   DIALLING   `dial` is set
 *   HANDSHAKE  `auth` is set
 *   READY      the handshake is over; `renew` runs
 *
 * Any fault leads back to AWAY. The delay of `redial` doubles with each failure
 * and starts anew at READY.
 *
 * After a reload or restart of Dovecot the old auth process stays, with the old
 * configuration, as long as a connection to it is open ("auth clients should
 * disconnect soon", auth_die()). So the connection is renewed every RENEW_MS,
 * when no exchange is open: READY -> HANDSHAKE. The caller does not notice: the
 * machine queues the exchanges that begin before the new handshake is over.
 */
#include "auth-conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/event-pair.h"
#include "common/log.h"
#include "dial.h"
#include "restante/clock.h"

#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 5000
#define HANDSHAKE_TIMEOUT_MS 10000
/** Long, as Dovecot itself delays the answer to a failure by seconds. */
#define REQUEST_TIMEOUT_MS 30000
/** A sanity limit. The number of connections already bounds the exchanges, and
    each exchange may wait for its client for a while: with a lower limit a few
    idle strangers could keep everybody from signing in. */
#define MAX_REQUESTS 100000
/** An answer that takes longer means an expensive hash (ARGON2ID, bcrypt), not
    only a busy machine. */
#define SLOW_MS 50
/** Exchanges worth having open at once when Dovecot waits for other servers, or
    works on several at a time. */
#define MAX_SLOW 32
#define RENEW_MS 30000
/** If exchanges are open all the time: renew then, and lose them. */
#define RENEW_AT_LAST_MS 600000
#define RENEW_RETRY_MS 1000

/** Octets read before other events get their turn: about sixteen answers. */
#define MAX_READ 1024

struct auth_conn {
	struct event_base *base;
	const char *path;
	const struct auth_conn_callbacks *calls;
	void *ctx;
	struct dial *dial;
	struct rst_auth *auth; /* NULL: not connected */
	int fd;
	struct event_pair events;
	struct event *deadline; /* of the machine */
	struct event *redial;
	struct event *renew;
	int64_t delay_ms;
	int64_t ready_ms;  /* when READY began */
	unsigned int open; /* exchanges */
	char *told;        /* mechanisms last told to the caller; "": away */
	bool complained;   /* this outage has its log line */
	size_t in_used;
	char in[32768]; /* twice the longest line */
};

static void close_connection(struct auth_conn *conn)
{
	if (conn->auth == NULL)
		return;
	event_pair_free(&conn->events);
	(void)event_del(conn->deadline);
	rst_auth_free(&conn->auth);
	(void)close(conn->fd);
	conn->in_used = 0;
	conn->open = 0;
}

static void complain(struct auth_conn *conn, const char *error)
{
	struct rst_logline line;

	if (conn->complained)
		return;
	conn->complained = true;
	rst_logline_begin(&line, "Dovecot auth is away, nobody can sign in");
	rst_logline_cstr(&line, "auth_socket", conn->path);
	rst_logline_cstr(&line, "error", error);
	log_line(LOG_ERR, &line);
}

static void tell_mechanisms(struct auth_conn *conn, const char *mechanisms)
{
	free(conn->told);
	conn->told = rst_strdup(mechanisms);
	conn->calls->mechanisms(conn->told, conn->ctx);
}

static void lost(struct auth_conn *conn, const char *error)
{
	struct timeval delay = clock_timeval(conn->delay_ms);

	complain(conn, error);
	close_connection(conn);
	(void)event_del(conn->renew);
	(void)event_add(conn->redial, &delay);
	conn->delay_ms *= 2;
	if (conn->delay_ms > MAX_DELAY_MS)
		conn->delay_ms = MAX_DELAY_MS;
	if (conn->told[0] != '\0')
		tell_mechanisms(conn, "");
}

static void schedule_renewal(struct auth_conn *conn, int64_t delay_ms)
{
	struct timeval delay = clock_timeval(delay_ms);

	(void)event_add(conn->renew, &delay);
}

static void on_ready(struct auth_conn *conn)
{
	const char *mechanisms = rst_auth_mechanisms(conn->auth);

	conn->complained = false;
	conn->delay_ms = FIRST_DELAY_MS;
	conn->ready_ms = clock_ms();
	schedule_renewal(conn, RENEW_MS);
	if (strcmp(mechanisms, conn->told) == 0)
		return; /* only renewed: nothing to tell */
	log_short(LOG_INFO, "Dovecot auth is ready", "mechanisms", mechanisms);
	tell_mechanisms(conn, mechanisms);
}

static void set_deadline(struct auth_conn *conn)
{
	int64_t deadline = rst_auth_deadline(conn->auth);
	struct timeval delay = clock_timeval(deadline - clock_ms());

	if (deadline < 0)
		(void)event_del(conn->deadline);
	else
		(void)event_add(conn->deadline, &delay);
}

static void flush_output(struct auth_conn *conn)
{
	size_t len;
	const char *out = rst_auth_output(conn->auth, &len);
	ssize_t n = len == 0 ? 0 : send(conn->fd, out, len, MSG_NOSIGNAL);

	/* on_readable() notices a broken connection */
	if (n > 0)
		rst_auth_sent(conn->auth, (size_t)n);
	if (len > 0 && (n < 0 || (size_t)n < len))
		(void)event_add(conn->events.writable, NULL);
	else
		(void)event_del(conn->events.writable);
}

static void on_event(struct auth_conn *conn, const struct rst_auth_event *ev)
{
	if (ev->type == RST_AUTH_READY) {
		on_ready(conn);
		return;
	}
	if (ev->type != RST_AUTH_CONTINUE)
		conn->open--;
	conn->calls->event(ev, conn->ctx);
}

static ssize_t take_input(struct auth_conn *conn)
{
	struct rst_auth_event ev;
	size_t done = 0;
	ssize_t taken;

	do {
		taken = rst_auth_recv(conn->auth, conn->in + done,
				      conn->in_used - done, clock_ms());
		if (taken > 0)
			done += (size_t)taken;
		while (rst_auth_next(conn->auth, &ev)) {
			on_event(conn, &ev);
		}
	} while (taken > 0);
	conn->in_used -= done;
	memmove(conn->in, conn->in + done, conn->in_used);
	return taken;
}

static void pump(struct auth_conn *conn)
{
	if (take_input(conn) < 0) {
		lost(conn, "not the auth protocol, or no answer in time");
		return;
	}
	flush_output(conn);
	set_deadline(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct auth_conn *conn = arg;
	size_t room = sizeof(conn->in) - conn->in_used;
	ssize_t n = recv(fd, conn->in + conn->in_used,
			 room < MAX_READ ? room : MAX_READ, 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lost(conn, n < 0 ? strerror(errno) : "connection closed");
		return;
	}
	conn->in_used += (size_t)n;
	pump(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush_output(arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct auth_conn *conn = arg;

	(void)fd;
	(void)what;
	rst_auth_tick(conn->auth, clock_ms());
	pump(conn);
}

static void connected(struct auth_conn *conn, int fd)
{
	struct rst_auth_limits limits = {
		.pid = (unsigned int)getpid(),
		.handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS,
		.request_timeout_ms = REQUEST_TIMEOUT_MS,
		.max_requests = MAX_REQUESTS,
		.slow_ms = SLOW_MS,
		.max_slow = MAX_SLOW};

	conn->fd = fd;
	conn->auth = rst_auth_new(&limits, clock_ms());
	event_pair_init(&conn->events, conn->base, fd, on_readable, on_writable,
			conn);
	flush_output(conn);
	set_deadline(conn);
}

static void on_dialled(int fd, int error, void *ctx)
{
	struct auth_conn *conn = ctx;

	dial_free(&conn->dial);
	if (fd < 0)
		lost(conn, strerror(error));
	else
		connected(conn, fd);
}

/* The old connection is closed first: Dovecot refuses two with one CPID. */
static void on_renew(evutil_socket_t unused, short what, void *arg)
{
	struct auth_conn *conn = arg;
	int fd;

	(void)unused;
	(void)what;
	if (conn->open > 0 && clock_ms() - conn->ready_ms < RENEW_AT_LAST_MS) {
		schedule_renewal(conn, RENEW_RETRY_MS);
		return;
	}
	if (conn->open > 0)
		tell_mechanisms(conn, "");
	close_connection(conn);
	fd = dial_now(conn->path);
	if (fd < 0)
		lost(conn, strerror(errno));
	else
		connected(conn, fd);
}

static void on_redial(evutil_socket_t fd, short what, void *arg)
{
	struct auth_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->dial = dial_start(conn->base, conn->path, MAX_DELAY_MS,
				on_dialled, conn);
}

struct auth_conn *auth_conn_new(struct event_base *base, const char *path,
				const struct auth_conn_callbacks *calls,
				void *ctx)
{
	struct auth_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->base = base;
	conn->path = path;
	conn->calls = calls;
	conn->ctx = ctx;
	conn->delay_ms = FIRST_DELAY_MS;
	conn->told = rst_strdup("");
	conn->renew = evtimer_new(base, on_renew, conn);
	conn->deadline = evtimer_new(base, on_deadline, conn);
	conn->redial = evtimer_new(base, on_redial, conn);
	if (conn->deadline == NULL || conn->redial == NULL ||
	    conn->renew == NULL)
		abort();
	on_redial(-1, EV_TIMEOUT, conn);
	return conn;
}

void auth_conn_free(struct auth_conn **_conn)
{
	struct auth_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	close_connection(conn);
	dial_free(&conn->dial);
	event_free(conn->deadline);
	event_free(conn->redial);
	event_free(conn->renew);
	free(conn->told);
	free(conn);
}

ssize_t auth_conn_start(struct auth_conn *conn,
			const struct rst_auth_request *request)
{
	ssize_t id;

	if (conn->told[0] == '\0' || conn->auth == NULL)
		return RST_ETEMP;
	id = rst_auth_start(conn->auth, request, clock_ms());
	if (id > 0)
		conn->open++;
	flush_output(conn);
	set_deadline(conn);
	return id;
}

int auth_conn_continue(struct auth_conn *conn, uint32_t id,
		       struct rst_str response)
{
	int ret;

	if (conn->auth == NULL)
		return RST_EPERM;
	ret = rst_auth_continue(conn->auth, id, response, clock_ms());
	flush_output(conn);
	set_deadline(conn);
	return ret;
}

void auth_conn_cancel(struct auth_conn *conn, uint32_t id)
{
	if (conn->auth == NULL)
		return;
	rst_auth_cancel(conn->auth, id);
	conn->open--;
	flush_output(conn);
	set_deadline(conn);
}
