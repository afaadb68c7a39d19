/* SPDX-License-Identifier: MIT */
/*
 * The driver of rst_hold_server, which has the states and the rules. The
 * connection itself has the user, the locked hold, its marks, the walk over
 * all users, the streams and the time-outs. It is
 *
 *   reading   until a command has to wait or the machine has ended; also while
 *             the output is blocked, so that marks are heard
 *   listing   while the machine may list and little waits to be written
 *   walking   while there is a scan and little waits to be written
 *   ending    when the machine has ended and all output is written, or at once
 *             inside a message, or when a stream fails
 *
 * Between two messages the marks are carried out when a COMMIT has come, or
 * when they are many.
 */
#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-user.h"
#include "ostream.h"
#include "str.h"
#include "common/user.h"
#include "connection.h"
#include "fallback/fallback.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/look.h"
#include "hold/message.h"
#include "marks.h"
#include "mend.h"
#include "restante/hold-server.h"
#include "scan.h"

#include <unistd.h>

/* A slow client may take long to fetch what policyd has buffered for it. */
#define IDLE_TIMEOUT_MSECS (30 * 60 * 1000)
/* octets of output that may wait in memory */
#define OUTPUT_MAX (128 * 1024)
/* marks that are carried out without a COMMIT */
#define MARKS_BATCH 500
/* far more than a hold of any use has */
#define MARKS_MAX 1000000

struct rst_connection {
	struct mail_storage_service_ctx *storage;
	rst_connection_ended_func *ended;
	int fd;
	struct io *io; /* NULL: reading pauses */
	struct istream *input;
	struct ostream *output;
	struct timeout *to_idle;
	struct timeout *to_scan;

	struct rst_hold_server *server;
	struct rst_user user;
	struct rst_hold hold;      /* of user */
	struct rst_locked *locked; /* NULL: no hold, or not opened yet */
	struct rst_marks *marks;   /* NULL: no DRAIN or RELEASE yet */
	struct rst_scan *scan;
	unsigned int scan_rest_msecs; /* before it goes on */
	struct istream *body;         /* of the message that is going out */
	bool broken;                  /* the output stream has failed */
};

static void pump(struct rst_connection *conn);
static void on_input(struct rst_connection *conn);

static bool has_room(const struct rst_connection *conn)
{
	return o_stream_get_buffer_used_size(conn->output) < OUTPUT_MAX;
}

/* The output of the machine stands before any octets of a message that the
   driver writes itself. */
static void flush_lines(struct rst_connection *conn)
{
	size_t len;
	const char *lines = rst_hold_server_output(conn->server, &len);

	o_stream_nsend(conn->output, lines, len);
	rst_hold_server_sent(conn->server, len);
}

static void temp_failed(struct rst_connection *conn, const char *error)
{
	if (conn->user.user != NULL)
		e_error(conn->user.user->event, "%s", error);
	else
		i_error("%s", error);
	rst_hold_server_no(conn->server, RST_HOLD_NO_TEMP, error);
}

/* ---- the user */

static void say_held(struct rst_connection *conn,
		     const struct rst_hold_status *status)
{
	const struct rst_hold_server_held held = {
		.messages = status->messages,
		.octets = status->octets,
		.due = status->due,
		.full = rst_entry_is_full(&conn->hold),
	};

	rst_hold_server_ok(conn->server, rst_str(conn->user.user->username),
			   &held);
}

static void open_user(struct rst_connection *conn, struct rst_str name)
{
	struct rst_hold_status status;
	const char *error;
	int ret;

	ret = rst_user_open(conn->storage, t_strndup(name.p, name.n),
			    &conn->user, &error);
	if (ret == 0) {
		rst_hold_server_no(conn->server, RST_HOLD_NO_USER,
				   "no such user");
		return;
	}
	conn->hold.user = conn->user.user;
	conn->hold.settings = &conn->user.settings;
	if (ret < 0 || rst_look_estimate(&conn->hold, &status, &error) < 0) {
		temp_failed(conn, error);
		return;
	}
	rst_mend(&conn->hold, &status);
	/* a user who is not enrolled any more may still fetch what is there */
	if (!conn->user.settings.enrolled && status.messages == 0) {
		rst_hold_server_no(conn->server, RST_HOLD_NO_ENROLLED,
				   "not enrolled");
		return;
	}
	say_held(conn, &status);
}

/* ---- the hold */

/* @return whether this connection has the lock; if not, it was refused */
static bool lock_hold(struct rst_connection *conn)
{
	const char *error;
	int ret;

	if (conn->marks != NULL)
		return TRUE;
	ret = rst_locked_open(&conn->hold, &conn->locked, &error);
	if (ret < 0)
		temp_failed(conn, error);
	else if (ret == 0)
		rst_hold_server_no(conn->server, RST_HOLD_NO_BUSY,
				   "somebody else is emptying this hold");
	else
		conn->marks = rst_marks_new(&conn->hold, conn->locked);
	return ret > 0;
}

/* A fallback delivery that a crash has cut off comes first: its message is
   listed only if LMTP had not begun with it. */
static void finish_begun(struct rst_connection *conn)
{
	struct rst_fallback fallback = {
		.what = RST_RELEASE_BEGUN,
	};
	const char *error;

	if (!rst_locked_is_unresolved(conn->locked))
		return;
	if (rst_fallback_run(&fallback, conn->locked, &error) < 0)
		e_error(conn->user.user->event, "%s", error);
}

static void begin_listing(struct rst_connection *conn)
{
	if (!lock_hold(conn) || conn->locked == NULL)
		return;
	finish_begun(conn);
	rst_locked_drain(conn->locked);
}

static void continue_listing(struct rst_connection *conn)
{
	if (conn->locked != NULL)
		rst_locked_go_on(conn->locked);
}

static void add_mark(struct rst_connection *conn,
		     const struct rst_hold_server_event *ev)
{
	rst_marks_add(conn->marks, ev->id,
		      ev->type == RST_HOLD_SERVER_ACK ? NULL : &ev->text);
}

static void carry_out(struct rst_connection *conn)
{
	if (conn->marks == NULL)
		return;
	rst_marks_carry_out(conn->marks);
	rst_marks_answer(conn->marks, conn->server);
}

static void carry_out_many(struct rst_connection *conn)
{
	if (conn->marks != NULL && conn->body == NULL &&
	    rst_marks_pending(conn->marks) >= MARKS_BATCH)
		rst_marks_carry_out(conn->marks);
}

static void release(struct rst_connection *conn, enum rst_release_what what,
		    struct rst_str id)
{
	struct rst_hold_status status = {.due = 0};
	struct rst_fallback fallback = {
		.what = what,
		.id = t_strndup(id.p, id.n),
		.leased = rst_marks_is_leased,
	};
	const char *error;

	if (!lock_hold(conn))
		return;
	fallback.context = conn->marks;
	if (conn->locked != NULL &&
	    (rst_fallback_run(&fallback, conn->locked, &error) < 0 ||
	     rst_locked_count(conn->locked, &status, &error) < 0))
		temp_failed(conn, error);
	else
		rst_hold_server_released(conn->server, fallback.delivered,
					 fallback.failed, status.due);
}

/* @param listed only a connection that has seen all messages can tell what is
   left */
static void bye(struct rst_connection *conn, bool listed)
{
	const char *error;
	time_t due = 0;

	carry_out(conn);
	if (listed && conn->locked != NULL &&
	    rst_locked_next_due(conn->locked, &due, &error) < 0)
		due = -1;
	rst_hold_server_bye(conn->server, due);
}

/* ---- sending messages */

static void end_listing(struct rst_connection *conn)
{
	const char *error;

	rst_hold_server_end(conn->server);
	/* messages that a crash has kept from being expunged */
	if (conn->locked != NULL &&
	    rst_locked_expunge(conn->locked, &error) < 0)
		e_error(conn->user.user->event,
			"Messages that have left the hold cannot be removed "
			"from it: %s",
			error);
}

static void begin_message(struct rst_connection *conn,
			  const struct rst_message *message)
{
	const struct rst_hold_server_message msg = {
		.uid = message->uid,
		.id = rst_str(message->id),
		.size = message->size,
		.arrived = message->arrived,
		.mail_from = rst_str(message->mail_from),
		.rcpt_to = rst_str(message->rcpt_to),
	};

	rst_hold_server_message(conn->server, &msg);
	if (message->size > 0)
		conn->body = message->input;
}

static void next_message(struct rst_connection *conn)
{
	struct rst_message *message;
	const char *error;
	int ret = 0;

	if (conn->locked != NULL)
		ret = rst_locked_next(conn->locked, &message, &error);
	if (ret < 0)
		temp_failed(conn, error);
	else if (ret == 0)
		end_listing(conn);
	else if (!message->attempted && !message->incomplete &&
		 rst_marks_lease(conn->marks, message))
		begin_message(conn, message);
	flush_lines(conn);
}

static void send_body(struct rst_connection *conn)
{
	const unsigned char *data;
	size_t size;

	if (i_stream_read_more(conn->body, &data, &size) <= 0) {
		e_error(conn->user.user->event,
			"Held message cannot be read to its end: %s",
			conn->body->stream_errno == 0
				? "it has become shorter"
				: i_stream_get_error(conn->body));
		rst_hold_server_no(conn->server, RST_HOLD_NO_TEMP,
				   "a message cannot be read");
		return;
	}
	size = I_MIN(size, rst_hold_server_body_left(conn->server));
	o_stream_nsend(conn->output, data, size);
	i_stream_skip(conn->body, size);
	rst_hold_server_body_sent(conn->server, size);
	if (rst_hold_server_body_left(conn->server) == 0)
		conn->body = NULL;
}

/* ---- events */

static void start_scan(struct rst_connection *conn)
{
	const char *error;

	/* Dovecot does not say whether the userdb can never do it */
	if (rst_scan_start(conn->storage, &conn->scan, &error) < 0)
		rst_hold_server_no(conn->server, RST_HOLD_NO_LIST, error);
}

static void handle(struct rst_connection *conn,
		   const struct rst_hold_server_event *ev)
{
	switch (ev->type) {
	case RST_HOLD_SERVER_USER:
		open_user(conn, ev->user);
		break;
	case RST_HOLD_SERVER_SCAN:
		start_scan(conn);
		break;
	case RST_HOLD_SERVER_DRAIN:
		begin_listing(conn);
		break;
	case RST_HOLD_SERVER_MORE:
		continue_listing(conn);
		break;
	case RST_HOLD_SERVER_ACK:
	case RST_HOLD_SERVER_FALLBACK:
		add_mark(conn, ev);
		break;
	case RST_HOLD_SERVER_COMMIT:
		carry_out(conn);
		rst_hold_server_done(conn->server);
		break;
	case RST_HOLD_SERVER_RELEASE_ALL:
		release(conn, RST_RELEASE_ALL, ev->id);
		break;
	case RST_HOLD_SERVER_RELEASE_EXPIRED:
		release(conn, RST_RELEASE_EXPIRED, ev->id);
		break;
	case RST_HOLD_SERVER_RELEASE_ONE:
		release(conn, RST_RELEASE_ONE, ev->id);
		break;
	case RST_HOLD_SERVER_BYE:
		bye(conn, ev->listed);
		break;
	case RST_HOLD_SERVER_ERROR:
		i_error("hold protocol: %s", t_strndup(ev->text.p, ev->text.n));
		break;
	}
}

/* @return whether there was one */
static bool handle_events(struct rst_connection *conn)
{
	struct rst_hold_server_event ev;
	bool any = FALSE;

	while (rst_hold_server_next(conn->server, &ev)) {
		T_BEGIN
		{
			handle(conn, &ev);
		}
		T_END;
		flush_lines(conn);
		any = TRUE;
	}
	return any;
}

/* Takes the commands that are there. @return whether anything was done */
static bool take_input(struct rst_connection *conn)
{
	const unsigned char *data;
	size_t size, taken;
	bool any = FALSE, moved;

	do {
		data = i_stream_get_data(conn->input, &size);
		taken = rst_hold_server_recv(conn->server, (const char *)data,
					     size);
		i_stream_skip(conn->input, taken);
		flush_lines(conn);
		moved = handle_events(conn) || taken > 0;
		any = any || moved;
	} while (moved);
	return any;
}

/* ---- the connection */

static bool may_send(const struct rst_connection *conn)
{
	return !rst_hold_server_ended(conn->server) && has_room(conn) &&
	       (conn->body != NULL || rst_hold_server_may_list(conn->server));
}

static void send_some(struct rst_connection *conn)
{
	while (may_send(conn)) {
		if (conn->body != NULL) {
			send_body(conn);
			continue;
		}
		/* hear what was said while the last message went out */
		(void)i_stream_read(conn->input);
		(void)take_input(conn);
		carry_out_many(conn);
		if (may_send(conn))
			T_BEGIN
			{
				next_message(conn);
			}
		T_END;
	}
}

static void work(struct rst_connection *conn)
{
	do {
		send_some(conn);
		carry_out_many(conn);
	} while (take_input(conn));
}

static void end(struct rst_connection *conn)
{
	rst_connection_ended_func *ended = conn->ended;

	rst_connection_destroy(&conn);
	ended();
}

static bool has_ended(const struct rst_connection *conn)
{
	return conn->broken ||
	       (rst_hold_server_ended(conn->server) &&
		(rst_hold_server_body_left(conn->server) > 0 ||
		 o_stream_get_buffer_used_size(conn->output) == 0));
}

static void update_io(struct rst_connection *conn)
{
	if (!rst_hold_server_wants_input(conn->server))
		io_remove(&conn->io);
	else if (conn->io == NULL)
		conn->io = io_add(conn->fd, IO_READ, on_input, conn);
}

static void on_scan(struct rst_connection *conn);

static void update_scan(struct rst_connection *conn)
{
	bool more = conn->scan != NULL && has_room(conn);

	if (more && conn->to_scan == NULL)
		conn->to_scan =
			timeout_add_short(conn->scan_rest_msecs, on_scan, conn);
	else if (!more)
		timeout_remove(&conn->to_scan);
}

static void pump(struct rst_connection *conn)
{
	rst_user_enter(&conn->user);
	o_stream_cork(conn->output);
	work(conn);
	if (o_stream_uncork_flush(conn->output) < 0)
		conn->broken = TRUE;
	if (has_ended(conn)) {
		end(conn);
		return;
	}
	if (may_send(conn))
		o_stream_set_flush_pending(conn->output, TRUE);
	update_io(conn);
	update_scan(conn);
}

static void on_scan(struct rst_connection *conn)
{
	timeout_reset(conn->to_idle);
	timeout_remove(&conn->to_scan);
	if (!rst_scan_some(conn->scan, conn->server, &conn->scan_rest_msecs))
		rst_scan_free(&conn->scan);
	flush_lines(conn);
	pump(conn);
}

static void on_input(struct rst_connection *conn)
{
	timeout_reset(conn->to_idle);
	if (i_stream_read(conn->input) == -1) {
		end(conn);
		return;
	}
	pump(conn);
}

static int on_output(struct rst_connection *conn)
{
	int ret = o_stream_flush(conn->output);

	if (ret < 0) {
		end(conn);
		return 1;
	}
	timeout_reset(conn->to_idle);
	if (ret > 0 ||
	    o_stream_get_buffer_used_size(conn->output) < OUTPUT_MAX / 2)
		pump(conn);
	return 1;
}

static void on_idle(struct rst_connection *conn)
{
	i_error("hold protocol: no progress for %u minutes, closing",
		IDLE_TIMEOUT_MSECS / 60000);
	end(conn);
}

struct rst_connection *
rst_connection_create(int fd, struct mail_storage_service_ctx *storage,
		      rst_connection_ended_func *ended)
{
	const struct rst_hold_server_limits limits = {.max_marks = MARKS_MAX};
	struct rst_connection *conn = i_new(struct rst_connection, 1);

	conn->storage = storage;
	conn->ended = ended;
	conn->fd = fd;
	conn->server = rst_hold_server_new(&limits);
	conn->input = i_stream_create_fd(fd, RST_HOLD_LINE_MAX);
	conn->output = o_stream_create_fd(fd, SIZE_MAX);
	o_stream_set_no_error_handling(conn->output, TRUE);
	o_stream_set_flush_callback(conn->output, on_output, conn);
	conn->to_idle = timeout_add(IDLE_TIMEOUT_MSECS, on_idle, conn);
	conn->io = io_add(fd, IO_READ, on_input, conn);
	return conn;
}

/* Marks that have been read, or may still be read, are carried out: the
   dialler's clients have those messages. */
static void carry_out_rest(struct rst_connection *conn)
{
	conn->body = NULL;
	if (conn->marks == NULL)
		return;
	rst_hold_server_hang_up(conn->server);
	do
		(void)take_input(conn);
	while (rst_hold_server_wants_input(conn->server) &&
	       i_stream_read(conn->input) > 0);
	rst_marks_carry_out(conn->marks);
}

void rst_connection_destroy(struct rst_connection **_conn)
{
	struct rst_connection *conn = *_conn;

	*_conn = NULL;
	rst_user_enter(&conn->user);
	timeout_remove(&conn->to_idle);
	timeout_remove(&conn->to_scan);
	io_remove(&conn->io);
	carry_out_rest(conn);
	rst_marks_free(&conn->marks);
	rst_locked_close(&conn->locked);
	rst_scan_free(&conn->scan);
	rst_user_close(&conn->user);
	rst_hold_server_free(&conn->server);
	o_stream_abort(conn->output);
	o_stream_destroy(&conn->output);
	i_stream_destroy(&conn->input);
	i_close_fd(&conn->fd);
	i_free(conn);
}
