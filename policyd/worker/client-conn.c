/* SPDX-License-Identifier: MIT */
/*
 *   HANDSHAKE --CONNECTED--> SIGN_IN --250 to ATRN--> PUSH
 *       |                       |                      |
 *       '-----------------------+----------------------'
 *                               v
 *                            CLOSING --both done--> ended, freed
 *
 * HANDSHAKE  TLS; no machine yet
 * SIGN_IN    rst_provider has the octets; the core answers its questions
 * PUSH       the drain has the octets
 * CLOSING    entered from everywhere, when the client left, broke a protocol,
 *            was dismissed, or took too long. Two things end side by side: the
 *            line (the last words leave, and the client closes, within
 *            close_ms), and the drain (acknowledgements are brought to the
 *            hold).
 *
 * Every callback ends in pump(), which alone moves octets and changes phases.
 */
#include "client-conn.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/tls.h"
#include "line.h"
#include "restante/clock.h"
#include "restante/provider.h"

#define MAX_AUTH_FAILURES 3
#define MAX_BAD_COMMANDS 10

enum phase {
	PHASE_HANDSHAKE,
	PHASE_SIGN_IN,
	PHASE_PUSH,
	PHASE_CLOSING
};

struct client_conn {
	struct event_base *base;
	struct line line;
	struct event *timer;
	uint64_t session;
	struct acceptor_peer peer;
	const struct client_conn_settings *settings;
	struct client_conn_callbacks callbacks;
	void *ctx;

	enum phase phase;
	struct rst_provider *provider; /* SIGN_IN */
	struct drain *drain;           /* from PUSH on */
	char *mechanisms;              /* the provider's view */
	char *user;                    /* NULL: not known yet */
	int64_t opened_ms, now_ms;
	int64_t close_ms; /* CLOSING: when the line is closed at last */

	bool connected; /* the handshake is done */
	bool lost;      /* the line is broken, or the client has closed it */
	bool closing;   /* CLOSING comes at the end of this turn */
	bool known;     /* the core has heard of this session */
	bool pumping, again;
	char reason[256]; /* why the session ended; the first reason counts */
};

static void pump(struct client_conn *conn);

void client_conn_settings_init(struct client_conn_settings *settings)
{
	*settings = (struct client_conn_settings){.congestion = "",
						  .close_ms = 5000};
	drain_settings_init(&settings->drain);
}

static void set_reason(struct client_conn *conn, const char *what,
		       const char *detail)
{
	if (conn->reason[0] != '\0')
		return;
	(void)snprintf(conn->reason, sizeof(conn->reason), "%s%s%s", what,
		       detail[0] == '\0' ? "" : ": ", detail);
}

static void to_core(struct client_conn *conn, struct rst_ipc msg)
{
	conn->known = true;
	msg.session = conn->session;
	conn->callbacks.to_core(&msg, conn->ctx);
}

static void to_core_text(struct client_conn *conn, enum rst_ipc_type type,
			 uint32_t id, struct rst_str a)
{
	to_core(conn, (struct rst_ipc){.type = type,
				       .id = id,
				       .a = a,
				       .b = RST_STR(""),
				       .c = RST_STR("")});
}

/* ---- log */

static void begin_logline(const struct client_conn *conn,
			  struct rst_logline *line, const char *message)
{
	rst_logline_begin(line, message);
	rst_logline_u64(line, "session", conn->session);
	rst_logline_cstr(line, "remote", conn->peer.address);
	if (conn->user != NULL)
		rst_logline_cstr(line, "user", conn->user);
}

static void log_session(const struct client_conn *conn, int level,
			const char *message, const char *key, const char *value)
{
	struct rst_logline line;

	begin_logline(conn, &line, message);
	if (key != NULL)
		rst_logline_cstr(&line, key, value);
	log_line(level, &line);
}

static void log_closed(const struct client_conn *conn)
{
	struct drain_counts counts = {0};
	struct rst_logline line;

	if (conn->drain != NULL)
		counts = drain_counts(conn->drain);
	begin_logline(conn, &line,
		      conn->connected ? "session closed" : "connection closed");
	rst_logline_cstr(&line, "reason", conn->reason);
	if (conn->user != NULL) {
		rst_logline_u64(&line, "pushed", counts.pushed);
		rst_logline_u64(&line, "octets", counts.octets);
		rst_logline_u64(&line, "refused", counts.refused);
		rst_logline_u64(&line, "deferred", counts.deferred);
		rst_logline_u64(&line, "unsettled", counts.unsettled);
	}
	rst_logline_i64(&line, "secs", (conn->now_ms - conn->opened_ms) / 1000);
	log_line(LOG_INFO, &line);
}

/* ---- input and output */

/* Offers octets to the machine of this phase. */
static ssize_t machine_recv(struct client_conn *conn, struct rst_str octets)
{
	if (conn->phase == PHASE_PUSH)
		return drain_recv(conn->drain, octets.p, octets.n,
				  conn->now_ms);
	return rst_provider_recv(conn->provider, octets.p, octets.n,
				 conn->now_ms);
}

/* @return octets taken, or negative: the client broke the protocol */
static ssize_t offer_input(struct client_conn *conn)
{
	struct rst_str octets = line_input(&conn->line);
	ssize_t taken;

	if (octets.n == 0)
		return 0;
	taken = machine_recv(conn, octets);
	if (taken > 0)
		line_take(&conn->line, (size_t)taken);
	return taken;
}

static const char *machine_output(const struct client_conn *conn, size_t *len_r)
{
	if (conn->drain != NULL)
		return drain_output(conn->drain, len_r);
	if (conn->provider != NULL)
		return rst_provider_output(conn->provider, len_r);
	*len_r = 0;
	return NULL;
}

/* @return octets moved from the machine to the line */
static size_t flush_output(struct client_conn *conn)
{
	bool plain = conn->drain != NULL && !drain_extended(conn->drain);
	size_t room = line_room(&conn->line), len;
	const char *data = machine_output(conn, &len);

	if (room == 0 || len == 0)
		return 0;
	/* a plain client has one message on its way at most, so it is written
	   whole */
	if (len > room && conn->drain != NULL && !plain)
		len = room;
	if (plain)
		line_write_lines(&conn->line, data, len);
	else
		line_write(&conn->line, data, len, conn->now_ms);
	if (conn->drain != NULL)
		drain_sent(conn->drain, len, conn->now_ms);
	else
		rst_provider_sent(conn->provider, len);
	return len;
}

/* ---- closing */

static void begin_closing(struct client_conn *conn)
{
	conn->phase = PHASE_CLOSING;
	conn->close_ms = conn->now_ms + conn->settings->close_ms;
	if (conn->drain != NULL && drain_aborted(conn->drain)) {
		line_reset(&conn->line);
		conn->lost = true;
	}
	if (conn->lost)
		line_close(&conn->line);
	else
		line_finish(&conn->line);
	if (conn->drain != NULL)
		drain_end(conn->drain, conn->now_ms);
}

/* The line is closed when the client has closed it too, or after close_ms. */
static void finish_line(struct client_conn *conn)
{
	line_take(&conn->line, SIZE_MAX);
	if (!conn->line.shut && flush_output(conn) == 0 &&
	    line_is_flushed(&conn->line) && !line_shut(&conn->line))
		conn->lost = true;
	if (conn->lost || conn->now_ms >= conn->close_ms)
		line_close(&conn->line);
}

static void closing_turn(struct client_conn *conn)
{
	if (conn->line.bev != NULL)
		finish_line(conn);
	if (conn->drain != NULL)
		drain_work(conn->drain, conn->now_ms);
}

static bool has_ended(const struct client_conn *conn)
{
	return conn->phase == PHASE_CLOSING && conn->line.bev == NULL &&
	       (conn->drain == NULL || drain_ended(conn->drain));
}

/* ---- sign-in */

static void ask_auth(struct client_conn *conn,
		     const struct rst_provider_event *ev)
{
	to_core(conn, (struct rst_ipc){
			      .type = RST_IPC_AUTH,
			      .id = ev->id,
			      .n = {conn->peer.port, ev->has_initial ? 1 : 0},
			      .a = ev->mechanism,
			      .b = ev->initial,
			      .c = rst_str(conn->peer.address),
		      });
}

static void on_provider_event(struct client_conn *conn,
			      const struct rst_provider_event *ev)
{
	switch (ev->type) {
	case RST_PROVIDER_AUTH:
		ask_auth(conn, ev);
		break;
	case RST_PROVIDER_AUTH_CONTINUE:
		to_core_text(conn, RST_IPC_AUTH_CONTINUE, ev->id, ev->initial);
		break;
	case RST_PROVIDER_AUTH_CANCEL:
		to_core_text(conn, RST_IPC_AUTH_CANCEL, 0, RST_STR(""));
		break;
	case RST_PROVIDER_ATRN:
		to_core_text(conn, RST_IPC_ATRN, ev->id, ev->domains);
		break;
	case RST_PROVIDER_CLOSE:
		set_reason(conn, "sign-in ended", "");
		conn->closing = true;
		break;
	}
}

static void on_drain_to_core(struct rst_ipc *msg, void *ctx)
{
	to_core(ctx, *msg);
}

static void drain_wake(void *ctx)
{
	pump(ctx);
}

/* Input that the provider did not take belongs to the push machine. */
static void turn_round(struct client_conn *conn)
{
	static const struct drain_callbacks callbacks = {on_drain_to_core,
							 drain_wake};

	while (flush_output(conn) > 0)
		;
	rst_provider_free(&conn->provider);
	conn->drain = drain_new(conn->base, &conn->settings->drain, conn->user,
				&callbacks, conn, conn->now_ms);
	line_measure(&conn->line, conn->now_ms);
	conn->phase = PHASE_PUSH;
	log_session(conn, LOG_INFO, "signed in", NULL, NULL);
}

static void sign_in_turn(struct client_conn *conn)
{
	struct rst_provider_event ev;
	ssize_t taken;

	if (conn->lost) {
		conn->closing = true;
		return;
	}
	rst_provider_tick(conn->provider, conn->now_ms);
	do {
		taken = offer_input(conn);
		while (rst_provider_next(conn->provider, &ev))
			on_provider_event(conn, &ev);
	} while (taken > 0);
	if (taken < 0) {
		set_reason(conn, "protocol error", "");
		conn->closing = true;
	}
	(void)flush_output(conn);
	if (rst_provider_turned(conn->provider))
		turn_round(conn);
}

static void start_sign_in(struct client_conn *conn)
{
	const struct rst_provider_limits limits = {
		.hostname = conn->settings->drain.hostname,
		.mechanisms = conn->mechanisms,
		.command_timeout_ms = conn->settings->sign_in_timeout_ms,
		.session_timeout_ms = conn->settings->sign_in_timeout_ms -
				      (conn->now_ms - conn->opened_ms),
		.max_auth_failures = MAX_AUTH_FAILURES,
		.max_bad_commands = MAX_BAD_COMMANDS,
	};

	log_session(conn, LOG_INFO, "session opened", "tls",
		    tls_version(conn->line.bev));
	conn->phase = PHASE_SIGN_IN;
	if (conn->mechanisms[0] != '\0') {
		conn->provider = rst_provider_new(&limits, conn->now_ms);
		return;
	}
	(void)evbuffer_add_printf(
		bufferevent_get_output(conn->line.bev),
		"421 4.3.0 %s Sign-in is not possible now\r\n",
		limits.hostname);
	set_reason(conn, "no mechanisms", "");
	conn->closing = true;
}

static void handshake_turn(struct client_conn *conn)
{
	if (conn->connected) {
		start_sign_in(conn);
		conn->again = true;
	} else if (conn->now_ms - conn->opened_ms >=
		   conn->settings->sign_in_timeout_ms) {
		set_reason(conn, "handshake took too long", "");
		conn->lost = true;
	}
	if (conn->lost)
		conn->closing = true;
}

/* ---- push */

static void push_turn(struct client_conn *conn)
{
	ssize_t taken;
	size_t moved;

	do {
		taken = offer_input(conn);
		drain_work(conn->drain, conn->now_ms);
		moved = conn->lost ? 0 : flush_output(conn);
		if (moved > 0)
			line_moved(&conn->line, moved, conn->now_ms);
	} while (taken > 0 || moved > 0);
	if (drain_over(conn->drain) != NULL) {
		set_reason(conn, drain_over(conn->drain), "");
		conn->closing = true;
	} else if (taken < 0) {
		set_reason(conn, "protocol error", "");
		conn->closing = true;
	} else if (conn->lost) {
		/* acknowledgements from before the loss were taken above */
		conn->closing = true;
	}
}

/* ---- the order of things */

static void set_timer(struct client_conn *conn)
{
	int64_t deadline = -1, other = -1;
	struct timeval tv;

	if (conn->phase == PHASE_HANDSHAKE)
		deadline = conn->opened_ms + conn->settings->sign_in_timeout_ms;
	else if (conn->phase == PHASE_SIGN_IN)
		deadline = rst_provider_deadline(conn->provider);
	else if (conn->phase == PHASE_CLOSING && conn->line.bev != NULL)
		deadline = conn->close_ms;
	if (conn->drain != NULL)
		other = drain_deadline(conn->drain);
	if (deadline < 0 || (other >= 0 && other < deadline))
		deadline = other;
	if (deadline < 0) {
		(void)evtimer_del(conn->timer);
		return;
	}
	tv = clock_timeval(deadline > conn->now_ms ? deadline - conn->now_ms
						   : 1);
	(void)evtimer_add(conn->timer, &tv);
}

static void turn(struct client_conn *conn)
{
	switch (conn->phase) {
	case PHASE_HANDSHAKE:
		handshake_turn(conn);
		break;
	case PHASE_SIGN_IN:
		sign_in_turn(conn);
		break;
	case PHASE_PUSH:
		push_turn(conn);
		break;
	case PHASE_CLOSING:
		closing_turn(conn);
		break;
	}
	if (conn->closing && conn->phase != PHASE_CLOSING) {
		begin_closing(conn);
		conn->again = true;
	}
}

static void finish(struct client_conn *conn)
{
	log_closed(conn);
	if (conn->known)
		to_core_text(conn, RST_IPC_CLOSED, 0, RST_STR(""));
	conn->callbacks.ended(conn, conn->ctx);
	client_conn_free(&conn);
}

static void pump(struct client_conn *conn)
{
	enum phase phase;

	if (conn->pumping) {
		conn->again = true;
		return;
	}
	conn->pumping = true;
	conn->now_ms = clock_ms();
	do {
		conn->again = false;
		phase = conn->phase;
		turn(conn);
	} while (conn->again || conn->phase != phase);
	conn->pumping = false;
	if (has_ended(conn)) {
		finish(conn);
		return;
	}
	if (conn->line.bev != NULL && conn->phase != PHASE_CLOSING)
		line_restrain(&conn->line);
	set_timer(conn);
}

static void on_io(struct bufferevent *bev, void *arg)
{
	(void)bev;
	pump(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct client_conn *conn = arg;

	if ((what & BEV_EVENT_CONNECTED) != 0) {
		conn->connected = true;
	} else {
		const char *error =
			(what & BEV_EVENT_ERROR) != 0 ? tls_error(bev) : "";

		set_reason(conn,
			   (what & BEV_EVENT_EOF) != 0 ? "client closed"
						       : "connection lost",
			   error);
		conn->lost = true;
	}
	pump(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

struct client_conn *client_conn_new(
	struct event_base *base, struct bufferevent *bev, bool handshaking,
	uint64_t session, const struct acceptor_peer *peer,
	const struct client_conn_settings *settings, const char *mechanisms,
	const struct client_conn_callbacks *callbacks, void *ctx)
{
	struct client_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->base = base;
	conn->session = session;
	conn->peer = *peer;
	conn->settings = settings;
	conn->mechanisms = rst_strdup(mechanisms);
	conn->callbacks = *callbacks;
	conn->ctx = ctx;
	conn->connected = !handshaking;
	conn->opened_ms = clock_ms();
	conn->timer = evtimer_new(base, on_timer, conn);
	if (conn->timer == NULL)
		abort();
	bufferevent_setcb(bev, on_io, on_io, on_event, conn);
	line_init(&conn->line, bev, settings->congestion,
		  settings->drain.reply_timeout_ms);
	pump(conn);
	return conn;
}

void client_conn_free(struct client_conn **_conn)
{
	struct client_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	line_close(&conn->line);
	event_free(conn->timer);
	rst_provider_free(&conn->provider);
	drain_free(&conn->drain);
	free(conn->mechanisms);
	free(conn->user);
	free(conn);
}

uint64_t client_conn_session(const struct client_conn *conn)
{
	return conn->session;
}

/* ---- from the core */

static void on_auth_done(struct client_conn *conn, const struct rst_ipc *msg)
{
	if (msg->verdict != RST_VERDICT_OK)
		log_session(conn, LOG_NOTICE, "sign-in refused", "verdict",
			    msg->verdict == RST_VERDICT_TEMPFAIL ? "temporary"
								 : "final");
	rst_provider_auth_done(conn->provider, msg->id, msg->verdict,
			       conn->now_ms);
}

static void on_atrn_done(struct client_conn *conn, const struct rst_ipc *msg)
{
	if (msg->verdict != RST_VERDICT_OK) {
		log_session(conn, LOG_NOTICE, "turnaround refused", "verdict",
			    msg->verdict == RST_VERDICT_TEMPFAIL ? "temporary"
								 : "final");
	} else if (conn->user == NULL) {
		conn->user = rst_str_dup(msg->a);
	}
	rst_provider_atrn_done(conn->provider, msg->id, msg->verdict,
			       conn->now_ms);
}

static void sign_in_answer(struct client_conn *conn, const struct rst_ipc *msg)
{
	if (conn->phase != PHASE_SIGN_IN || conn->provider == NULL)
		return;
	switch (msg->type) {
	case RST_IPC_AUTH_CHALLENGE:
		rst_provider_auth_continue(conn->provider, msg->id, msg->a,
					   conn->now_ms);
		break;
	case RST_IPC_AUTH_DONE:
		on_auth_done(conn, msg);
		break;
	case RST_IPC_ATRN_DONE:
		on_atrn_done(conn, msg);
		break;
	default:
		break;
	}
}

static void dismiss(struct client_conn *conn, const char *text,
		    int64_t settle_ms)
{
	set_reason(conn, "dismissed", text);
	if (conn->phase == PHASE_PUSH)
		drain_dismiss(conn->drain, text, settle_ms, conn->now_ms);
	else if (conn->phase == PHASE_SIGN_IN && conn->provider != NULL)
		rst_provider_close(conn->provider, text);
	else if (conn->phase == PHASE_HANDSHAKE)
		conn->lost = true;
}

void client_conn_dismiss(struct client_conn *conn, const char *text,
			 int64_t settle_ms)
{
	conn->now_ms = clock_ms();
	dismiss(conn, text, settle_ms);
	pump(conn);
}

bool client_conn_is_stranger(const struct client_conn *conn)
{
	return conn->drain == NULL;
}

void client_conn_drop(struct client_conn *conn)
{
	set_reason(conn, "others wait", "");
	conn->lost = true;
	pump(conn);
}

static void on_hold(struct client_conn *conn, int fd)
{
	if (conn->drain != NULL && evutil_make_socket_nonblocking(fd) == 0)
		drain_hold(conn->drain, fd, conn->now_ms);
	else
		(void)close(fd);
}

static void on_dismiss(struct client_conn *conn, const struct rst_ipc *msg)
{
	char *text = rst_str_dup(msg->a);

	dismiss(conn, text, conn->settings->drain.settle_ms);
	free(text);
}

void client_conn_from_core(struct client_conn *conn, const struct rst_ipc *msg,
			   int fd)
{
	conn->now_ms = clock_ms();
	switch (msg->type) {
	case RST_IPC_HELD:
		if (conn->drain != NULL)
			drain_held(conn->drain);
		break;
	case RST_IPC_HOLD:
		on_hold(conn, fd);
		break;
	case RST_IPC_HOLD_FAILED:
		if (conn->drain != NULL)
			drain_hold_failed(conn->drain, conn->now_ms);
		break;
	case RST_IPC_DISMISS:
		on_dismiss(conn, msg);
		break;
	default:
		sign_in_answer(conn, msg);
		break;
	}
	pump(conn);
}
