/* SPDX-License-Identifier: MIT */
/*
 *   CLOSED     nothing is set
 *   AWAY       `redial` runs, after a failure
 *   DIALLING   `dial` is set
 *   OPEN       `fd` is set
 */
#include "dovecot-conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/event-pair.h"
#include "dial.h"
#include "restante/clock.h"
#include "restante/str.h"

#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 5000

struct dovecot_conn {
	struct event_base *base;
	const char *path;
	const struct dovecot_conn_ops *ops;
	void *ctx;
	struct dial *dial;
	int fd; /* -1: not open */
	struct event_pair events;
	struct event *deadline; /* of the machine */
	struct event *redial;
	int64_t delay_ms;
	size_t in_used;
	char in[]; /* ops->input_max octets */
};

bool dovecot_conn_is_open(const struct dovecot_conn *conn)
{
	return conn->fd >= 0;
}

void dovecot_conn_close(struct dovecot_conn *conn)
{
	if (conn->fd < 0)
		return;
	event_pair_free(&conn->events);
	(void)event_del(conn->deadline);
	(void)close(conn->fd);
	conn->fd = -1;
	conn->in_used = 0;
	conn->ops->closed(conn->ctx);
}

static void lost(struct dovecot_conn *conn, int error, const char *text)
{
	struct timeval delay = clock_timeval(conn->delay_ms);

	dovecot_conn_close(conn);
	(void)event_add(conn->redial, &delay);
	conn->delay_ms *= 2;
	if (conn->delay_ms > MAX_DELAY_MS)
		conn->delay_ms = MAX_DELAY_MS;
	conn->ops->lost(error, text, conn->ctx);
}

void dovecot_conn_ready(struct dovecot_conn *conn)
{
	conn->delay_ms = FIRST_DELAY_MS;
}

static void set_deadline(struct dovecot_conn *conn)
{
	int64_t deadline = conn->ops->deadline(conn->ctx);
	struct timeval delay = clock_timeval(deadline - clock_ms());

	if (deadline < 0)
		(void)event_del(conn->deadline);
	else
		(void)event_add(conn->deadline, &delay);
}

static void write_output(struct dovecot_conn *conn)
{
	size_t len;
	const char *out = conn->ops->output(&len, conn->ctx);
	ssize_t n = len == 0 ? 0 : send(conn->fd, out, len, MSG_NOSIGNAL);

	/* on_readable() notices a broken connection */
	if (n > 0)
		conn->ops->sent((size_t)n, conn->ctx);
	if (len > 0 && (n < 0 || (size_t)n < len))
		(void)event_add(conn->events.writable, NULL);
	else
		(void)event_del(conn->events.writable);
}

void dovecot_conn_flush(struct dovecot_conn *conn)
{
	if (conn->fd < 0)
		return;
	write_output(conn);
	set_deadline(conn);
}

static ssize_t take_input(struct dovecot_conn *conn)
{
	size_t done = 0;
	ssize_t taken;

	do {
		taken = conn->ops->recv(conn->in + done, conn->in_used - done,
					conn->ctx);
		if (taken > 0)
			done += (size_t)taken;
	} while (taken > 0);
	conn->in_used -= done;
	memmove(conn->in, conn->in + done, conn->in_used);
	return taken;
}

static void pump(struct dovecot_conn *conn)
{
	if (take_input(conn) < 0) {
		lost(conn, EPROTO, conn->ops->fault);
		return;
	}
	if (conn->ops->settled != NULL)
		conn->ops->settled(conn->ctx);
	dovecot_conn_flush(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct dovecot_conn *conn = arg;
	size_t room = conn->ops->input_max - conn->in_used;
	ssize_t n = recv(
		fd, conn->in + conn->in_used,
		room < conn->ops->read_max ? room : conn->ops->read_max, 0);
	int error = n < 0 ? errno : 0;

	(void)what;
	if (error == EAGAIN || error == EINTR)
		return;
	if (n <= 0) {
		lost(conn, error,
		     error != 0 ? strerror(error) : "connection closed");
		return;
	}
	conn->in_used += (size_t)n;
	pump(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_output(arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct dovecot_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->ops->tick(clock_ms(), conn->ctx);
	pump(conn);
}

static void connected(struct dovecot_conn *conn, int fd)
{
	conn->fd = fd;
	event_pair_init(&conn->events, conn->base, fd, on_readable, on_writable,
			conn);
	conn->ops->opened(conn->ctx);
	dovecot_conn_flush(conn);
}

static void on_dialled(int fd, int error, void *ctx)
{
	struct dovecot_conn *conn = ctx;

	dial_free(&conn->dial);
	if (fd < 0)
		lost(conn, error, strerror(error));
	else
		connected(conn, fd);
}

static void on_redial(evutil_socket_t fd, short what, void *arg)
{
	struct dovecot_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->dial = dial_start(conn->base, conn->path, MAX_DELAY_MS,
				on_dialled, conn);
}

void dovecot_conn_dial(struct dovecot_conn *conn)
{
	if (conn->fd < 0 && conn->dial == NULL &&
	    !evtimer_pending(conn->redial, NULL))
		on_redial(-1, EV_TIMEOUT, conn);
}

void dovecot_conn_renew(struct dovecot_conn *conn)
{
	int fd;

	dovecot_conn_close(conn);
	fd = dial_now(conn->path);
	if (fd < 0)
		lost(conn, errno, strerror(errno));
	else
		connected(conn, fd);
}

struct dovecot_conn *dovecot_conn_new(struct event_base *base, const char *path,
				      const struct dovecot_conn_ops *ops,
				      void *ctx)
{
	struct dovecot_conn *conn =
		rst_calloc(1, sizeof(*conn) + ops->input_max);

	conn->base = base;
	conn->path = path;
	conn->ops = ops;
	conn->ctx = ctx;
	conn->fd = -1;
	conn->delay_ms = FIRST_DELAY_MS;
	conn->deadline = evtimer_new(base, on_deadline, conn);
	conn->redial = evtimer_new(base, on_redial, conn);
	if (conn->deadline == NULL || conn->redial == NULL)
		abort();
	return conn;
}

void dovecot_conn_free(struct dovecot_conn **_conn)
{
	struct dovecot_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	dovecot_conn_close(conn);
	dial_free(&conn->dial);
	event_free(conn->deadline);
	event_free(conn->redial);
	free(conn);
}
