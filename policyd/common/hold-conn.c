/* SPDX-License-Identifier: MIT */
#include "hold-conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event-pair.h"

struct hold_conn {
	int fd;
	struct event_pair events;
	struct rst_hold_dialler *machine;
	size_t start, used; /* of input: read and not taken yet */
	bool gone;          /* the service has closed */
	bool blocked;       /* the caller has no room for a message's octets */
	hold_conn_wake_func *wake;
	void *ctx;
	size_t input_max;
	char input[]; /* input_max octets: a whole line always fits */
};

static void read_some(struct hold_conn *conn)
{
	size_t end;
	ssize_t n;

	if (conn->start > 0) {
		memmove(conn->input, conn->input + conn->start, conn->used);
		conn->start = 0;
	}
	end = conn->used;
	n = recv(conn->fd, conn->input + end, conn->input_max - end,
		 MSG_DONTWAIT);
	if (n > 0)
		conn->used += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		conn->gone = true;
	if (conn->gone || conn->used == conn->input_max)
		(void)event_del(conn->events.readable);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct hold_conn *conn = arg;

	(void)fd;
	(void)what;
	read_some(conn);
	conn->wake(conn->ctx);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct hold_conn *conn = arg;

	(void)fd;
	(void)what;
	hold_conn_flush(conn);
}

struct hold_conn *hold_conn_new(struct event_base *base, int fd,
				const struct hold_conn_config *config,
				int64_t now_ms, hold_conn_wake_func *wake,
				void *ctx)
{
	const struct rst_hold_dialler_limits limits = {
		config->reply_timeout_ms};
	struct hold_conn *conn =
		rst_calloc(1, sizeof(*conn) + config->input_max);

	conn->fd = fd;
	conn->wake = wake;
	conn->ctx = ctx;
	conn->input_max = config->input_max;
	conn->machine = rst_hold_dialler_new(&limits, config->scan, now_ms);
	event_pair_init(&conn->events, base, fd, on_readable, on_writable,
			conn);
	return conn;
}

void hold_conn_free(struct hold_conn **_conn)
{
	struct hold_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	event_pair_free(&conn->events);
	(void)close(conn->fd);
	rst_hold_dialler_free(&conn->machine);
	free(conn);
}

struct rst_hold_dialler *hold_conn_machine(struct hold_conn *conn)
{
	return conn->machine;
}

/** @return octets taken; 0: none, or less than a line; or negative */
static ssize_t offer(struct hold_conn *conn, size_t max_body, int64_t now_ms)
{
	size_t n = conn->used;
	ssize_t taken;

	if (rst_hold_dialler_body_left(conn->machine) > 0 && n > max_body)
		n = max_body;
	if (n == 0)
		return 0;
	taken = rst_hold_dialler_recv(conn->machine, conn->input + conn->start,
				      n, now_ms);
	if (taken > 0) {
		conn->start += (size_t)taken;
		conn->used -= (size_t)taken;
	}
	return taken;
}

int hold_conn_next(struct hold_conn *conn, size_t max_body,
		   struct rst_hold_event *ev_r, int64_t now_ms)
{
	ssize_t taken;

	do {
		if (rst_hold_dialler_next(conn->machine, ev_r))
			return 1;
		taken = offer(conn, max_body, now_ms);
		if (taken < 0)
			return (int)taken;
	} while (taken > 0);
	conn->blocked = max_body == 0 && conn->used > 0 &&
			rst_hold_dialler_body_left(conn->machine) > 0;
	if (conn->blocked)
		return 0;
	if (conn->gone)
		return RST_ETEMP;
	if (conn->used < conn->input_max / 2)
		(void)event_add(conn->events.readable, NULL);
	return 0;
}

void hold_conn_flush(struct hold_conn *conn)
{
	const char *data;
	ssize_t n = 0;
	size_t len;

	while (n >= 0) {
		data = rst_hold_dialler_output(conn->machine, &len);
		if (len == 0)
			break;
		n = send(conn->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			rst_hold_dialler_sent(conn->machine, (size_t)n);
		else if (errno == EINTR)
			n = 0;
	}
	if (n < 0 && errno == EAGAIN)
		(void)event_add(conn->events.writable, NULL);
	else
		/* all is written; or the connection is broken, which the
		   reading side finds after it has taken the service's last
		   words */
		(void)event_del(conn->events.writable);
}

int64_t hold_conn_deadline(const struct hold_conn *conn)
{
	return conn->blocked ? -1 : rst_hold_dialler_deadline(conn->machine);
}
