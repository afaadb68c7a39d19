/* SPDX-License-Identifier: MIT */
/*
 * After a reload Dovecot's old auth process answers a connection that is open
 * with the old configuration. So after RENEW_MS no more questions are taken,
 * and when the last one is answered the connection is closed.
 */
#include "lookup-conn.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "dovecot-conn.h"
#include "restante/clock.h"

#define RENEW_MS 10000

static const struct rst_lookup_limits limits = {.handshake_timeout_ms = 10000,
						.request_timeout_ms = 30000,
						.max_requests = 256};

struct lookup_conn {
	const char *path;
	const struct lookup_conn_callbacks *calls;
	void *ctx;
	struct dovecot_conn *conn;
	struct rst_lookup *lookup; /* NULL: not connected */
	struct event *renew;       /* runs after the handshake */
	unsigned int open;         /* questions */
	bool told;                 /* `ready` was called for this connection */
	bool retiring;             /* to be closed after the last answer */
	bool complained;           /* this outage has its log line */
};

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

static void on_lost(int error, const char *text, void *ctx)
{
	struct lookup_conn *conn = ctx;

	complain(conn, error, text);
	conn->calls->lost(conn->ctx);
}

static void tell_ready(struct lookup_conn *conn)
{
	struct timeval delay = clock_timeval(RENEW_MS);

	conn->told = true;
	dovecot_conn_ready(conn->conn);
	(void)event_add(conn->renew, &delay);
	if (conn->complained)
		log_short(LOG_NOTICE, "sessions are checked again",
			  "userdb_socket", conn->path);
	conn->complained = false;
	conn->calls->ready(rst_lookup_server(conn->lookup), conn->ctx);
}

static void on_open(void *ctx)
{
	struct lookup_conn *conn = ctx;

	conn->lookup = rst_lookup_new(&limits, clock_ms());
}

static void on_closed(void *ctx)
{
	struct lookup_conn *conn = ctx;

	(void)event_del(conn->renew);
	rst_lookup_free(&conn->lookup);
	conn->open = 0;
	conn->told = false;
	conn->retiring = false;
}

static ssize_t take_input(const char *buf, size_t len, void *ctx)
{
	struct lookup_conn *conn = ctx;
	ssize_t taken = rst_lookup_recv(conn->lookup, buf, len);
	struct rst_lookup_answer answer;

	while (rst_lookup_next(conn->lookup, &answer)) {
		conn->open--;
		conn->calls->answer(&answer, conn->ctx);
	}
	return taken;
}

static void retire(struct lookup_conn *conn)
{
	if (!conn->retiring || conn->open > 0)
		return;
	dovecot_conn_close(conn->conn);
	/* the next question dials; there may be one that was refused */
	conn->calls->lost(conn->ctx);
}

static void on_settled(void *ctx)
{
	struct lookup_conn *conn = ctx;

	if (!conn->told && rst_lookup_server(conn->lookup) != 0)
		tell_ready(conn);
	retire(conn);
}

static const char *output(size_t *len_r, void *ctx)
{
	struct lookup_conn *conn = ctx;

	return rst_lookup_output(conn->lookup, len_r);
}

static void sent(size_t len, void *ctx)
{
	struct lookup_conn *conn = ctx;

	rst_lookup_sent(conn->lookup, len);
}

static int64_t deadline(void *ctx)
{
	struct lookup_conn *conn = ctx;

	return rst_lookup_deadline(conn->lookup);
}

static void tick(int64_t now_ms, void *ctx)
{
	struct lookup_conn *conn = ctx;

	rst_lookup_tick(conn->lookup, now_ms);
}

static const struct dovecot_conn_ops ops = {
	.input_max = 2 * 65536,
	.read_max = 4096,
	.fault = "not the auth master protocol, or no handshake in time",
	.opened = on_open,
	.closed = on_closed,
	.lost = on_lost,
	.recv = take_input,
	.settled = on_settled,
	.output = output,
	.sent = sent,
	.deadline = deadline,
	.tick = tick,
};

static void on_renew(evutil_socket_t fd, short what, void *arg)
{
	struct lookup_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->retiring = true;
	retire(conn);
}

struct lookup_conn *lookup_conn_new(struct event_base *base, const char *path,
				    const struct lookup_conn_callbacks *calls,
				    void *ctx)
{
	struct lookup_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->path = path;
	conn->calls = calls;
	conn->ctx = ctx;
	conn->renew = evtimer_new(base, on_renew, conn);
	if (conn->renew == NULL)
		abort();
	conn->conn = dovecot_conn_new(base, path, &ops, conn);
	return conn;
}

void lookup_conn_free(struct lookup_conn **_conn)
{
	struct lookup_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	dovecot_conn_free(&conn->conn);
	event_free(conn->renew);
	free(conn);
}

bool lookup_conn_open(struct lookup_conn *conn)
{
	if (conn->lookup != NULL)
		return conn->told && !conn->retiring;
	dovecot_conn_dial(conn->conn);
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
		dovecot_conn_flush(conn->conn);
	}
	return id;
}
