/* SPDX-License-Identifier: MIT */
/*
 * One session of policyd between three scripted peers: the client, the core
 * and the user's hold. A script says and expects, in order. The session has two
 * seconds for each answer that a script expects, and no test waits that long.
 */
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "common/log.h"
#include "test-util.h"
#include "worker/client-conn.h"

#define SESSION 7
#define PATIENCE_MS 2000
#define MANY 30

struct peer {
	int fd; /* ours; -1: not connected, or closed */
	bool gone;
	bool blind; /* does not read */
	struct rst_buf in;
};

struct heard {
	struct rst_ipc msg;
	char *a, *b, *c;
};

struct stage {
	struct event_base *base;
	struct event *clock;
	struct client_conn_settings settings;
	struct client_conn *conn;
	int conn_fd;
	struct peer client, hold;
	struct heard heard[64]; /* messages to the core that no script has
				   expected yet */
	unsigned int heard_count;
	bool ended;
};

static struct stage stage;

/* ---- the stage */

static void on_clock(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void to_core(const struct rst_ipc *msg, void *ctx)
{
	struct stage *s = ctx;
	struct heard *heard = &s->heard[s->heard_count++];
	char buf[RST_IPC_MAX];
	ssize_t n = rst_ipc_encode(msg, buf);

	ck_assert_uint_lt(s->heard_count, N_ELEMENTS(s->heard));
	ck_assert_uint_eq(msg->session, SESSION);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(
		rst_ipc_decode(buf, (size_t)n, RST_IPC_TO_CORE, &heard->msg),
		0);
	heard->a = rst_str_dup(heard->msg.a);
	heard->b = rst_str_dup(heard->msg.b);
	heard->c = rst_str_dup(heard->msg.c);
}

static void on_ended(struct client_conn *conn, void *ctx)
{
	struct stage *s = ctx;

	ck_assert_ptr_eq(conn, s->conn);
	s->ended = true;
	s->conn = NULL;
}

static void peer_open(struct peer *peer, int *other_r)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, fds),
			 0);
	rst_buf_clear(&peer->in);
	*peer = (struct peer){.fd = fds[0]};
	*other_r = fds[1];
}

static void peer_close(struct peer *peer)
{
	if (peer->fd >= 0)
		(void)close(peer->fd);
	peer->fd = -1;
	peer->gone = true;
}

static void peer_read(struct peer *peer)
{
	char buf[65536];
	ssize_t n;

	while (peer->fd >= 0 && !peer->gone && !peer->blind) {
		n = read(peer->fd, buf, sizeof(buf));
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			peer->gone = true;
		else
			rst_buf_append(&peer->in, buf, (size_t)n);
	}
}

/* One turn of the loop, of at most a millisecond. */
static void turn(void)
{
	struct timeval tv = {.tv_usec = 1000};

	(void)evtimer_add(stage.clock, &tv);
	(void)event_base_loop(stage.base, EVLOOP_ONCE);
	peer_read(&stage.client);
	peer_read(&stage.hold);
}

static void turns(unsigned int count)
{
	while (count-- > 0)
		turn();
}

static void setup(void)
{
	(void)signal(SIGPIPE, SIG_IGN); /* as in a worker */
	log_open("test", true);
	stage = (struct stage){.base = event_base_new(),
			       .client = {.fd = -1},
			       .hold = {.fd = -1}};
	stage.clock = evtimer_new(stage.base, on_clock, NULL);
	client_conn_settings_init(&stage.settings);
	stage.settings.sign_in_timeout_ms = 5000;
	stage.settings.close_ms = 150;
	stage.settings.drain.hostname = "mx.example";
	stage.settings.drain.reply_timeout_ms = 5000;
	stage.settings.drain.retry_min_ms = 30;
	stage.settings.drain.reopen_min_ms = 10;
	stage.settings.drain.commit_delay_ms = 10;
	stage.settings.drain.quiet_ms = 30;
	stage.settings.drain.close_ms = 150;
}

static void forget_heard(struct heard *heard)
{
	free(heard->a);
	free(heard->b);
	free(heard->c);
}

static void teardown(void)
{
	client_conn_free(&stage.conn);
	peer_close(&stage.client);
	peer_close(&stage.hold);
	rst_buf_clear(&stage.client.in);
	rst_buf_clear(&stage.hold.in);
	while (stage.heard_count > 0)
		forget_heard(&stage.heard[--stage.heard_count]);
	event_free(stage.clock);
	event_base_free(stage.base);
}

/* ---- what a script is made of */

static void peer_say(struct peer *peer, const char *octets, size_t len)
{
	while (len > 0) {
		ssize_t n = send(peer->fd, octets, len, MSG_NOSIGNAL);

		ck_assert(n > 0 || errno == EAGAIN);
		if (n > 0) {
			octets += n;
			len -= (size_t)n;
		}
		turn();
	}
}

static void client_says(const char *text)
{
	peer_say(&stage.client, text, strlen(text));
}

static void hold_says(const char *text)
{
	peer_say(&stage.hold, text, strlen(text));
}

/* Finds `text` in what the peer got and did not look at yet; or NULL. */
static const char *find(const struct peer *peer, const char *text)
{
	struct rst_str in = rst_buf_view(&peer->in);

	return in.n == 0 ? NULL : memmem(in.p, in.n, text, strlen(text));
}

/* Waits for `want`, and takes it and all octets before it. */
static void expect(struct peer *peer, const char *who, const char *want)
{
	unsigned int left = PATIENCE_MS;
	const char *at;
	struct rst_str in;

	while ((at = find(peer, want)) == NULL) {
		in = rst_buf_view(&peer->in);
		ck_assert_msg(left-- > 0, "%s: got \"%.*s\", want \"%s\"", who,
			      (int)in.n, in.p, want);
		turn();
	}
	in = rst_buf_view(&peer->in);
	rst_buf_take(&peer->in, (size_t)(at - in.p) + strlen(want));
}

static void client_hears(const char *want)
{
	expect(&stage.client, "client", want);
}

static void hold_hears(const char *want)
{
	expect(&stage.hold, "hold", want);
}

static bool has_said(const struct peer *peer, const char *text)
{
	return find(peer, text) != NULL;
}

/* @return the message, valid until the next call */
static const struct heard *core_hears(enum rst_ipc_type type)
{
	static struct heard last;
	unsigned int left = PATIENCE_MS;

	while (stage.heard_count == 0) {
		ck_assert_msg(left-- > 0, "core: want type %d", (int)type);
		turn();
	}
	forget_heard(&last);
	last = stage.heard[0];
	memmove(&stage.heard[0], &stage.heard[1],
		--stage.heard_count * sizeof(last));
	ck_assert_int_eq(last.msg.type, type);
	return &last;
}

/* HOLD_CLOSED, with the time of the next fallback if that is known. */
static void core_hears_closed(int64_t known, int64_t due)
{
	const struct heard *heard = core_hears(RST_IPC_HOLD_CLOSED);

	ck_assert_int_eq(heard->msg.n[0], known);
	if (known == 1)
		ck_assert_int_eq(heard->msg.n[1], due);
}

static void core_says(enum rst_ipc_type type, uint32_t id,
		      enum rst_verdict verdict, const char *a)
{
	const struct rst_ipc msg = {.type = type,
				    .session = SESSION,
				    .id = id,
				    .verdict = verdict,
				    .a = rst_str(a),
				    .b = RST_STR(""),
				    .c = RST_STR("")};

	ck_assert_ptr_nonnull(stage.conn);
	client_conn_from_core(stage.conn, &msg, -1);
}

static void core_gives_hold(void)
{
	const struct rst_ipc msg = {.type = RST_IPC_HOLD, .session = SESSION};
	int fd;

	peer_close(&stage.hold);
	peer_open(&stage.hold, &fd);
	client_conn_from_core(stage.conn, &msg, fd);
}

static void session_ends(void)
{
	unsigned int left = PATIENCE_MS;

	while (!stage.ended) {
		ck_assert_msg(left-- > 0, "session does not end");
		turn();
	}
}

/* ---- scenes that most scripts begin with */

static void connect_client(const char *mechanisms)
{
	static const struct client_conn_callbacks callbacks = {to_core,
							       on_ended};
	const struct acceptor_peer peer = {"192.0.2.1", 4711};
	struct bufferevent *bev;
	int fd;

	peer_open(&stage.client, &fd);
	stage.conn_fd = fd;
	bev = bufferevent_socket_new(stage.base, fd, BEV_OPT_CLOSE_ON_FREE);
	stage.conn = client_conn_new(stage.base, bev, false, SESSION, &peer,
				     &stage.settings, mechanisms, &callbacks,
				     &stage);
}

static void sign_in(void)
{
	const struct heard *heard;

	connect_client("PLAIN");
	client_hears("220 mx.example ");
	client_says("EHLO laptop\r\n");
	client_hears("250 ");
	client_says("AUTH PLAIN AHUAcA==\r\n");
	heard = core_hears(RST_IPC_AUTH);
	ck_assert_str_eq(heard->a, "PLAIN");
	ck_assert_str_eq(heard->b, "AHUAcA==");
	ck_assert_str_eq(heard->c, "192.0.2.1");
	ck_assert_int_eq(heard->msg.n[0], 4711);
	ck_assert_int_eq(heard->msg.n[1], 1);
	core_says(RST_IPC_AUTH_DONE, heard->msg.id, RST_VERDICT_OK, "");
	client_hears("235 ");
}

static void turn_round(const char *ehlo_reply)
{
	const struct heard *heard;

	sign_in();
	/* octets behind ATRN are already for the push machine */
	client_says("ATRN\r\n220 laptop\r\n");
	heard = core_hears(RST_IPC_ATRN);
	ck_assert_str_eq(heard->a, "");
	core_says(RST_IPC_ATRN_DONE, heard->msg.id, RST_VERDICT_OK, "u@x");
	client_hears("250 2.0.0");
	client_hears("EHLO mx.example\r\n");
	client_says(ehlo_reply);
	(void)core_hears(RST_IPC_HOLD_OPEN);
}

#define EXTENDED                             \
	"250-laptop\r\n250-XRESTANTE\r\n"    \
	"250-PIPELINING\r\n250-CHUNKING\r\n" \
	"250-BINARYMIME\r\n250 8BITMIME\r\n"
#define OPENING "VERSION\trestante-hold\t1\t0\n"
#define MSG(n) "MSG\t" n "\tid" n "\t5\t1700000000\ts@x\tu@x\nbody" n

static void open_hold(void)
{
	core_gives_hold();
	hold_says(OPENING "OK\t2\t10\t0\n");
	hold_hears("DRAIN\n");
}

static void begin_push(void)
{
	turn_round(EXTENDED);
	open_hold();
	client_hears("XRESTANTE SUMMARY 2 10\r\n");
	client_says("250 2.0.0 ok\r\n");
}

/* ---- scripts */

START_TEST(test_main_job)
{
	begin_push();
	hold_says(MSG("1") MSG("2") "END\t2\n");
	client_hears("MAIL FROM:<s@x>");
	client_hears("XRESTANTE=id1\r\nRCPT TO:<u@x>\r\n"
		     "BDAT 5 LAST\r\nbody1");
	/* not a reply was given yet */
	client_hears("XRESTANTE=id2\r\nRCPT TO:<u@x>\r\n"
		     "BDAT 5 LAST\r\nbody2");
	turns(5);
	ck_assert_uint_eq(stage.hold.in.used, 0);
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid1\n");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid2\n");
	hold_hears("COMMIT\n");
	hold_says("GONE\tid1\nGONE\tid2\nDONE\n");
	hold_hears("BYE\n");
	ck_assert_uint_eq(stage.heard_count, 0);
	hold_says("BYE\t0\n");
	core_hears_closed(1, 0);
	client_hears("XRESTANTE FORGET id1 id2\r\n");
	client_says("250 ok\r\n");

	/* while online */
	core_says(RST_IPC_HELD, 0, RST_VERDICT_OK, "");
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	client_hears("XRESTANTE SUMMARY");
	client_says("250 ok\r\n");
	hold_says(MSG("3") "END\t1\n");
	client_hears("XRESTANTE=id3\r\n");
	client_hears("body3");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid3\nCOMMIT\n");
	hold_says("GONE\tid3\nDONE\n");
	hold_hears("BYE\n");
	/* two were announced */
	client_hears("XRESTANTE SUMMARY 0 0\r\n");
	client_says("250 ok\r\n");
	hold_says("BYE\t1700000000\n");
	core_hears_closed(1, 1700000000);
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_CLOSED);
	ck_assert(stage.ended);
}
END_TEST

START_TEST(test_held_while_open)
{
	begin_push();
	core_says(RST_IPC_HELD, 0, RST_VERDICT_OK, "");
	hold_says("END\t0\n");
	hold_hears("MORE\n");
	hold_says("END\t0\n");
	hold_hears("BYE\n");
	/* too late for this one */
	core_says(RST_IPC_HELD, 0, RST_VERDICT_OK, "");
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	/* covered by the drain to come */
	core_says(RST_IPC_HELD, 0, RST_VERDICT_OK, "");
	open_hold();
	hold_says("END\t0\n");
	hold_hears("BYE\n");
	ck_assert(!has_said(&stage.hold, "MORE"));
}
END_TEST

/* The client's last octets and its end come together. */
START_TEST(test_client_vanishes)
{
	begin_push();
	hold_says(MSG("1") MSG("2"));
	client_hears("body2");
	client_says("250 a\r\n250 b\r\n250 c\r\n250 a\r\n250 b\r\n");
	peer_close(&stage.client);
	hold_hears("ACK\tid1\n");
	hold_hears("COMMIT\n");
	hold_hears("BYE\n");
	turns(5);
	ck_assert(!has_said(&stage.hold, "id2"));
	ck_assert_uint_eq(stage.heard_count, 0);
	/* the messages that DRAIN still brings are dropped */
	hold_says(MSG("3") "END\t3\nGONE\tid1\nDONE\nBYE\n");
	core_hears_closed(0, 0);
	(void)core_hears(RST_IPC_CLOSED);
	ck_assert(!has_said(&stage.hold, "ACK"));
}
END_TEST

START_TEST(test_client_vanishes_in_body)
{
	begin_push();
	hold_says("MSG\t1\tid1\t10\t0\ts@x\tu@x\nbody1");
	client_hears("body1");
	peer_close(&stage.client);
	hold_hears("BYE\n");
	ck_assert(!has_said(&stage.hold, "ACK"));
	/* the service has gone too, or hangs */
	core_hears_closed(0, 0);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

START_TEST(test_hold_vanishes_in_body)
{
	begin_push();
	hold_says(MSG("1") "MSG\t2\tid2\t10\t0\ts@x\tu@x\nbody2");
	client_hears("body2");
	peer_close(&stage.hold);
	/* a chunk cannot be taken back: the connection ends */
	core_hears_closed(0, 0);
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	(void)core_hears(RST_IPC_CLOSED);
	turns(2);
	ck_assert(stage.client.gone);
}
END_TEST

/* Between messages the client notices nothing. Its answers meanwhile are marked
   on the next connection, and no message is pushed twice. */
START_TEST(test_hold_vanishes)
{
	begin_push();
	hold_says(MSG("1") MSG("2") MSG("3"));
	client_hears("body3");
	peer_close(&stage.hold);
	core_hears_closed(0, 0);
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	(void)core_hears(RST_IPC_HOLD_OPEN);
	core_says(RST_IPC_HOLD_FAILED, 0, RST_VERDICT_OK, "");
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	client_hears("XRESTANTE SUMMARY");
	hold_says(MSG("1") MSG("2"));
	hold_hears("ACK\tid1\n");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid2\n");
	client_says("250 a\r\n250 b\r\n552 no\r\n250 summary\r\n");
	hold_says(MSG("3") MSG("4") "END\t4\n");
	hold_hears("FALLBACK\tid3\t552 no\n");
	client_hears("XRESTANTE=id4\r\n");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid4\n");
	ck_assert(!has_said(&stage.client, "XRESTANTE=id"));
}
END_TEST

/* The hold had heard the ACK after all. */
START_TEST(test_hold_vanishes_after_ack)
{
	begin_push();
	hold_says(MSG("1") "END\t1\n");
	client_hears("body1");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("COMMIT\n");
	peer_close(&stage.hold);
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	core_gives_hold();
	hold_says(OPENING "OK\t0\t0\t0\n");
	hold_hears("DRAIN\n");
	hold_says("END\t0\n");
	client_hears("XRESTANTE SUMMARY 0 0\r\n");
	client_says("250 ok\r\n");
	hold_hears("BYE\n");
	ck_assert(!has_said(&stage.hold, "ACK"));
	/* not listed is not yet gone: it may be unreadable just now */
	turns(30);
	ck_assert(!has_said(&stage.client, "FORGET"));
}
END_TEST

/* Both vanish: the acknowledgement still arrives. */
START_TEST(test_hold_and_client_vanish)
{
	begin_push();
	hold_says(MSG("1") "END\t1\n");
	client_hears("body1");
	peer_close(&stage.hold);
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	turn();
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	hold_says(MSG("1"));
	hold_hears("ACK\tid1\nCOMMIT\nBYE\n");
	hold_says("END\t1\nGONE\tid1\nDONE\nBYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

START_TEST(test_deferred)
{
	stage.settings.drain.retry_min_ms = PATIENCE_MS / 4;
	begin_push();
	hold_says(MSG("1") MSG("2") "END\t2\n");
	client_hears("body2");
	client_says(
		"250 a\r\n250 b\r\n452 full\r\n250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid2\nCOMMIT\n");
	hold_says("GONE\tid2\nDONE\n");
	hold_hears("BYE\n");
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	ck_assert_uint_eq(stage.heard_count, 0);
	/* the session asks by itself, some time later */
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	hold_says(MSG("1") "END\t1\n");
	client_hears("XRESTANTE=id1\r\n");
	client_says("250 forget\r\n250 summary\r\n"
		    "250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid1\nCOMMIT\n");
}
END_TEST

START_TEST(test_refused)
{
	begin_push();
	hold_says(MSG("1") MSG("2") "END\t2\n");
	client_hears("body2");
	client_says("550 5.1.1 who\r\n503 x\r\n503 x\r\n"
		    "250 a\r\n250 b\r\n552 5.2.2 full\r\n");
	hold_hears("FALLBACK\tid1\t550 5.1.1 who\n");
	hold_hears("FALLBACK\tid2\t552 5.2.2 full\nCOMMIT\n");
	hold_says("GONE\tid1\nKEPT\tid2\tover quota\nDONE\n");
	hold_hears("BYE\n");
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	/* a KEPT message is marked again, and not pushed again */
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	hold_says(MSG("2") "END\t1\n");
	hold_hears("FALLBACK\tid2\t552 5.2.2 full\nCOMMIT\n");
	ck_assert(!has_said(&stage.client, "MAIL"));
}
END_TEST

/* Only the 250 for the whole message counts, whatever else is 250. */
START_TEST(test_nothing_acked_early)
{
	begin_push();
	hold_says(MSG("1") "END\t1\n");
	client_hears("body1");
	client_says("250 a\r\n250 b\r\n");
	turns(30);
	ck_assert_uint_eq(stage.hold.in.used, 0);
	client_says("2");
	client_says("50 c");
	turns(5);
	ck_assert_uint_eq(stage.hold.in.used, 0);
	peer_close(&stage.client);
	hold_hears("BYE\n");
	ck_assert(!has_said(&stage.hold, "ACK"));
}
END_TEST

/* The client has two messages, and has answered for the first. */
static void dismiss_amid(void)
{
	begin_push();
	hold_says(MSG("1") MSG("2") "END\t2\n");
	client_hears("body2");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid1\n");
	core_says(RST_IPC_DISMISS, 0, RST_VERDICT_OK, "Newer sign-in");
	client_hears("XRESTANTE CLOSE Newer sign-in\r\n");
}

/* The client says nothing more: its connection is reset, and then the hold is
   closed. */
START_TEST(test_dismissed)
{
	stage.settings.drain.quiet_ms = PATIENCE_MS / 2;
	dismiss_amid();
	(void)core_hears(RST_IPC_SETTLING);
	hold_hears("COMMIT\nBYE\n");
	turns(3);
	ck_assert(!has_said(&stage.hold, "ACK"));
	ck_assert(stage.client.gone);
	hold_says("GONE\tid1\nDONE\nBYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

/* Messages on their way may still be answered; no other is begun. */
START_TEST(test_dismissed_in_time)
{
	stage.settings.drain.quiet_ms = PATIENCE_MS;
	stage.settings.drain.settle_ms = PATIENCE_MS;
	dismiss_amid();
	(void)core_hears(RST_IPC_SETTLING);
	core_says(RST_IPC_HELD, 0, RST_VERDICT_OK, "");
	turns(5);
	ck_assert(!stage.client.gone);
	client_says("250 a\r\n250 b\r\n250 c\r\n221 bye\r\n");
	hold_hears("ACK\tid2\n");
	hold_hears("BYE\n");
	hold_says("GONE\tid1\nGONE\tid2\nDONE\nBYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	ck_assert(!has_said(&stage.client, "MAIL"));
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

/* No answer is owed: the session does not wait. */
START_TEST(test_dismissed_idle)
{
	stage.settings.drain.quiet_ms = PATIENCE_MS;
	stage.settings.drain.settle_ms = PATIENCE_MS;
	begin_push();
	core_says(RST_IPC_DISMISS, 0, RST_VERDICT_OK, "Newer sign-in");
	client_hears("XRESTANTE CLOSE Newer sign-in\r\n");
	hold_hears("BYE\n");
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

/* The session does not wait for a client that was silent for long already. */
START_TEST(test_dismissed_silent)
{
	stage.settings.drain.quiet_ms = PATIENCE_MS;
	stage.settings.drain.settle_ms = 20;
	begin_push();
	hold_says(MSG("1") "END\t1\n");
	client_hears("body1");
	turns(40);
	core_says(RST_IPC_DISMISS, 0, RST_VERDICT_OK, "Newer sign-in");
	hold_hears("BYE\n");
	turns(3);
	ck_assert(stage.client.gone);
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
}
END_TEST

/* A client may be slow, but not for longer than settle_ms in all. */
START_TEST(test_dismissed_slow)
{
	stage.settings.drain.quiet_ms = PATIENCE_MS;
	stage.settings.drain.settle_ms = PATIENCE_MS / 2;
	dismiss_amid();
	(void)core_hears(RST_IPC_SETTLING);
	client_says("250 a\r\n250 b\r\n");
	hold_hears("COMMIT\nBYE\n");
	ck_assert(!has_said(&stage.hold, "ACK"));
	turns(3);
	ck_assert(stage.client.gone);
}
END_TEST

/* Of many messages that the client does not read, those in the push machine are
   taken back; those that have left still count. */
START_TEST(test_dismissed_takes_back)
{
	static char text[MANY * 8300];
	const int small = 4096;
	size_t used = 0, mails = 0;
	int i;

	stage.settings.drain.quiet_ms = PATIENCE_MS;
	stage.settings.drain.settle_ms = PATIENCE_MS;
	begin_push();
	(void)setsockopt(stage.conn_fd, SOL_SOCKET, SO_SNDBUF, &small,
			 sizeof(small));
	for (i = 0; i < MANY; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "MSG\t%d\tid%d\t8192\t1\ts@x\tu@x\n"
					 "%08192d",
					 i, i, 0);
	stage.client.blind = true;
	hold_says(text);
	turns(5);
	core_says(RST_IPC_DISMISS, 0, RST_VERDICT_OK, "Newer sign-in");
	(void)core_hears(RST_IPC_SETTLING);
	stage.client.blind = false;
	while (!has_said(&stage.client, "XRESTANTE CLOSE Newer sign-in\r\n"))
		turn();
	for (; has_said(&stage.client, "MAIL"); mails++)
		client_hears("LAST\r\n");
	/* 32 KiB, and what the socket holds */
	ck_assert_uint_ge(mails, 1);
	ck_assert_uint_lt(mails, 10);
	for (; mails > 0; mails--)
		client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid0\n");
	hold_hears("BYE\n");
}
END_TEST

START_TEST(test_dismissed_signing_in)
{
	sign_in();
	core_says(RST_IPC_DISMISS, 0, RST_VERDICT_OK, "Shutting down");
	client_hears("421 4.3.2 Shutting down\r\n");
	/* the client does not close: close_ms bounds it */
	(void)core_hears(RST_IPC_CLOSED);
	ck_assert(stage.client.gone);
}
END_TEST

START_TEST(test_no_mechanisms)
{
	connect_client("");
	client_hears("421 4.3.0 ");
	turn();
	ck_assert(stage.client.gone);
	peer_close(&stage.client);
	session_ends();
	/* the core never heard of it */
	ck_assert_uint_eq(stage.heard_count, 0);
}
END_TEST

START_TEST(test_sign_in_refused)
{
	const struct heard *heard;
	int i;

	connect_client("PLAIN");
	client_hears("220 ");
	client_says("EHLO laptop\r\nATRN\r\n");
	client_hears("530 5.7.0");
	for (i = 0; i < 3; i++) {
		client_says("AUTH PLAIN\r\n");
		heard = core_hears(RST_IPC_AUTH);
		ck_assert_int_eq(heard->msg.n[1], 0);
		core_says(RST_IPC_AUTH_CHALLENGE, heard->msg.id, RST_VERDICT_OK,
			  "");
		client_hears("334 \r\n");
		client_says("AHUAcA==\r\n");
		heard = core_hears(RST_IPC_AUTH_CONTINUE);
		ck_assert_str_eq(heard->a, "AHUAcA==");
		core_says(RST_IPC_AUTH_DONE, heard->msg.id, RST_VERDICT_REFUSED,
			  "");
		client_hears("535 5.7.8");
	}
	client_hears("421 ");
	turn();
	ck_assert(stage.client.gone);
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

/* The client says all that it ever has to say before it is signed in. */
START_TEST(test_said_ahead)
{
	const struct heard *heard;

	connect_client("PLAIN");
	client_says("EHLO laptop\r\nAUTH PLAIN AHUAcA==\r\nATRN\r\n"
		    "220 laptop\r\n" EXTENDED);
	heard = core_hears(RST_IPC_AUTH);
	core_says(RST_IPC_AUTH_DONE, heard->msg.id, RST_VERDICT_OK, "");
	heard = core_hears(RST_IPC_ATRN);
	core_says(RST_IPC_ATRN_DONE, heard->msg.id, RST_VERDICT_OK, "u@x");
	/* without another word of the client */
	(void)core_hears(RST_IPC_HOLD_OPEN);
	open_hold();
	hold_says(MSG("1"));
	client_hears("250 2.0.0 OK, now reversing the connection\r\n"
		     "EHLO mx.example\r\n");
	client_hears("body1");
	client_says("250 a\r\n250 b\r\n250 c\r\n250 d\r\n");
	hold_hears("ACK\tid1\n");
}
END_TEST

START_TEST(test_busy)
{
	turn_round(EXTENDED);
	core_gives_hold();
	hold_says(OPENING "OK\t2\t10\t0\n");
	hold_hears("DRAIN\n");
	hold_says("NO\tBUSY\tlocked\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	core_gives_hold();
	hold_says(OPENING "NO\tTEMPFAIL\tdisk\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	core_gives_hold();
	hold_says(OPENING "NO\tNOTENROLLED\tno\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	turns(50);
	ck_assert_uint_eq(stage.heard_count, 0);
	ck_assert(!stage.ended);
}
END_TEST

START_TEST(test_plain_client)
{
	stage.settings.drain.retry_min_ms = PATIENCE_MS;
	turn_round("250 laptop\r\n");
	open_hold();
	hold_says(MSG("1") MSG("2") "END\t2\n");
	client_hears("MAIL FROM:<s@x>\r\n");
	ck_assert(!has_said(&stage.client, "RCPT"));
	client_says("250 a\r\n");
	client_hears("RCPT TO:<u@x>\r\n");
	client_says("250 b\r\n");
	client_hears("DATA\r\n");
	client_says("354 c\r\n");
	client_hears("body1\r\n.\r\n");
	client_says("250 d\r\n");
	hold_hears("ACK\tid1\n");
	client_hears("MAIL FROM:<s@x>\r\n");
	client_says("250 a\r\n");
	client_hears("RCPT TO:<u@x>\r\n");
	client_says("450 b\r\n");
	client_hears("RSET\r\n");
	client_says("250 b\r\n");
	hold_hears("COMMIT\n");
	hold_says("GONE\tid1\nDONE\n");
	hold_hears("BYE\n");
	ck_assert(!has_said(&stage.client, "QUIT"));
	hold_says("BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	client_hears("QUIT\r\n");
	client_says("221 bye\r\n");
	turn();
	ck_assert(stage.client.gone);
	peer_close(&stage.client);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

static void push_many(int count)
{
	char line[128];
	int i;

	for (i = 0; i < count; i++) {
		(void)snprintf(line, sizeof(line),
			       "MSG\t1\tm%d\t1\t0\ts@x\tu@x\nx", i);
		hold_says(line);
	}
	(void)snprintf(line, sizeof(line), "XRESTANTE=m%d\r\n", count - 1);
	client_hears(line);
	for (i = 0; i < count; i++)
		client_says("250 a\r\n250 b\r\n250 c\r\n");
}

/* In a long drain acknowledgements are committed before its end. */
START_TEST(test_commit_by_count)
{
	stage.settings.drain.commit_delay_ms = 60 * 1000;
	begin_push();
	push_many(210);
	hold_hears("ACK\tm0\n");
	hold_hears("COMMIT\n");
	turns(5);
	/* one COMMIT at a time */
	ck_assert(!has_said(&stage.hold, "COMMIT"));
	hold_says("DONE\n");
	turns(5);
	ck_assert(!has_said(&stage.hold, "COMMIT"));
	hold_says("END\t210\n");
	hold_hears("COMMIT\n");
	ck_assert(!has_said(&stage.hold, "BYE"));
}
END_TEST

START_TEST(test_commit_by_time)
{
	begin_push();
	push_many(3);
	/* on a slow machine the time is over before the last of them */
	hold_hears("ACK\tm0\n");
	hold_hears("COMMIT\n");
	ck_assert(!has_said(&stage.hold, "BYE"));
}
END_TEST

#define LARGE (8 * 1024 * 1024)

/* A client that does not read stops the hold, at a bounded number of octets,
   and gets everything when it reads again. */
START_TEST(test_back_pressure)
{
	static char chunk[16384];
	struct peer silent;
	size_t fed = 0, got;
	ssize_t n;
	int idle = 0;

	begin_push();
	hold_says("MSG\t1\tid1\t8388608\t0\ts@x\tu@x\n");
	client_hears("LAST\r\n");
	got = stage.client.in.used;
	silent = stage.client;
	stage.client.fd = -1; /* nobody reads */
	memset(chunk, 'x', sizeof(chunk));
	while (idle < 20 && fed < LARGE) {
		n = send(stage.hold.fd, chunk,
			 LARGE - fed < sizeof(chunk) ? LARGE - fed
						     : sizeof(chunk),
			 MSG_NOSIGNAL);
		idle = n > 0 ? 0 : idle + 1;
		if (n > 0)
			fed += (size_t)n;
		turn();
	}
	/* 32 KiB, 64 KiB twice, and what the sockets hold */
	ck_assert_uint_lt(fed, 2 * 1024 * 1024);
	stage.client = silent;
	while (got < LARGE) {
		if (fed < LARGE) {
			n = send(stage.hold.fd, chunk,
				 LARGE - fed < sizeof(chunk) ? LARGE - fed
							     : sizeof(chunk),
				 MSG_NOSIGNAL);
			if (n > 0)
				fed += (size_t)n;
		}
		rst_buf_clear(&stage.client.in);
		turn();
		got += stage.client.in.used;
		ck_assert(!stage.ended);
	}
	hold_says("END\t1\n");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid1\nCOMMIT\n");
}
END_TEST

static const struct {
	const char *says;
} broken_clients[] = {
	{"no reply\r\n"},
	{"250 out of turn\r\n250 x\r\n250 y\r\n"},
	{"421 going\r\n"},
	{"25\r\n"},
};

START_TEST(test_broken_client)
{
	begin_push();
	hold_says(MSG("1"));
	client_hears("body1");
	client_says("250 a\r\n250 b\r\n250 c\r\n");
	hold_hears("ACK\tid1\n");
	client_says(broken_clients[_i].says);
	hold_hears("COMMIT\n");
	hold_hears("BYE\n");
	hold_says("GONE\tid1\nDONE\nBYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	turn();
	ck_assert(stage.client.gone);
	(void)core_hears(RST_IPC_CLOSED);
}
END_TEST

static const char *const broken_holds[] = {
	"nonsense\n",
	"GONE\tid9\n",
	"MSG\t1\tid1\tmany\t0\ts@x\tu@x\n",
	"BYE\n",
};

START_TEST(test_broken_hold)
{
	begin_push();
	hold_says(broken_holds[_i]);
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	(void)core_hears(RST_IPC_HOLD_OPEN);
	ck_assert(!stage.ended);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("client-conn");
	TCase *tc = tcase_create("scripts");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_main_job);
	tcase_add_test(tc, test_held_while_open);
	tcase_add_test(tc, test_client_vanishes);
	tcase_add_test(tc, test_client_vanishes_in_body);
	tcase_add_test(tc, test_hold_vanishes_in_body);
	tcase_add_test(tc, test_hold_vanishes);
	tcase_add_test(tc, test_hold_vanishes_after_ack);
	tcase_add_test(tc, test_hold_and_client_vanish);
	tcase_add_test(tc, test_deferred);
	tcase_add_test(tc, test_refused);
	tcase_add_test(tc, test_nothing_acked_early);
	tcase_add_test(tc, test_said_ahead);
	tcase_add_test(tc, test_dismissed);
	tcase_add_test(tc, test_dismissed_in_time);
	tcase_add_test(tc, test_dismissed_idle);
	tcase_add_test(tc, test_dismissed_silent);
	tcase_add_test(tc, test_dismissed_slow);
	tcase_add_test(tc, test_dismissed_takes_back);
	tcase_add_test(tc, test_dismissed_signing_in);
	tcase_add_test(tc, test_no_mechanisms);
	tcase_add_test(tc, test_sign_in_refused);
	tcase_add_test(tc, test_busy);
	tcase_add_test(tc, test_plain_client);
	tcase_add_test(tc, test_commit_by_count);
	tcase_add_test(tc, test_commit_by_time);
	tcase_add_test(tc, test_back_pressure);
	tcase_add_loop_test(tc, test_broken_client, 0,
			    (int)N_ELEMENTS(broken_clients));
	tcase_add_loop_test(tc, test_broken_hold, 0,
			    (int)N_ELEMENTS(broken_holds));
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return test_run(suite());
}
