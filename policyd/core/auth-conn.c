/* SPDX-License-Identifier: MIT */
/*
 * After a reload or restart of Dovecot the old auth process stays, with the old
 * configuration, as long as a connection to it is open ("auth clients should
 * disconnect soon", auth_die()). So the connection is renewed every RENEW_MS,
 * when no exchange is open. The caller does not notice: the machine queues the
 * exchanges that begin before the new handshake is over.
 */
#include "auth-conn.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "dovecot-conn.h"
#include "restante/clock.h"

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

struct auth_conn {
	const char *path;
	const struct auth_conn_callbacks *calls;
	void *ctx;
	struct dovecot_conn *conn;
	struct rst_auth *auth; /* NULL: not connected */
	struct event *renew;
	int64_t ready_ms;  /* when the handshake was over */
	unsigned int open; /* exchanges */
	char *told;        /* mechanisms last told to the caller; "": away */
	bool complained;   /* this outage has its log line */
};

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

static void on_lost(int error, const char *text, void *ctx)
{
	struct auth_conn *conn = ctx;

	(void)error;
	complain(conn, text);
	(void)event_del(conn->renew);
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
	dovecot_conn_ready(conn->conn);
	conn->ready_ms = clock_ms();
	schedule_renewal(conn, RENEW_MS);
	if (strcmp(mechanisms, conn->told) == 0)
		return; /* only renewed: nothing to tell */
	log_short(LOG_INFO, "Dovecot auth is ready", "mechanisms", mechanisms);
	tell_mechanisms(conn, mechanisms);
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

static void on_open(void *ctx)
{
	struct auth_conn *conn = ctx;
	struct rst_auth_limits limits = {
		.pid = (unsigned int)getpid(),
		.handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS,
		.request_timeout_ms = REQUEST_TIMEOUT_MS,
		.max_requests = MAX_REQUESTS,
		.slow_ms = SLOW_MS,
		.max_slow = MAX_SLOW};

	conn->auth = rst_auth_new(&limits, clock_ms());
}

static void on_closed(void *ctx)
{
	struct auth_conn *conn = ctx;

	rst_auth_free(&conn->auth);
	conn->open = 0;
}

static ssize_t take_input(const char *buf, size_t len, void *ctx)
{
	struct auth_conn *conn = ctx;
	ssize_t taken = rst_auth_recv(conn->auth, buf, len, clock_ms());
	struct rst_auth_event ev;

	while (rst_auth_next(conn->auth, &ev)) {
		on_event(conn, &ev);
	}
	return taken;
}

static const char *output(size_t *len_r, void *ctx)
{
	struct auth_conn *conn = ctx;

	return rst_auth_output(conn->auth, len_r);
}

static void sent(size_t len, void *ctx)
{
	struct auth_conn *conn = ctx;

	rst_auth_sent(conn->auth, len);
}

static int64_t deadline(void *ctx)
{
	struct auth_conn *conn = ctx;

	return rst_auth_deadline(conn->auth);
}

static void tick(int64_t now_ms, void *ctx)
{
	struct auth_conn *conn = ctx;

	rst_auth_tick(conn->auth, now_ms);
}

static const struct dovecot_conn_ops ops = {
	.input_max = 32768,
	.read_max = 1024, /* about sixteen answers */
	.fault = "not the auth protocol, or no answer in time",
	.opened = on_open,
	.closed = on_closed,
	.lost = on_lost,
	.recv = take_input,
	.output = output,
	.sent = sent,
	.deadline = deadline,
	.tick = tick,
};

/* The old connection is closed first: Dovecot refuses two with one CPID. */
static void on_renew(evutil_socket_t fd, short what, void *arg)
{
	struct auth_conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->open > 0 && clock_ms() - conn->ready_ms < RENEW_AT_LAST_MS) {
		schedule_renewal(conn, RENEW_RETRY_MS);
		return;
	}
	if (conn->open > 0)
		tell_mechanisms(conn, "");
	dovecot_conn_renew(conn->conn);
}

struct auth_conn *auth_conn_new(struct event_base *base, const char *path,
				const struct auth_conn_callbacks *calls,
				void *ctx)
{
	struct auth_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->path = path;
	conn->calls = calls;
	conn->ctx = ctx;
	conn->told = rst_strdup("");
	conn->renew = evtimer_new(base, on_renew, conn);
	if (conn->renew == NULL)
		abort();
	conn->conn = dovecot_conn_new(base, path, &ops, conn);
	dovecot_conn_dial(conn->conn);
	return conn;
}

void auth_conn_free(struct auth_conn **_conn)
{
	struct auth_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	dovecot_conn_free(&conn->conn);
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
	dovecot_conn_flush(conn->conn);
	return id;
}

int auth_conn_continue(struct auth_conn *conn, uint32_t id,
		       struct rst_str response)
{
	int ret;

	if (conn->auth == NULL)
		return RST_EPERM;
	ret = rst_auth_continue(conn->auth, id, response, clock_ms());
	dovecot_conn_flush(conn->conn);
	return ret;
}

void auth_conn_cancel(struct auth_conn *conn, uint32_t id)
{
	if (conn->auth == NULL)
		return;
	rst_auth_cancel(conn->auth, id);
	conn->open--;
	dovecot_conn_flush(conn->conn);
}
