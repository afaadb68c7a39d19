/* SPDX-License-Identifier: MIT */
/*
 *   CLOSED   nothing is set
 *   PAUSE    `pause` runs, after a failure
 *   DIALLING `dial` is set
 *   OPEN     `lookup` is set; after the handshake `renew` runs
 *
 * After a reload Dovecot's old auth process answers a connection that is open
 * with the old configuration. So after RENEW_MS no more questions are taken,
 * and when the last one is answered the connection is closed.
 */
#include "lookup-conn.h"

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
#define RENEW_MS 10000
/** Octets read before other events get their turn. */
#define MAX_READ 4096

static const struct rst_lookup_limits limits = {.handshake_timeout_ms = 10000,
						.request_timeout_ms = 30000,
						.max_requests = 256};

struct lookup_conn {
	struct event_base *base;
	const char *path;
	const struct lookup_conn_callbacks *calls;
	void *ctx;
	struct dial *dial;
	struct rst_lookup *lookup;
	int fd;
	struct event_pair events;
	struct event *deadline, *pause, *renew;
	int64_t delay_ms;
	unsigned int open; /* questions */
	bool told;         /* `ready` was called for this connection */
	bool retiring;     /* to be closed after the last answer */
	bool complained;   /* this outage has its log line */
	size_t in_used;
	char in[2 * 65536]; /* twice the longest line */
};

static void close_connection(struct lookup_conn *conn)
{
	if (conn->lookup == NULL)
		return;
	event_pair_free(&conn->events);
	(void)event_del(conn->deadline);
	(void)event_del(conn->renew);
	rst_lookup_free(&conn->lookup);
	(void)close(conn->fd);
	conn->in_used = 0;
	conn->open = 0;
	conn->told = false;
	conn->retiring = false;
}

static void complain(struct lookup_conn *conn, int error, const char *text)
{
	struct rst_logline line;

	if (conn->complained)
		return;
	conn->complained = true;
	rst_logline_begin(&line, "Dovecot's userdb_socket is away, sessions "
				 "are not checked again");
	rst_logline_cstr(&line, "userdb_socket", conn->path);
	rst_logline_cstr(&line, "error", text);
	if (error == ENOENT)
		rst_logline_cstr(&line, "mend",
				 "give Dovecot's service auth a unix_listener "
				 "of this name, see restante-policyd.conf(5)");
	log_line(LOG_WARNING, &line);
}

static void lost(struct lookup_conn *conn, int error, const char *text)
{
	struct timeval delay = clock_timeval(conn->delay_ms);

	complain(conn, error, text);
	close_connection(conn);
	(void)event_add(conn->pause, &delay);
	conn->delay_ms *= 2;
	if (conn->delay_ms > MAX_DELAY_MS)
		conn->delay_ms = MAX_DELAY_MS;
	conn->calls->lost(conn->ctx);
}

static void set_deadline(struct lookup_conn *conn)
{
	int64_t deadline = rst_lookup_deadline(conn->lookup);
	struct timeval delay = clock_timeval(deadline - clock_ms());

	if (deadline < 0)
		(void)event_del(conn->deadline);
	else
		(void)event_add(conn->deadline, &delay);
}

static void flush_output(struct lookup_conn *conn)
{
	size_t len;
	const char *out = rst_lookup_output(conn->lookup, &len);
	ssize_t n = len == 0 ? 0 : send(conn->fd, out, len, MSG_NOSIGNAL);

	/* on_readable() notices a broken connection */
	if (n > 0)
		rst_lookup_sent(conn->lookup, (size_t)n);
	if (len > 0 && (n < 0 || (size_t)n < len))
		(void)event_add(conn->events.writable, NULL);
	else
		(void)event_del(conn->events.writable);
}

static void tell_ready(struct lookup_conn *conn)
{
	struct timeval delay = clock_timeval(RENEW_MS);

	conn->told = true;
	conn->delay_ms = FIRST_DELAY_MS;
	(void)event_add(conn->renew, &delay);
	if (conn->complained)
		log_short(LOG_NOTICE, "sessions are checked again",
			  "userdb_socket", conn->path);
	conn->complained = false;
	conn->calls->ready(rst_lookup_server(conn->lookup), conn->ctx);
}

static void tell_answers(struct lookup_conn *conn)
{
	struct rst_lookup_answer answer;

	while (rst_lookup_next(conn->lookup, &answer)) {
		conn->open--;
		conn->calls->answer(&answer, conn->ctx);
	}
}

static ssize_t take_input(struct lookup_conn *conn)
{
	size_t done = 0;
	ssize_t taken;

	do {
		taken = rst_lookup_recv(conn->lookup, conn->in + done,
					conn->in_used - done);
		if (taken > 0)
			done += (size_t)taken;
		tell_answers(conn);
	} while (taken > 0);
	conn->in_used -= done;
	memmove(conn->in, conn->in + done, conn->in_used);
	return taken;
}

static void pump(struct lookup_conn *conn)
{
	if (take_input(conn) < 0) {
		lost(conn, EPROTO,
		     "not the auth master protocol, or no handshake in time");
		return;
	}
	if (!conn->told && rst_lookup_server(conn->lookup) != 0)
		tell_ready(conn);
	if (conn->retiring && conn->open == 0) {
		close_connection(conn);
		/* the next question dials; there may be one that was refused */
		conn->calls->lost(conn->ctx);
		return;
	}
	flush_output(conn);
	set_deadline(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct lookup_conn *conn = arg;
	size_t room = sizeof(conn->in) - conn->in_used;
	ssize_t n = recv(fd, conn->in + conn->in_used,
			 room < MAX_READ ? room : MAX_READ, 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		int error = n < 0 ? errno : 0;

		lost(conn, error,
		     n < 0 ? strerror(error) : "connection closed");
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
	struct lookup_conn *conn = arg;

	(void)fd;
	(void)what;
	rst_lookup_tick(conn->lookup, clock_ms());
	pump(conn);
}

static void on_renew(evutil_socket_t fd, short what, void *arg)
{
	struct lookup_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->retiring = true;
	pump(conn);
}

static void on_dialled(int fd, int error, void *ctx)
{
	struct lookup_conn *conn = ctx;

	dial_free(&conn->dial);
	if (fd < 0) {
		lost(conn, error, strerror(error));
		return;
	}
	conn->fd = fd;
	conn->lookup = rst_lookup_new(&limits, clock_ms());
	event_pair_init(&conn->events, conn->base, fd, on_readable, on_writable,
			conn);
	flush_output(conn);
	set_deadline(conn);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct lookup_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->dial = dial_start(conn->base, conn->path, MAX_DELAY_MS,
				on_dialled, conn);
}

struct lookup_conn *lookup_conn_new(struct event_base *base, const char *path,
				    const struct lookup_conn_callbacks *calls,
				    void *ctx)
{
	struct lookup_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->base = base;
	conn->path = path;
	conn->calls = calls;
	conn->ctx = ctx;
	conn->delay_ms = FIRST_DELAY_MS;
	conn->deadline = evtimer_new(base, on_deadline, conn);
	conn->pause = evtimer_new(base, on_pause_over, conn);
	conn->renew = evtimer_new(base, on_renew, conn);
	if (conn->deadline == NULL || conn->pause == NULL ||
	    conn->renew == NULL)
		abort();
	return conn;
}

void lookup_conn_free(struct lookup_conn **_conn)
{
	struct lookup_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	close_connection(conn);
	dial_free(&conn->dial);
	event_free(conn->deadline);
	event_free(conn->pause);
	event_free(conn->renew);
	free(conn);
}

bool lookup_conn_open(struct lookup_conn *conn)
{
	if (conn->lookup != NULL)
		return conn->told && !conn->retiring;
	if (conn->dial == NULL && !evtimer_pending(conn->pause, NULL))
		on_pause_over(-1, EV_TIMEOUT, conn);
	return false;
}

ssize_t lookup_conn_ask(struct lookup_conn *conn,
			enum rst_lookup_question question, struct rst_str user,
			struct rst_str remote_ip)
{
	ssize_t id;

	if (!lookup_conn_open(conn))
		return RST_ETEMP;
	id = rst_lookup_ask(conn->lookup, question, user, remote_ip,
			    clock_ms());
	if (id > 0) {
		conn->open++;
		(void)event_add(conn->events.writable, NULL);
		set_deadline(conn);
	}
	return id;
}
