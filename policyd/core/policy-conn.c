/* SPDX-License-Identifier: MIT */
#include "policy-conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/clock.h"

/** A request of today's Postfix has 600 to 900 octets. */
#define FIRST_ALLOC 2048

/*
 * One read takes many requests, and pump() fixes the order: requests are parsed
 * where they lie, decide() answers each of them, the answers leave in one
 * write, then the events are set. A question that decide() left open stops the
 * reading, until its answer or its time-out; so do answers that could not be
 * written.
 *
 * One timer serves the time-out of an open question and idleness. It stays
 * armed while requests come and go, and is set anew when it fires: setting it
 * for each request would cost as much as reading the request. Only a question
 * that is left open moves it nearer.
 */
struct policy_conn {
	int fd;
	struct rst_policy_server *server;
	const struct policy_conn_callbacks *calls;
	void *ctx;
	struct event *readable, *writable, *timer;
	int64_t idle_ms;
	int64_t active_ms; /* when octets last came or went */
	int64_t timer_ms;  /* when the timer fires */
	char *in;          /* octets read and not taken yet */
	size_t in_used, in_alloc;
	size_t in_asked; /* of them, those that an open question lies in */
	bool reading;    /* `readable` is pending */
	bool writing;    /* the peer reads slowly: `writable` is pending */
	bool pumping;
	bool dead; /* freed inside decide() */
};

static void destroy(struct policy_conn *conn)
{
	event_free(conn->readable);
	event_free(conn->writable);
	event_free(conn->timer);
	rst_policy_server_free(&conn->server);
	if (conn->fd >= 0)
		(void)close(conn->fd);
	free(conn->in);
	free(conn);
}

static void end(struct policy_conn *conn)
{
	if (!conn->dead)
		conn->calls->closed(conn, conn->ctx);
	destroy(conn);
}

static void watch_input(struct policy_conn *conn)
{
	/* While a question is open, its octets stay where they are: what a peer
	   goes on writing waits in the socket. */
	bool want = !conn->writing && conn->in_asked == 0;

	if (want && !conn->reading && event_add(conn->readable, NULL) < 0)
		abort();
	if (!want && conn->reading)
		(void)event_del(conn->readable);
	conn->reading = want;
}

static void give_room_back(struct policy_conn *conn)
{
	if (conn->in_used == 0 && conn->in_alloc > 4 * FIRST_ALLOC) {
		conn->in_alloc = FIRST_ALLOC;
		conn->in = rst_realloc(conn->in, conn->in_alloc);
	}
}

static bool question_open(const struct policy_conn *conn)
{
	return rst_policy_server_deadline(conn->server) >= 0;
}

static void drop_taken(struct policy_conn *conn, size_t done)
{
	conn->in_used -= done;
	if (done > 0 && conn->in_used > 0)
		memmove(conn->in, conn->in + done, conn->in_used);
	give_room_back(conn);
}

/* The server takes one request at a time, and none while one is open. */
static ssize_t take_requests(struct policy_conn *conn, int64_t now_ms)
{
	struct rst_policy_ask ask;
	size_t done = conn->in_asked;
	ssize_t taken;

	if (question_open(conn))
		return 0;
	conn->in_asked = 0;
	do {
		taken = rst_policy_server_recv(conn->server, conn->in + done,
					       conn->in_used - done, now_ms);
		if (taken <= 0)
			break;
		done += (size_t)taken;
		if (rst_policy_server_next(conn->server, &ask))
			conn->calls->decide(conn, &ask, conn->ctx);
	} while (!conn->dead && !question_open(conn));
	if (taken > 0) /* left open */
		conn->in_asked = done;
	else
		drop_taken(conn, done);
	return taken < 0 ? taken : 0;
}

/** @return false: the connection is broken */
static bool flush_output(struct policy_conn *conn)
{
	size_t len;
	const char *out = rst_policy_server_output(conn->server, &len);
	ssize_t n = len == 0 ? 0 : send(conn->fd, out, len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (n > 0)
		rst_policy_server_sent(conn->server, (size_t)n);
	conn->writing = n < 0 || (size_t)n < len;
	return !conn->writing || event_add(conn->writable, NULL) == 0;
}

static void set_timer(struct policy_conn *conn, int64_t now_ms)
{
	int64_t deadline = rst_policy_server_deadline(conn->server);
	int64_t at = conn->active_ms + conn->idle_ms;
	struct timeval delay;

	if (deadline >= 0 && deadline < at)
		at = deadline;
	if (at >= conn->timer_ms)
		return;
	conn->timer_ms = at;
	delay = clock_timeval(at - now_ms);
	if (event_add(conn->timer, &delay) < 0)
		abort();
}

static void pump(struct policy_conn *conn, int64_t now_ms)
{
	ssize_t ret;
	bool ok;

	conn->pumping = true;
	ret = take_requests(conn, now_ms);
	if (ret < 0)
		log_short(LOG_WARNING, "policy request refused", "reason",
			  ret == RST_ELIMIT ? "too long" : "malformed");
	ok = flush_output(conn) && ret == 0;
	conn->pumping = false;
	if (conn->dead || !ok) {
		end(conn);
		return;
	}
	watch_input(conn);
	set_timer(conn, now_ms);
}

static void make_room(struct policy_conn *conn)
{
	if (conn->in_used < conn->in_alloc)
		return;
	conn->in_alloc *= 2;
	conn->in = rst_realloc(conn->in, conn->in_alloc);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct policy_conn *conn = arg;
	ssize_t n;

	(void)what;
	make_room(conn);
	n = recv(fd, conn->in + conn->in_used, conn->in_alloc - conn->in_used,
		 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end(conn);
		return;
	}
	conn->in_used += (size_t)n;
	conn->active_ms = clock_ms();
	pump(conn, conn->active_ms);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct policy_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->active_ms = clock_ms();
	pump(conn, conn->active_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct policy_conn *conn = arg;
	int64_t now_ms = clock_ms();

	(void)fd;
	(void)what;
	conn->timer_ms = INT64_MAX;
	rst_policy_server_tick(conn->server, now_ms);
	if (now_ms >= conn->active_ms + conn->idle_ms)
		end(conn);
	else
		pump(conn, now_ms);
}

struct policy_conn *policy_conn_new(struct event_base *base, int fd,
				    const struct policy_conn_times *times,
				    const struct policy_conn_callbacks *calls,
				    void *ctx)
{
	const struct rst_policy_server_limits limits = {
		times->answer_timeout_ms};
	struct policy_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->fd = fd;
	conn->calls = calls;
	conn->ctx = ctx;
	conn->server = rst_policy_server_new(&limits);
	conn->idle_ms = times->idle_ms;
	conn->active_ms = clock_ms();
	conn->timer_ms = INT64_MAX;
	conn->in_alloc = FIRST_ALLOC;
	conn->in = rst_malloc(conn->in_alloc);
	conn->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, conn);
	conn->writable = event_new(base, fd, EV_WRITE, on_writable, conn);
	conn->timer = evtimer_new(base, on_timer, conn);
	if (conn->readable == NULL || conn->writable == NULL ||
	    conn->timer == NULL || event_priority_set(conn->readable, 0) < 0 ||
	    event_priority_set(conn->writable, 0) < 0 ||
	    event_priority_set(conn->timer, 0) < 0)
		abort();
	watch_input(conn);
	set_timer(conn, conn->active_ms);
	return conn;
}

void policy_conn_free(struct policy_conn **_conn)
{
	struct policy_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	if (conn->pumping)
		conn->dead = true;
	else
		destroy(conn);
}

int policy_conn_detach(struct policy_conn **conn)
{
	int fd = -1;

	if ((*conn)->in_used == 0 && !(*conn)->writing) {
		fd = (*conn)->fd;
		(*conn)->fd = -1;
	}
	policy_conn_free(conn);
	return fd;
}

void policy_conn_answer(struct policy_conn *conn, uint32_t id,
			enum rst_policy_action action)
{
	rst_policy_server_answer(conn->server, id, action);
	if (!conn->pumping) /* else from inside decide() */
		pump(conn, clock_ms());
}
