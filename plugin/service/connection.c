/* SPDX-License-Identifier: MIT */
/*
 *   VERSION   until the dialler has said which protocol it speaks
 *   WHO       until USER or SCAN
 *   OPEN      commands; with `draining`, messages go out one after the other
 *   SCAN      a walk over all users
 *   CLOSING   nothing is read any more; ends when the output is written
 *
 * Input is read also while the output is blocked, so that marks are heard. A
 * command that must wait for the end of a drain stays in the input buffer, and
 * reading pauses. Between two messages, marks are carried out when a COMMIT
 * has come or when they are many.
 */
#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-user.h"
#include "ostream.h"
#include "str.h"
#include "str-sanitize.h"
#include "strescape.h"
#include "common/user.h"
#include "connection.h"
#include "fallback/fallback.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/look.h"
#include "hold/message.h"
#include "marks.h"
#include "restante/hold.h"
#include "scan.h"

#include <unistd.h>

/* A slow client may take long to fetch what policyd has buffered for it. */
#define IDLE_TIMEOUT_MSECS (30 * 60 * 1000)
/* what may wait in memory to be written */
#define OUTPUT_MAX (128 * 1024)
#define MARKS_BATCH 500

enum state {
	STATE_VERSION,
	STATE_WHO,
	STATE_OPEN,
	STATE_SCAN,
	STATE_CLOSING
};

struct rst_connection {
	struct mail_storage_service_ctx *storage;
	rst_connection_ended_func *ended;
	int fd;
	struct io *io; /* NULL: reading pauses */
	struct istream *input;
	struct ostream *output;
	struct timeout *to_idle;
	struct timeout *to_scan;

	enum state state;
	struct rst_user user;
	struct rst_hold hold;      /* of user */
	struct rst_locked *locked; /* NULL: no hold, or not opened yet */
	struct rst_marks *marks;   /* NULL: no DRAIN or RELEASE yet */
	struct rst_scan *scan;
	unsigned int scan_rest_msecs; /* before it goes on */

	bool drained; /* DRAIN has been said */
	bool draining;
	bool bye;
	bool broken;          /* close without another word */
	unsigned int commits; /* to be answered between two messages */
	unsigned int sent;    /* of this drain */
	struct istream *body; /* of the message that is going out */
	uoff_t body_left;
};

static void pump(struct rst_connection *client);
static void on_input(struct rst_connection *client);

/* ---- saying */

static void say(struct rst_connection *client, const string_t *lines)
{
	o_stream_nsend(client->output, str_data(lines), str_len(lines));
}

static void say_no(struct rst_connection *client, const char *code,
		   const char *text)
{
	string_t *line = t_str_new(128);

	str_printfa(line, "NO\t%s\t", code);
	str_append_tabescaped(line, text);
	str_append_c(line, '\n');
	client->state = STATE_CLOSING;
	/* a line has no place within a message */
	if (client->body != NULL)
		client->broken = TRUE;
	else
		say(client, line);
}

static int temp_failed(struct rst_connection *client, const char *error)
{
	if (client->user.user != NULL)
		e_error(client->user.user->event, "%s", error);
	else
		i_error("%s", error);
	say_no(client, RST_HOLD_NO_TEMP, error);
	return -1;
}

static int proto_failed(struct rst_connection *client, const char *text)
{
	i_error("hold protocol: %s", text);
	say_no(client, RST_HOLD_NO_PROTO, text);
	return -1;
}

/* ---- the hold */

/* @return 0, or -1: refused */
static int open_store(struct rst_connection *client)
{
	const char *error;
	int ret;

	if (client->marks != NULL)
		return 0;
	ret = rst_locked_open(&client->hold, &client->locked, &error);
	if (ret < 0)
		return temp_failed(client, error);
	if (ret == 0) {
		say_no(client, RST_HOLD_NO_BUSY,
		       "somebody else is emptying this hold");
		return -1;
	}
	client->marks = rst_marks_new(&client->hold, client->locked);
	return 0;
}

static void answer_marks(struct rst_connection *client, bool done)
{
	string_t *lines = str_new(default_pool, 256);

	rst_marks_carry_out(client->marks);
	rst_marks_answer(client->marks, lines);
	if (done)
		str_append(lines, "DONE\n");
	say(client, lines);
	str_free(&lines);
}

/* What is left, by those who have looked at all. */
static void say_bye(struct rst_connection *client)
{
	const char *error;
	time_t due = 0;

	if (!client->drained || client->draining ||
	    (client->locked != NULL &&
	     rst_locked_next_due(client->locked, &due, &error) < 0))
		o_stream_nsend_str(client->output, "BYE\n");
	else
		o_stream_nsend_str(client->output,
				   t_strdup_printf("BYE\t%s\n", dec2str(due)));
}

/* Between two messages, or when none are being sent. */
static void at_boundary(struct rst_connection *client)
{
	while (client->commits > 0) {
		client->commits--;
		answer_marks(client, TRUE);
	}
	if (client->marks != NULL &&
	    rst_marks_pending(client->marks) >= MARKS_BATCH)
		rst_marks_carry_out(client->marks);
	if (!client->bye)
		return;
	if (client->marks != NULL)
		answer_marks(client, FALSE);
	say_bye(client);
	client->state = STATE_CLOSING;
}

/* ---- sending messages */

static void say_message(struct rst_connection *client,
			const struct rst_message *message)
{
	string_t *line = t_str_new(256);

	str_printfa(line, "MSG\t%u\t%s\t%" PRIuUOFF_T "\t%s\t", message->uid,
		    message->id, message->size, dec2str(message->arrived));
	str_append_tabescaped(line, message->mail_from);
	str_append_c(line, '\t');
	str_append_tabescaped(line, message->rcpt_to);
	str_append_c(line, '\n');
	say(client, line);
	client->body = message->input;
	client->body_left = message->size;
	client->sent++;
}

static void end_drain(struct rst_connection *client)
{
	const char *error;

	client->draining = FALSE;
	o_stream_nsend_str(client->output,
			   t_strdup_printf("END\t%u\n", client->sent));
	/* what an earlier crash has left behind */
	if (client->locked != NULL &&
	    rst_locked_expunge(client->locked, &error) < 0)
		e_error(client->user.user->event,
			"Messages that have left the hold cannot be removed "
			"from it: %s",
			error);
}

static void next_message(struct rst_connection *client)
{
	struct rst_message *message;
	const char *error;
	int ret = 0;

	if (client->locked != NULL)
		ret = rst_locked_next(client->locked, &message, &error);
	if (ret < 0)
		(void)temp_failed(client, error);
	else if (ret == 0)
		end_drain(client);
	else if (!message->attempted && !message->incomplete &&
		 rst_marks_lease(client->marks, message))
		say_message(client, message);
}

static void send_body(struct rst_connection *client)
{
	const unsigned char *data;
	size_t size;

	if (client->body_left > 0 &&
	    i_stream_read_more(client->body, &data, &size) <= 0) {
		e_error(client->user.user->event,
			"Held message cannot be read to its end: %s",
			client->body->stream_errno == 0
				? "it has become shorter"
				: i_stream_get_error(client->body));
		client->state = STATE_CLOSING;
		client->broken = TRUE;
		return;
	}
	if (client->body_left > 0) {
		size = I_MIN(size, client->body_left);
		o_stream_nsend(client->output, data, size);
		i_stream_skip(client->body, size);
		client->body_left -= size;
	}
	if (client->body_left == 0)
		client->body = NULL;
}

/* ---- commands. They return 1: done; 0: not before the drain has ended; -1:
   the connection is closing. */

typedef int command_func(struct rst_connection *client,
			 const struct rst_str *fields);

static int cmd_version(struct rst_connection *client,
		       const struct rst_str *fields)
{
	if (!rst_str_eq(fields[1], RST_STR("restante-hold")) ||
	    !rst_str_eq(fields[2], RST_STR("1")))
		return proto_failed(client, "another protocol or version");
	o_stream_nsend_str(client->output, "VERSION\trestante-hold\t1\t0\n");
	client->state = STATE_WHO;
	return 1;
}

static void say_ok(struct rst_connection *client,
		   const struct rst_hold_status *status)
{
	o_stream_nsend_str(client->output,
			   t_strdup_printf("OK\t%u\t%" PRIuUOFF_T "\t%s\n",
					   status->messages, status->octets,
					   dec2str(status->due)));
	client->state = STATE_OPEN;
}

/*
 * They have left, and somebody was kept from removing them. It is done here, as
 * a client that is told that nothing is held may be gone before the end of the
 * drain that would do it.
 */
static void remove_leftovers(struct rst_hold *hold)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;
	int ret;

	ret = rst_locked_open(hold, &locked, &error);
	if (ret > 0 && locked != NULL) {
		/* one that has just come is not for us */
		ret = rst_locked_next(locked, &message, &error);
		if (ret == 0)
			ret = rst_locked_expunge(locked, &error);
		rst_locked_close(&locked);
	}
	if (ret < 0)
		e_error(hold->user->event,
			"What has left the hold cannot be removed: %s", error);
}

static int cmd_user(struct rst_connection *client, const struct rst_str *fields)
{
	struct rst_hold_status status;
	const char *name = t_strndup(fields[1].p, fields[1].n);
	const char *error;
	int ret;

	ret = rst_user_open(client->storage, name, &client->user, &error);
	if (ret < 0)
		return temp_failed(client, error);
	if (ret == 0) {
		say_no(client, RST_HOLD_NO_USER, "no such user");
		return -1;
	}
	client->hold.user = client->user.user;
	client->hold.settings = &client->user.settings;
	if (rst_look_estimate(&client->hold, &status, &error) < 0)
		return temp_failed(client, error);
	/* who is not enrolled any more may still fetch what is there */
	if (!client->user.settings.enrolled && status.messages == 0) {
		say_no(client, RST_HOLD_NO_ENROLLED, "not enrolled");
		return -1;
	}
	if (status.leftovers > 0)
		remove_leftovers(&client->hold);
	say_ok(client, &status);
	return 1;
}

static int cmd_scan(struct rst_connection *client,
		    const struct rst_str *fields ATTR_UNUSED)
{
	const char *error;

	client->state = STATE_SCAN;
	if (rst_scan_start(client->storage, &client->scan, &error) < 0)
		return temp_failed(client, error);
	return 1;
}

/* A fallback delivery that a crash has cut off comes first: what it was about
   is listed only if it has not begun. */
static void finish_release(struct rst_connection *client)
{
	struct rst_fallback release = {
		.what = RST_RELEASE_BEGUN,
	};
	const char *error;

	if (client->locked == NULL || !rst_locked_is_unresolved(client->locked))
		return;
	if (rst_fallback_run(&release, client->locked, &error) < 0)
		e_error(client->user.user->event, "%s", error);
}

static int start_drain(struct rst_connection *client, bool from_start)
{
	if (client->draining)
		return 0;
	if (open_store(client) < 0)
		return -1;
	if (from_start)
		finish_release(client);
	if (client->locked != NULL && from_start)
		rst_locked_drain(client->locked);
	else if (client->locked != NULL)
		rst_locked_go_on(client->locked);
	client->drained = TRUE;
	client->draining = TRUE;
	client->sent = 0;
	return 1;
}

static int cmd_drain(struct rst_connection *client,
		     const struct rst_str *fields ATTR_UNUSED)
{
	return start_drain(client, TRUE);
}

static int cmd_more(struct rst_connection *client,
		    const struct rst_str *fields ATTR_UNUSED)
{
	if (!client->drained)
		return proto_failed(client, "MORE before DRAIN");
	return start_drain(client, FALSE);
}

static int add_mark(struct rst_connection *client, struct rst_str id,
		    const struct rst_str *refused)
{
	if (!client->drained || !rst_id_valid(id))
		return proto_failed(client, "a mark before DRAIN, or of a bad "
					    "id");
	if (!rst_marks_add(client->marks, id, refused))
		return proto_failed(client, "too many marks without COMMIT");
	return 1;
}

static int cmd_ack(struct rst_connection *client, const struct rst_str *fields)
{
	return add_mark(client, fields[1], NULL);
}

static int cmd_fallback(struct rst_connection *client,
			const struct rst_str *fields)
{
	return add_mark(client, fields[1], &fields[2]);
}

static int cmd_commit(struct rst_connection *client,
		      const struct rst_str *fields ATTR_UNUSED)
{
	if (!client->drained)
		return proto_failed(client, "COMMIT before DRAIN");
	client->commits++;
	return 1;
}

static int set_release(struct rst_fallback *release, struct rst_str what)
{
	if (rst_str_eq(what, RST_STR("ALL")))
		release->what = RST_RELEASE_ALL;
	else if (rst_str_eq(what, RST_STR("EXPIRED")))
		release->what = RST_RELEASE_EXPIRED;
	else if (rst_id_valid(what)) {
		release->what = RST_RELEASE_ONE;
		release->id = t_strndup(what.p, what.n);
	} else
		return -1;
	return 0;
}

/* @return 0, or -1: error_r */
static int release_held(struct rst_connection *client,
			struct rst_fallback *release,
			struct rst_hold_status *status_r, const char **error_r)
{
	i_zero(status_r);
	if (client->locked == NULL)
		return 0;
	release->leased = rst_marks_is_leased;
	release->context = client->marks;
	if (rst_fallback_run(release, client->locked, error_r) < 0)
		return -1;
	return rst_locked_count(client->locked, status_r, error_r);
}

static int cmd_release(struct rst_connection *client,
		       const struct rst_str *fields)
{
	struct rst_fallback release;
	struct rst_hold_status status;
	const char *error;

	if (client->draining)
		return 0;
	i_zero(&release);
	if (set_release(&release, fields[1]) < 0)
		return proto_failed(client, "RELEASE of what?");
	if (open_store(client) < 0)
		return -1;
	if (release_held(client, &release, &status, &error) < 0)
		return temp_failed(client, error);
	o_stream_nsend_str(client->output,
			   t_strdup_printf("RELEASED\t%u\t%u\t%s\n",
					   release.delivered, release.failed,
					   dec2str(status.due)));
	return 1;
}

static int cmd_bye(struct rst_connection *client,
		   const struct rst_str *fields ATTR_UNUSED)
{
	client->bye = TRUE;
	return 1;
}

static const struct {
	const char *word;
	ssize_t fields; /* at least */
	enum state state;
	command_func *handle;
} commands[] = {
	{"VERSION", 4, STATE_VERSION, cmd_version},
	{"USER", 2, STATE_WHO, cmd_user},
	{"SCAN", 1, STATE_WHO, cmd_scan},
	{"DRAIN", 1, STATE_OPEN, cmd_drain},
	{"MORE", 1, STATE_OPEN, cmd_more},
	{"ACK", 2, STATE_OPEN, cmd_ack},
	{"FALLBACK", 3, STATE_OPEN, cmd_fallback},
	{"COMMIT", 1, STATE_OPEN, cmd_commit},
	{"RELEASE", 2, STATE_OPEN, cmd_release},
	{"BYE", 1, STATE_OPEN, cmd_bye},
};

static int handle_line(struct rst_connection *client, const unsigned char *data,
		       size_t len)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	/* a copy: splitting unescapes in place, and the line may have to wait
	 */
	char *line = t_malloc0(len + 1);
	ssize_t count;
	unsigned int i;

	memcpy(line, data, len);
	count = rst_hold_split(line, len, fields);
	for (i = 0; count > 0 && i < N_ELEMENTS(commands); i++) {
		if (commands[i].state == client->state &&
		    count >= commands[i].fields &&
		    rst_str_eq(fields[0], rst_str(commands[i].word)))
			return commands[i].handle(client, fields);
	}
	return proto_failed(
		client, count < 0
				? "malformed line"
				: t_strdup_printf("%s: not now, or not at all",
						  str_sanitize(line, 32)));
}

/* ---- input */

/* Take the lines that are there. @return whether any was taken */
static bool take_lines(struct rst_connection *client)
{
	const unsigned char *data, *lf;
	size_t size;
	bool taken = FALSE;
	int ret = 1;

	while (client->state != STATE_CLOSING && client->state != STATE_SCAN &&
	       !client->bye) {
		data = i_stream_get_data(client->input, &size);
		lf = memchr(data, '\n', size);
		if (lf == NULL) {
			if (size >= RST_HOLD_LINE_MAX)
				(void)proto_failed(client, "line too long");
			break;
		}
		size = lf - data;
		T_BEGIN
		{
			ret = handle_line(client, data, size);
		}
		T_END;
		if (ret == 0)
			break;
		i_stream_skip(client->input, size + 1);
		taken = TRUE;
	}
	return taken;
}

/* Reading pauses while a whole line waits in the buffer, or nothing more is
   wanted. */
static void update_io(struct rst_connection *client)
{
	const unsigned char *data;
	size_t size;
	bool wanted;

	data = i_stream_get_data(client->input, &size);
	wanted = client->state != STATE_CLOSING && !client->bye &&
		 memchr(data, '\n', size) == NULL;
	if (!wanted)
		io_remove(&client->io);
	else if (client->io == NULL)
		client->io = io_add(client->fd, IO_READ, on_input, client);
}

/* ---- the connection */

static bool may_send(struct rst_connection *client)
{
	return client->state == STATE_OPEN && client->draining &&
	       o_stream_get_buffer_used_size(client->output) < OUTPUT_MAX;
}

static void send_some(struct rst_connection *client)
{
	while (may_send(client)) {
		if (client->body != NULL) {
			send_body(client);
			continue;
		}
		/* hear what was said while the last one went out */
		(void)i_stream_read(client->input);
		(void)take_lines(client);
		at_boundary(client);
		if (may_send(client))
			T_BEGIN
			{
				next_message(client);
			}
		T_END;
	}
}

static void work(struct rst_connection *client)
{
	do {
		send_some(client);
		if (client->body == NULL && client->state == STATE_OPEN)
			at_boundary(client);
	} while (take_lines(client));
}

static void end(struct rst_connection *client)
{
	rst_connection_ended_func *ended = client->ended;

	rst_connection_destroy(&client);
	ended();
}

static void on_scan(struct rst_connection *client);

static void continue_scan(struct rst_connection *client)
{
	bool more = client->scan != NULL && client->state == STATE_SCAN &&
		    o_stream_get_buffer_used_size(client->output) < OUTPUT_MAX;

	if (more && client->to_scan == NULL)
		client->to_scan = timeout_add_short(client->scan_rest_msecs,
						    on_scan, client);
	else if (!more)
		timeout_remove(&client->to_scan);
}

static void pump(struct rst_connection *client)
{
	rst_user_enter(&client->user);
	o_stream_cork(client->output);
	work(client);
	if (o_stream_uncork_flush(client->output) < 0)
		client->broken = TRUE;
	if (client->broken ||
	    (client->state == STATE_CLOSING &&
	     o_stream_get_buffer_used_size(client->output) == 0)) {
		end(client);
		return;
	}
	if (may_send(client))
		o_stream_set_flush_pending(client->output, TRUE);
	update_io(client);
	continue_scan(client);
}

static void on_scan(struct rst_connection *client)
{
	string_t *lines = str_new(default_pool, 1024);

	timeout_reset(client->to_idle);
	timeout_remove(&client->to_scan);
	if (!rst_scan_some(client->scan, lines, &client->scan_rest_msecs)) {
		rst_scan_free(&client->scan);
		client->state = STATE_CLOSING;
	}
	say(client, lines);
	str_free(&lines);
	pump(client);
}

static void on_input(struct rst_connection *client)
{
	timeout_reset(client->to_idle);
	if (i_stream_read(client->input) == -1) {
		end(client);
		return;
	}
	pump(client);
}

static int on_output(struct rst_connection *client)
{
	int ret = o_stream_flush(client->output);

	if (ret < 0) {
		end(client);
		return 1;
	}
	timeout_reset(client->to_idle);
	if (ret > 0 ||
	    o_stream_get_buffer_used_size(client->output) < OUTPUT_MAX / 2)
		pump(client);
	return 1;
}

static void on_idle(struct rst_connection *client)
{
	i_error("hold protocol: no progress for %u minutes, closing",
		IDLE_TIMEOUT_MSECS / 60000);
	end(client);
}

struct rst_connection *
rst_connection_create(int fd, struct mail_storage_service_ctx *storage,
		      rst_connection_ended_func *ended)
{
	struct rst_connection *client = i_new(struct rst_connection, 1);

	client->storage = storage;
	client->ended = ended;
	client->fd = fd;
	client->input = i_stream_create_fd(fd, RST_HOLD_LINE_MAX);
	client->output = o_stream_create_fd(fd, SIZE_MAX);
	o_stream_set_no_error_handling(client->output, TRUE);
	o_stream_set_flush_callback(client->output, on_output, client);
	client->to_idle = timeout_add(IDLE_TIMEOUT_MSECS, on_idle, client);
	client->io = io_add(fd, IO_READ, on_input, client);
	return client;
}

/* Marks that have been read, or may still be read, are carried out: the
   dialler's clients have those messages. */
static void carry_out_rest(struct rst_connection *client)
{
	client->body = NULL;
	client->draining = FALSE;
	if (client->marks == NULL)
		return;
	do
		(void)take_lines(client);
	while (client->state == STATE_OPEN && i_stream_read(client->input) > 0);
	rst_marks_carry_out(client->marks);
}

void rst_connection_destroy(struct rst_connection **_client)
{
	struct rst_connection *client = *_client;

	*_client = NULL;
	rst_user_enter(&client->user);
	timeout_remove(&client->to_idle);
	timeout_remove(&client->to_scan);
	io_remove(&client->io);
	carry_out_rest(client);
	rst_marks_free(&client->marks);
	rst_locked_close(&client->locked);
	rst_scan_free(&client->scan);
	rst_user_close(&client->user);
	o_stream_abort(client->output);
	o_stream_destroy(&client->output);
	i_stream_destroy(&client->input);
	i_close_fd(&client->fd);
	i_free(client);
}
