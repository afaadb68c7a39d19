/* SPDX-License-Identifier: MIT */
/*
 * SIGNING_IN -> RECEIVING -> CLOSING -> CLOSED
 *      `------------------------^ (an error, or the end)
 *
 * CLOSING: the last output is being sent. CLOSED: it is sent, and our side is
 * shut. Input is read and thrown away until the server closes its side, too: by
 * then it has read all our replies.
 *
 * Every callback ends in pump(), which keeps the order: offer input to the
 * machine, pull its events, commit the messages that have ended, flush the
 * output, set the timer. A message that has ended waits in `pending` for others
 * that can be read already, so that they share the syncs of one commit.
 */
#include "restante-config.h"

#include "server-conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "log.h"
#include "restante/clock.h"
#include "restante/receiver.h"

/* Bounds of one commit: messages, each with an open file, and octets. */
#define PENDING_MAX 64
#define PENDING_OCTETS_MAX (4 * 1024 * 1024)
/* Of the files that the process may open, these are not for messages. */
#define FILES_BESIDE 32
/* Octets offered to a machine at a time. */
#define OFFER_MAX 16384
/* Octets of replies that the server has not read; with more, it is not read
   from either. */
#define OUTPUT_MAX 65536

enum phase {
	PHASE_SIGNING_IN,
	PHASE_RECEIVING,
	PHASE_CLOSING,
	PHASE_CLOSED,
};

struct message {
	struct store_message *stored;
	uint32_t ticket;
	bool answered;
	uint64_t octets;
	int64_t began_ms;
	char id[RST_ID_MAX + 1];
};

struct server_conn {
	struct server_conn_settings settings;
	struct bufferevent *bev;
	struct store *store;
	struct event *timer;
	server_conn_ended_func *ended;
	void *ctx;

	enum phase phase;
	struct rst_customer *customer;
	struct rst_receiver *receiver;
	bool signed_in;
	bool pumping; /* inside pump() */
	bool paused;  /* not reading */
	bool over;    /* call `ended` */
	bool broken;  /* the server broke the protocol */
	bool silent;  /* the server was silent for too long */

	bool receiving; /* `current` is a message that has not ended */
	struct message current;
	struct message pending[PENDING_MAX]; /* ended, for commit() */
	size_t pending_count, pending_max;
	uint64_t pending_octets;
	int64_t pending_ms; /* when the first of them ended */

	bool announced; /* SUMMARY came */
	uint64_t announced_messages;
	uint64_t answered, stored;
	int64_t last_input_ms;
	int64_t close_ms; /* when CLOSING and CLOSED are over */
	int64_t room_ms;  /* when to look for room; -1: never */
	enum server_conn_end end;
	char text[256];
};

/* ---- messages */

static void log_message(const struct message *msg)
{
	bool ok = store_verdict(msg->stored) == RST_VERDICT_OK;
	struct rst_logline line;

	if (!ok)
		rst_logline_begin(&line, "not stored");
	else if (store_repeated(msg->stored))
		rst_logline_begin(&line, "stored before");
	else
		rst_logline_begin(&line, "stored");
	rst_logline_cstr(&line, "id", msg->id);
	rst_logline_u64(&line, "octets", msg->octets);
	rst_logline_i64(&line, "ms", clock_ms() - msg->began_ms);
	if (ok)
		log_release(); /* there is something to report */
	log_line(ok ? LOG_INFO : LOG_DEBUG, &line);
}

static void answer(struct server_conn *conn, struct message *msg)
{
	enum rst_verdict verdict = store_verdict(msg->stored);

	if (!msg->answered)
		rst_receiver_done(conn->receiver, msg->ticket, verdict,
				  verdict == RST_VERDICT_OK
					  ? "Stored"
					  : "Cannot store mail now");
	msg->answered = true;
}

static void finish_message(struct server_conn *conn, struct message *msg)
{
	answer(conn, msg);
	log_message(msg);
	conn->answered++;
	if (store_verdict(msg->stored) == RST_VERDICT_OK)
		conn->stored++;
	store_message_free(&msg->stored);
}

/* @return events of poll(); 0 also without a socket */
static short socket_state(const struct server_conn *conn)
{
	struct pollfd poll_fd = {.fd = bufferevent_getfd(conn->bev),
				 .events = POLLIN | POLLRDHUP};

	if (poll_fd.fd < 0 || poll(&poll_fd, 1, 0) <= 0)
		return 0;
	return poll_fd.revents;
}

/* Octets received before a reset can still be read, so reads do not show it. */
static bool is_reset(const struct server_conn *conn)
{
	return (socket_state(conn) & (POLLERR | POLLHUP)) != 0;
}

static void start_closing(struct server_conn *conn, enum server_conn_end end,
			  const char *text);

/* The server would not hear that a message is stored, and another machine of
   the same user may be getting it: that is why a server resets a connection. */
static void discard_pending(struct server_conn *conn)
{
	while (conn->pending_count > 0)
		store_message_free(
			&conn->pending[--conn->pending_count].stored);
	start_closing(conn, SERVER_CONN_LOST,
		      "the server reset the connection");
}

/* @return whether there was a message */
static bool commit(struct server_conn *conn)
{
	struct store_message *msgs[PENDING_MAX];
	size_t i, count = conn->pending_count;

	if (count == 0)
		return false;
	if (is_reset(conn)) {
		discard_pending(conn);
		return true;
	}
	for (i = 0; i < count; i++)
		msgs[i] = conn->pending[i].stored;
	store_commit(conn->store, msgs, count);
	for (i = 0; i < count; i++)
		finish_message(conn, &conn->pending[i]);
	conn->pending_count = 0;
	return true;
}

static void message_begin(struct server_conn *conn,
			  const struct rst_receiver_event *ev)
{
	struct store_envelope env = {ev->id, ev->mail_from, ev->rcpt_to,
				     ev->size};
	struct message *msg = &conn->current;

	store_message_free(&msg->stored);
	*msg = (struct message){.ticket = ev->ticket, .began_ms = clock_ms()};
	(void)snprintf(msg->id, sizeof(msg->id), "%.*s", (int)ev->id.n,
		       ev->id.p);
	msg->stored = store_begin(conn->store, &env);
	conn->receiving = true;
	if (store_decided(msg->stored))
		answer(conn, msg);
}

static void message_octets(struct server_conn *conn,
			   const struct rst_receiver_event *ev)
{
	conn->current.octets += ev->octets.n;
	if (conn->receiving)
		store_octets(conn->current.stored, ev->octets);
}

static void message_end(struct server_conn *conn)
{
	struct message *msg = &conn->current;

	if (!conn->receiving)
		return;
	conn->receiving = false;
	store_end(msg->stored);
	if (msg->answered) {
		finish_message(conn, msg);
		return;
	}
	if (conn->pending_count == PENDING_MAX) /* the receiver bounds it */
		(void)commit(conn);
	if (conn->pending_count == 0) {
		conn->pending_octets = 0;
		conn->pending_ms = clock_ms();
	}
	conn->pending[conn->pending_count++] = *msg;
	conn->pending_octets += msg->octets;
	msg->stored = NULL;
}

static void message_cancel(struct server_conn *conn)
{
	conn->receiving = false;
	store_message_free(&conn->current.stored);
}

/* ---- events of the machines */

static void start_closing(struct server_conn *conn, enum server_conn_end end,
			  const char *text)
{
	if (conn->phase >= PHASE_CLOSING)
		return;
	conn->phase = PHASE_CLOSING;
	conn->end = end;
	(void)snprintf(conn->text, sizeof(conn->text), "%s", text);
	message_cancel(conn);
}

static void log_summary(const struct rst_receiver_event *ev)
{
	struct rst_logline line;

	rst_logline_begin(&line, "held");
	rst_logline_u64(&line, "messages", ev->messages);
	rst_logline_u64(&line, "octets", ev->total_octets);
	log_line(LOG_INFO, &line);
}

static void forget(struct server_conn *conn, struct rst_str id)
{
	struct rst_logline line;

	store_forget(conn->store, id);
	rst_logline_begin(&line, "forgotten");
	rst_logline_str(&line, "id", id);
	log_line(LOG_DEBUG, &line);
}

static void receiver_closed(struct server_conn *conn,
			    const struct rst_receiver_event *ev)
{
	enum server_conn_end end = SERVER_CONN_DISMISSED;
	char *text = rst_str_dup(ev->text);

	if (conn->broken)
		end = SERVER_CONN_BROKEN;
	else if (conn->silent)
		end = SERVER_CONN_LOST;
	if (ev->drained)
		start_closing(conn, SERVER_CONN_FINISHED, "QUIT");
	else
		start_closing(conn, end, text);
	free(text);
}

static void receiver_event(struct server_conn *conn,
			   const struct rst_receiver_event *ev)
{
	switch (ev->type) {
	case RST_RECEIVER_BEGIN:
		message_begin(conn, ev);
		break;
	case RST_RECEIVER_OCTETS:
		message_octets(conn, ev);
		break;
	case RST_RECEIVER_END:
		message_end(conn);
		break;
	case RST_RECEIVER_CANCEL:
		message_cancel(conn);
		break;
	case RST_RECEIVER_SUMMARY:
		log_summary(ev);
		/* a later one also counts messages on the way; 0 is final */
		if (!conn->announced || ev->messages == 0)
			conn->announced_messages = ev->messages;
		conn->announced = true;
		break;
	case RST_RECEIVER_FORGET:
		forget(conn, ev->id);
		break;
	case RST_RECEIVER_CLOSED:
		receiver_closed(conn, ev);
		break;
	}
}

static void pull_events(struct server_conn *conn)
{
	struct rst_receiver_event ev;

	while (conn->phase == PHASE_RECEIVING &&
	       rst_receiver_next(conn->receiver, &ev))
		receiver_event(conn, &ev);
}

/* Each message has a file open until it is committed. */
static size_t pending_max(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    files.rlim_cur >= PENDING_MAX + FILES_BESIDE)
		return PENDING_MAX;
	if (files.rlim_cur <= FILES_BESIDE)
		return 1;
	return files.rlim_cur - FILES_BESIDE;
}

static void make_receiver(struct server_conn *conn)
{
	const struct rst_receiver_limits limits = {
		.hostname = conn->settings.hostname,
		.max_pending = (unsigned int)conn->pending_max,
		.idle_timeout_ms = conn->settings.idle_timeout_ms,
	};

	conn->receiver = rst_receiver_new(&limits, clock_ms());
}

static void turn(struct server_conn *conn)
{
	log_short(LOG_INFO, "signed in", "user", conn->settings.customer.user);
	conn->signed_in = true;
	if (conn->receiver == NULL)
		make_receiver(conn);
	conn->phase = PHASE_RECEIVING;
}

/* A sign-in said at once is followed by the replies that it will need. */
static void say_ahead(struct server_conn *conn)
{
	if (!conn->settings.customer.pipelined ||
	    rst_customer_outcome(conn->customer) != RST_CUSTOMER_RUNNING)
		return;
	make_receiver(conn);
	rst_receiver_say_ahead(conn->receiver);
}

static void check_customer(struct server_conn *conn)
{
	const char *error = rst_customer_error(conn->customer);

	switch (rst_customer_outcome(conn->customer)) {
	case RST_CUSTOMER_RUNNING:
		break;
	case RST_CUSTOMER_TURNED:
		turn(conn);
		break;
	case RST_CUSTOMER_TEMPFAIL:
		start_closing(conn, SERVER_CONN_TEMPFAIL, error);
		break;
	case RST_CUSTOMER_REFUSED:
		start_closing(conn, SERVER_CONN_REFUSED, error);
		break;
	case RST_CUSTOMER_BROKEN:
		start_closing(conn, SERVER_CONN_BROKEN, error);
	}
}

/* With `once`: end when everything that was announced has come. */
static void check_drained(struct server_conn *conn)
{
	if (conn->settings.once && conn->phase == PHASE_RECEIVING &&
	    conn->announced && !conn->receiving && conn->pending_count == 0 &&
	    conn->answered >= conn->announced_messages)
		start_closing(conn, SERVER_CONN_FINISHED, "drained");
}

/* End the connection when the store has failed. Messages that have ended are
   answered 452; the server sends again those on the way. */
static void check_store(struct server_conn *conn)
{
	int error = store_failed(conn->store);

	if (store_moved(conn->store))
		start_closing(conn, SERVER_CONN_MOVED,
			      "the Maildir or the seen-log is another one now");
	else if (error != 0)
		start_closing(conn, SERVER_CONN_NO_ROOM, strerror(error));
}

/* ---- octets */

static ssize_t offer(struct server_conn *conn, const char *buf, size_t len)
{
	ssize_t taken;

	if (conn->phase == PHASE_RECEIVING)
		return rst_receiver_recv(conn->receiver, buf, len, clock_ms());
	taken = rst_customer_recv(conn->customer, buf, len, clock_ms());
	check_customer(conn);
	return taken;
}

/* @return octets taken; 0: none for now; < 0: the protocol is broken */
static ssize_t offer_input(struct server_conn *conn)
{
	struct evbuffer *input = bufferevent_get_input(conn->bev);
	struct evbuffer *output = bufferevent_get_output(conn->bev);
	size_t len = evbuffer_get_length(input);
	ssize_t taken;

	if (conn->phase >= PHASE_CLOSING) {
		evbuffer_drain(input, len);
		return 0;
	}
	if (len == 0 || evbuffer_get_length(output) > OUTPUT_MAX)
		return 0;
	if (len > OFFER_MAX)
		len = OFFER_MAX;
	taken = offer(conn, (char *)evbuffer_pullup(input, (ev_ssize_t)len),
		      len);
	if (taken > 0) {
		evbuffer_drain(input, (size_t)taken);
		conn->last_input_ms = clock_ms();
		conn->silent = false;
	}
	return taken;
}

static void send_octets(struct server_conn *conn, const char *octets, size_t n)
{
	if (n > 0)
		bufferevent_write(conn->bev, octets, n);
}

static void flush_output(struct server_conn *conn)
{
	const char *octets;
	size_t n;

	octets = rst_customer_output(conn->customer, &n);
	send_octets(conn, octets, n);
	rst_customer_sent(conn->customer, n);
	if (conn->receiver == NULL)
		return;
	octets = rst_receiver_output(conn->receiver, &n);
	send_octets(conn, octets, n);
	rst_receiver_sent(conn->receiver, n);
}

/* A server that does not read our replies is not read from either. */
static void set_reading(struct server_conn *conn)
{
	struct evbuffer *output = bufferevent_get_output(conn->bev);
	bool paused = evbuffer_get_length(output) > OUTPUT_MAX;

	if (paused == conn->paused)
		return;
	conn->paused = paused;
	if (paused)
		bufferevent_disable(conn->bev, EV_READ);
	else
		bufferevent_enable(conn->bev, EV_READ);
}

static void close_if_sent(struct server_conn *conn)
{
	struct evbuffer *output = bufferevent_get_output(conn->bev);

	if (conn->phase != PHASE_CLOSING || evbuffer_get_length(output) > 0)
		return;
	conn->phase = PHASE_CLOSED;
	if (conn->settings.half_close != NULL)
		conn->settings.half_close(conn->bev);
}

static void set_room_ms(struct server_conn *conn)
{
	int64_t interval_ms = conn->settings.room_interval_ms;

	if (interval_ms == 0 || !store_lacks_room(conn->store))
		conn->room_ms = -1;
	else if (conn->room_ms < 0)
		conn->room_ms = clock_ms() + interval_ms;
}

static int64_t next_deadline(struct server_conn *conn)
{
	int64_t ms;

	if (conn->phase >= PHASE_CLOSING)
		return conn->close_ms;
	if (conn->pending_count > 0)
		return clock_ms(); /* look again whether they have to wait */
	if (conn->phase == PHASE_SIGNING_IN)
		return rst_customer_deadline(conn->customer);
	ms = rst_receiver_deadline(conn->receiver);
	if (conn->settings.once)
		ms = clock_sooner(ms, conn->last_input_ms +
					      conn->settings.once_timeout_ms);
	set_room_ms(conn);
	return clock_sooner(ms, conn->room_ms);
}

static void set_timer(struct server_conn *conn)
{
	struct timeval wait;
	int64_t ms;

	if (conn->phase >= PHASE_CLOSING && conn->close_ms < 0)
		conn->close_ms = clock_ms() + conn->settings.close_timeout_ms;
	ms = next_deadline(conn);
	if (ms < 0) {
		evtimer_del(conn->timer);
		return;
	}
	wait = clock_timeval(ms - clock_ms());
	evtimer_add(conn->timer, &wait);
}

static void report_end(struct server_conn *conn)
{
	struct server_conn_result result = {
		.end = conn->end,
		.signed_in = conn->signed_in,
		.left = conn->answered - conn->stored,
		.stored = conn->stored,
		.text = conn->text,
	};

	if (conn->announced && conn->announced_messages > conn->answered)
		result.left += conn->announced_messages - conn->answered;
	evtimer_del(conn->timer);
	bufferevent_disable(conn->bev, EV_READ | EV_WRITE);
	bufferevent_setcb(conn->bev, NULL, NULL, NULL, NULL);
	conn->ended(&result, conn->ctx);
}

/* Will libevent read more at its next turn? It reads one record of a TLS
   connection at a time. A server that has shut its side sends no more. */
static bool more_comes(const struct server_conn *conn)
{
	return (socket_state(conn) &
		(POLLIN | POLLRDHUP | POLLHUP | POLLERR)) == POLLIN;
}

/* May the messages that have ended wait for others, to share their syncs? Not
   when no octets can be read: then no others come for now. */
static bool may_gather(const struct server_conn *conn)
{
	struct evbuffer *input = bufferevent_get_input(conn->bev);
	struct evbuffer *output = bufferevent_get_output(conn->bev);

	return conn->phase == PHASE_RECEIVING && !conn->broken &&
	       conn->pending_count < conn->pending_max &&
	       conn->pending_octets < PENDING_OCTETS_MAX &&
	       clock_ms() < conn->pending_ms + conn->settings.gather_ms &&
	       /* else the machine has left more than the beginning of a line:
		  it takes none before these are answered */
	       evbuffer_get_length(input) < RST_SMTP_LINE_MAX &&
	       evbuffer_get_length(output) <= OUTPUT_MAX && more_comes(conn);
}

/* @return whether there was a message to commit */
static bool commit_if_due(struct server_conn *conn)
{
	if (conn->pending_count == 0 || may_gather(conn))
		return false;
	return commit(conn);
}

static void pump(struct server_conn *conn)
{
	ssize_t taken;

	if (conn->pumping)
		return;
	conn->pumping = true;
	do {
		taken = offer_input(conn);
		if (taken < 0)
			conn->broken = true;
		pull_events(conn);
		if (taken <= 0)
			check_store(conn); /* before messages wait for others */
	} while (taken > 0 || commit_if_due(conn));
	if (conn->broken)
		start_closing(conn, SERVER_CONN_BROKEN,
			      "the server broke the protocol");
	check_store(conn);
	check_drained(conn);
	flush_output(conn);
	close_if_sent(conn);
	set_reading(conn);
	conn->pumping = false;
	if (conn->over)
		report_end(conn); /* may free conn */
	else
		set_timer(conn);
}

/* ---- callbacks */

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	pump(arg);
}

/* errno may be an older one: only values that a connection can have count. */
static const char *lost_text(short what)
{
	int error = EVUTIL_SOCKET_ERROR();

	if ((what & BEV_EVENT_ERROR) == 0)
		return "the server closed the connection";
	if (error == ETIMEDOUT || error == ECONNRESET || error == EPIPE ||
	    error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN)
		return strerror(error);
	return "the connection broke off";
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct server_conn *conn = arg;
	const char *text = lost_text(what);

	(void)bev;
	if (commit(conn)) /* a QUIT may have come behind the messages */
		pull_events(conn);
	start_closing(conn, SERVER_CONN_LOST, text);
	conn->over = true;
	pump(conn);
}

/* The file system does not tell when there is room. A message that is being
   received is not cut off for it. */
static void tick_room(struct server_conn *conn, int64_t now)
{
	if (conn->room_ms < 0 || now < conn->room_ms)
		return;
	conn->room_ms = -1;
	if (!conn->receiving && store_has_room_again(conn->store))
		start_closing(conn, SERVER_CONN_ROOM_AGAIN,
			      "there is room for what was too large");
}

static void tick_receiver(struct server_conn *conn, int64_t now)
{
	int64_t deadline = rst_receiver_deadline(conn->receiver);

	conn->silent = deadline >= 0 && now >= deadline;
	rst_receiver_tick(conn->receiver, now);
	if (conn->settings.once &&
	    now >= conn->last_input_ms + conn->settings.once_timeout_ms)
		start_closing(conn, SERVER_CONN_LOST, "nothing more comes");
	tick_room(conn, now);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct server_conn *conn = arg;
	int64_t now = clock_ms();

	(void)fd;
	(void)what;
	switch (conn->phase) {
	case PHASE_SIGNING_IN:
		rst_customer_tick(conn->customer, now);
		check_customer(conn);
		break;
	case PHASE_RECEIVING:
		tick_receiver(conn, now);
		break;
	case PHASE_CLOSING:
	case PHASE_CLOSED:
		conn->over = now >= conn->close_ms;
	}
	pump(conn);
}

struct server_conn *server_conn_new(struct bufferevent *bev,
				    struct store *store,
				    const struct server_conn_settings *settings,
				    server_conn_ended_func *ended, void *ctx)
{
	static const struct timeval at_once;
	struct server_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->settings = *settings;
	conn->bev = bev;
	conn->store = store;
	conn->ended = ended;
	conn->ctx = ctx;
	conn->pending_max = pending_max();
	conn->close_ms = conn->room_ms = -1;
	conn->last_input_ms = clock_ms();
	conn->customer = rst_customer_new(&settings->customer, clock_ms());
	say_ahead(conn);
	conn->timer = evtimer_new(bufferevent_get_base(bev), on_timer, conn);
	if (conn->timer == NULL)
		abort(); /* out of memory */
	bufferevent_setcb(bev, on_read, on_read, on_event, conn);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	/* the greeting may have come before the callbacks were set */
	evtimer_add(conn->timer, &at_once);
	return conn;
}

void server_conn_free(struct server_conn **_conn)
{
	struct server_conn *conn = *_conn;
	size_t i;

	*_conn = NULL;
	if (conn == NULL)
		return;
	bufferevent_free(conn->bev);
	event_free(conn->timer);
	rst_customer_free(&conn->customer);
	rst_receiver_free(&conn->receiver);
	store_message_free(&conn->current.stored);
	for (i = 0; i < conn->pending_count; i++)
		store_message_free(&conn->pending[i].stored);
	free(conn);
}

void server_conn_stop(struct server_conn *conn)
{
	start_closing(conn, SERVER_CONN_STOPPED, "stopped");
	pump(conn);
}
