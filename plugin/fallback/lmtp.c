/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "hostpid.h"
#include "ioloop.h"
#include "istream.h"
#include "istream-concat.h"
#include "smtp-client.h"
#include "smtp-client-connection.h"
#include "smtp-client-private.h"
#include "smtp-client-transaction.h"
#include "str.h"
#include "str-sanitize.h"
#include "common/root.h"
#include "lmtp.h"

#define CONNECT_TIMEOUT_MSECS (30 * 1000)
/* Sieve and a large message may take minutes */
#define COMMAND_TIMEOUT_MSECS (10 * 60 * 1000)
#define CHUNK_SIZE (1024 * 1024)
/* octets of the client's reply that go into a header field */
#define REFUSED_MAX 500

struct rst_lmtp {
	struct event *event;
	char *socket_path;
	struct ioloop *ioloop;
	struct smtp_client *client;
	struct smtp_client_connection *conn;

	/* of the answer that is awaited */
	bool done; /* the transaction has ended */
	bool ok;
	char *reply; /* the first reply that was not a success */
};

static struct smtp_client *create_client(struct event *event)
{
	struct smtp_client_settings set;

	i_zero(&set);
	set.my_hostname = my_hostdomain();
	set.connect_timeout_msecs = CONNECT_TIMEOUT_MSECS;
	set.command_timeout_msecs = COMMAND_TIMEOUT_MSECS;
	set.max_data_chunk_size = CHUNK_SIZE;
	set.event_parent = event;
	/* for this library a UTF-8 sender is a broken one, and would be sent as
	   <> */
	set.mail_send_broken_path = TRUE;
	return smtp_client_init(&set);
}

struct rst_lmtp *rst_lmtp_new(struct event *event, const char *socket_path)
{
	struct rst_lmtp *lmtp = i_new(struct rst_lmtp, 1);
	struct ioloop *previous = current_ioloop;

	lmtp->event = event;
	lmtp->socket_path = i_strdup(socket_path);
	lmtp->ioloop = io_loop_create();
	lmtp->client = create_client(event);
	io_loop_set_current(previous);
	return lmtp;
}

void rst_lmtp_free(struct rst_lmtp **_lmtp)
{
	struct rst_lmtp *lmtp = *_lmtp;
	struct ioloop *previous = current_ioloop;

	if (lmtp == NULL)
		return;
	*_lmtp = NULL;
	io_loop_set_current(lmtp->ioloop);
	if (lmtp->conn != NULL)
		smtp_client_connection_close(&lmtp->conn);
	smtp_client_deinit(&lmtp->client);
	io_loop_destroy(&lmtp->ioloop);
	io_loop_set_current(previous);
	i_free(lmtp->reply);
	i_free(lmtp->socket_path);
	i_free(lmtp);
}

/* ---- waiting for an answer */

static void start_waiting(struct rst_lmtp *lmtp)
{
	lmtp->done = FALSE;
	lmtp->ok = FALSE;
	i_free(lmtp->reply);
}

static void wait_until_done(struct rst_lmtp *lmtp)
{
	/* the answer may have come already */
	if (!lmtp->done)
		io_loop_run(lmtp->ioloop);
}

static void finish(struct rst_lmtp *lmtp)
{
	lmtp->done = TRUE;
	io_loop_stop(lmtp->ioloop);
}

/* The first bad reply is kept: it is the cause of the others. */
static bool check_reply(struct rst_lmtp *lmtp, const struct smtp_reply *reply)
{
	if (smtp_reply_is_success(reply))
		return TRUE;
	if (lmtp->reply == NULL)
		lmtp->reply =
			i_strdup(str_sanitize(smtp_reply_log(reply), 512));
	return FALSE;
}

/* ---- the connection */

static void on_login(const struct smtp_reply *reply, void *context)
{
	struct rst_lmtp *lmtp = context;

	lmtp->ok = check_reply(lmtp, reply);
	finish(lmtp);
}

bool rst_lmtp_is_up(const struct rst_lmtp *lmtp)
{
	return lmtp->conn != NULL &&
	       smtp_client_connection_get_state(lmtp->conn) >=
		       SMTP_CLIENT_CONNECTION_STATE_READY;
}

static void create_connection(struct rst_lmtp *lmtp)
{
	lmtp->conn = smtp_client_connection_create_unix(
		lmtp->client, SMTP_PROTOCOL_LMTP, lmtp->socket_path, NULL);
	/* When Dovecot 2.3.19 cannot connect, it looks for another address to
	   try, of a Unix socket, too, and panics as there is none. With this
	   count it believes that it has tried the last one. */
	if (lmtp->conn->ips_count == 0)
		lmtp->conn->ips_count = 1;
}

static bool connect_to(struct rst_lmtp *lmtp)
{
	uid_t uid;
	bool root;

	if (rst_lmtp_is_up(lmtp))
		return TRUE;
	if (lmtp->conn != NULL)
		smtp_client_connection_close(&lmtp->conn);
	start_waiting(lmtp);
	create_connection(lmtp);
	/* the user has no right to the socket */
	root = rst_root_enter(&uid);
	smtp_client_connection_connect(lmtp->conn, on_login, lmtp);
	wait_until_done(lmtp);
	if (root)
		rst_root_leave(uid);
	return lmtp->ok;
}

/* ---- one message */

static struct smtp_address *parse_address(const char *text)
{
	struct smtp_address *address;
	const char *error, *path = t_strconcat("<", text, ">", NULL);

	if (smtp_address_parse_path(
		    pool_datastack_create(), path,
		    SMTP_ADDRESS_PARSE_FLAG_ALLOW_EMPTY |
			    SMTP_ADDRESS_PARSE_FLAG_ALLOW_LOCALPART |
			    SMTP_ADDRESS_PARSE_FLAG_ALLOW_BAD_LOCALPART |
			    SMTP_ADDRESS_PARSE_FLAG_PRESERVE_RAW |
			    SMTP_ADDRESS_PARSE_FLAG_IGNORE_BROKEN,
		    &address, &error) < 0 &&
	    !smtp_address_is_broken(address))
		return NULL;
	return address;
}

/* The message, with our header fields on top. */
static struct istream *with_fields(const struct rst_lmtp_mail *mail)
{
	struct istream *parts[3], *result;
	string_t *fields = t_str_new(256);

	str_append(fields, mail->trace);
	if (mail->refused != NULL) {
		str_append(fields, "X-Restante-Refused: ");
		/* no line end in the client's reply may add another field */
		str_sanitize_append(fields, mail->refused, REFUSED_MAX);
		str_append(fields, "\r\n");
	}
	parts[0] = i_stream_create_copy_from_data(str_data(fields),
						  str_len(fields));
	parts[1] = mail->input;
	parts[2] = NULL;
	result = i_stream_create_concat(parts);
	i_stream_unref(&parts[0]);
	return result;
}

static void on_rcpt(const struct smtp_reply *reply, struct rst_lmtp *lmtp)
{
	(void)check_reply(lmtp, reply);
}

static void on_data(const struct smtp_reply *reply, struct rst_lmtp *lmtp)
{
	lmtp->ok = check_reply(lmtp, reply);
}

static void on_sent(const struct smtp_reply *reply ATTR_UNUSED,
		    struct rst_lmtp *lmtp ATTR_UNUSED)
{
	/* LMTP answers for each recipient instead: on_data() */
}

static void send_mail(struct rst_lmtp *lmtp, const struct smtp_address *from,
		      const struct smtp_address *to, struct istream *input)
{
	struct smtp_client_transaction *trans;

	start_waiting(lmtp);
	trans = smtp_client_transaction_create(
		lmtp->conn, from, NULL,
		SMTP_CLIENT_TRANSACTION_FLAG_REPLY_PER_RCPT, finish, lmtp);
	smtp_client_transaction_add_rcpt(trans, to, NULL, on_rcpt, on_data,
					 lmtp);
	smtp_client_transaction_send(trans, input, on_sent, lmtp);
	wait_until_done(lmtp);
}

static bool deliver(struct rst_lmtp *lmtp, const struct rst_lmtp_mail *mail)
{
	struct smtp_address *from = parse_address(mail->mail_from);
	struct smtp_address *to = parse_address(mail->rcpt_to);
	struct istream *input;

	if (from == NULL || to == NULL || smtp_address_isnull(to)) {
		lmtp->reply = i_strdup("its envelope has a bad address");
		return FALSE;
	}
	if (!connect_to(lmtp))
		return FALSE;
	input = with_fields(mail);
	send_mail(lmtp, from, to, input);
	i_stream_unref(&input);
	return lmtp->ok;
}

bool rst_lmtp_deliver(struct rst_lmtp *lmtp, const struct rst_lmtp_mail *mail,
		      const char **reply_r)
{
	struct ioloop *previous = current_ioloop;
	bool ok;

	start_waiting(lmtp);
	io_loop_set_current(lmtp->ioloop);
	ok = deliver(lmtp, mail);
	io_loop_set_current(previous);
	*reply_r = ok                    ? "delivered"
		   : lmtp->reply == NULL ? "no answer from LMTP"
					 : t_strdup(lmtp->reply);
	return ok;
}
