/* SPDX-License-Identifier: MIT */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "server-conn.h"

/* The server waits for a text, and then says another. */
struct step {
	const char *wait; /* text that the client says since the last step */
	const char *say;
};

#define END                \
	{                  \
		NULL, NULL \
	}
/* Instead of words: */
#define SHUT "(shut)"
#define STOP "(stop)" /* the client is told to */

#define SIGN_IN                                                          \
	{NULL, "220 mx ESMTP\r\n"},                                      \
		{"EHLO laptop\r\n",                                      \
		 "250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n"},            \
		{"AUTH PLAIN AG1lAHNlY3JldA==\r\n", "235 2.7.0 Ok\r\n"}, \
		{"ATRN\r\n", "250 2.0.0 Ok\r\n"},                        \
	{                                                                \
		"220 ", "EHLO mx\r\n"                                    \
	}

#define EHLO_SAID "XRESTANTE"
#define MESSAGE(id)                                      \
	"MAIL FROM:<a@example.net> XRESTANTE=" id "\r\n" \
	"RCPT TO:<me@example.org>\r\nBDAT 5 LAST\r\nabc\r\n"
#define HALF(id)                                         \
	"MAIL FROM:<a@example.net> XRESTANTE=" id "\r\n" \
	"RCPT TO:<me@example.org>\r\nBDAT 500 LAST\r\nabc"
/* More than the store keeps in memory, and not a whole message. */
#define X16(s) s s s s s s s s s s s s s s s s
#define LARGE(id)                                              \
	"MAIL FROM:<a@example.net> XRESTANTE=" id "\r\n"       \
	"RCPT TO:<me@example.org>\r\nBDAT 70000 LAST\r\n" X16( \
		X16(X16(X16("x"))))
#define SUMMARY(n) "XRESTANTE SUMMARY " n " 5\r\n"

static const struct script {
	const char *name;
	bool once;
	bool disk_full;
	enum server_conn_end end;
	const char *text;
	uint64_t left;
	unsigned int stored;
	struct step steps[14];
} scripts[] = {
	{"stays until the server quits",
	 false,
	 false,
	 SERVER_CONN_FINISHED,
	 "QUIT",
	 0,
	 2,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("1") MESSAGE("one")},
	  {"250 2.0.0 Stored", MESSAGE("two")},
	  {"250 2.0.0 Stored", "QUIT\r\n"},
	  {"221 ", SHUT},
	  END}},
	{"once, drained",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "drained",
	 0,
	 2,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("2") MESSAGE("one") MESSAGE("two")},
	  {"Stored\r\n", NULL},
	  {"Stored\r\n", SHUT},
	  END}},
	{"once, announced again",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "drained",
	 0,
	 2,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("2") MESSAGE("one")},
	  {"Stored\r\n", SUMMARY("9") MESSAGE("two")},
	  {"Stored\r\n", SHUT},
	  END}},
	{"once, fewer than were announced",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "drained",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("2") MESSAGE("one")},
	  {"Stored\r\n", SUMMARY("0")},
	  {"250 ", SHUT},
	  END}},
	{"once, nothing held",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "drained",
	 0,
	 0,
	 {SIGN_IN, {EHLO_SAID, SUMMARY("0")}, {"250 ", SHUT}, END}},
	{"once, the server quits",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "QUIT",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, MESSAGE("one")},
	  {"Stored\r\n", "QUIT\r\n"},
	  {"221 ", SHUT},
	  END}},
	{"once, and it comes twice",
	 true,
	 false,
	 SERVER_CONN_FINISHED,
	 "drained",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("2") MESSAGE("one") MESSAGE("one")},
	  {"Stored\r\n", NULL},
	  {"Stored\r\n", SHUT},
	  END}},
	{"once, and the disk is full",
	 true,
	 true,
	 SERVER_CONN_NO_ROOM,
	 "No space",
	 2,
	 0,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("2") MESSAGE("one") "NOOP\r\n"},
	  {"452 4.3.1 ", SHUT},
	  END}},
	{"the disk is full, in a message",
	 false,
	 true,
	 SERVER_CONN_NO_ROOM,
	 "No space",
	 3,
	 0,
	 {SIGN_IN, {EHLO_SAID, SUMMARY("3") LARGE("one")}, {NULL, SHUT}, END}},
	{"once, lost in a message",
	 true,
	 false,
	 SERVER_CONN_LOST,
	 "closed",
	 2,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, SUMMARY("3") MESSAGE("one") HALF("two")},
	  {"Stored\r\n", SHUT},
	  END}},
	{"lost in a message",
	 false,
	 false,
	 SERVER_CONN_LOST,
	 "closed",
	 0,
	 0,
	 {SIGN_IN, {EHLO_SAID, HALF("one")}, {"250 ", SHUT}, END}},
	{"stopped in a message",
	 false,
	 false,
	 SERVER_CONN_STOPPED,
	 "stopped",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, MESSAGE("one") HALF("two")},
	  {"Stored\r\n", STOP},
	  {NULL, SHUT},
	  END}},
	{"sent away",
	 false,
	 false,
	 SERVER_CONN_DISMISSED,
	 "Signed in elsewhere",
	 0,
	 0,
	 {SIGN_IN,
	  {EHLO_SAID, "XRESTANTE CLOSE Signed in elsewhere\r\n"},
	  {"221 ", SHUT},
	  END}},
	{"forget, and send it again",
	 false,
	 false,
	 SERVER_CONN_FINISHED,
	 "QUIT",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, MESSAGE("one")},
	  {"Stored\r\n", "XRESTANTE FORGET one\r\n" MESSAGE("one")},
	  {"Stored\r\n", "QUIT\r\n"},
	  {"221 ", SHUT},
	  END}},
	{"wrong password",
	 false,
	 false,
	 SERVER_CONN_REFUSED,
	 "535",
	 0,
	 0,
	 {{NULL, "220 mx ESMTP\r\n"},
	  {"EHLO", "250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n"},
	  {"AUTH", "535 5.7.8 No\r\n"},
	  {NULL, SHUT},
	  END}},
	{"not for him",
	 false,
	 false,
	 SERVER_CONN_REFUSED,
	 "450",
	 0,
	 0,
	 {{NULL, "220 mx ESMTP\r\n"},
	  {"EHLO", "250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n"},
	  {"AUTH", "235 2.7.0 Ok\r\n"},
	  {"ATRN", "450 4.7.1 Refused\r\n"},
	  {NULL, SHUT},
	  END}},
	{"not now",
	 false,
	 false,
	 SERVER_CONN_TEMPFAIL,
	 "454",
	 0,
	 0,
	 {{NULL, "220 mx ESMTP\r\n"},
	  {"EHLO", "250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n"},
	  {"AUTH", "454 4.7.0 Later\r\n"},
	  {NULL, SHUT},
	  END}},
	{"closed before the greeting",
	 false,
	 false,
	 SERVER_CONN_LOST,
	 "closed",
	 0,
	 0,
	 {{NULL, SHUT}, END}},
	{"no mail server",
	 false,
	 false,
	 SERVER_CONN_BROKEN,
	 "",
	 0,
	 0,
	 {{NULL, "SSH-2.0-x\r\n"}, {NULL, SHUT}, END}},
	{"breaks the protocol later",
	 false,
	 false,
	 SERVER_CONN_BROKEN,
	 "no SMTP line",
	 0,
	 1,
	 {SIGN_IN,
	  {EHLO_SAID, MESSAGE("one")},
	  {"Stored\r\n", "NOOP\n\n"},
	  {NULL, SHUT},
	  END}},
};

/* How the server's octets arrive. */
enum pace {
	WHOLE,
	OCTETWISE,
	PACES
};

struct test {
	const struct script *script;
	const struct step *step;
	const char *todo; /* the octets of a step that are not said yet */
	enum pace pace;
	struct event_base *base;
	struct bufferevent *server;
	struct event *next_octet;
	struct store *store;
	struct server_conn *conn;
	bool ended;
	struct server_conn_result result;
	char text[256];
};

static void half_close(struct bufferevent *bev)
{
	bufferevent_flush(bev, EV_WRITE, BEV_FINISHED);
}

static void on_ended(const struct server_conn_result *result, void *ctx)
{
	struct test *test = ctx;

	ck_assert(!test->ended);
	test->ended = true;
	test->result = *result;
	(void)snprintf(test->text, sizeof(test->text), "%s", result->text);
	server_conn_free(&test->conn);
	event_base_loopbreak(test->base);
}

static void run_script(struct test *test);

/* Say the rest of a step, or one octet and more at the next turn. */
static void on_next_octet(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval now;
	struct test *test = arg;
	size_t n = strlen(test->todo);

	(void)fd;
	(void)what;
	if (test->pace == OCTETWISE && n > 1)
		n = n > 5000 ? 997 : 1;
	bufferevent_write(test->server, test->todo, n);
	test->todo += n;
	if (*test->todo != '\0')
		evtimer_add(test->next_octet, &now);
	else
		run_script(test);
}

/* Did the client say it? Then take it, and all before it, off its octets. */
static bool was_said(struct test *test, const char *text)
{
	struct evbuffer *input = bufferevent_get_input(test->server);
	struct evbuffer_ptr at;

	if (text == NULL)
		return true;
	at = evbuffer_search(input, text, strlen(text), NULL);
	if (at.pos < 0)
		return false;
	evbuffer_drain(input, (size_t)at.pos + strlen(text));
	return true;
}

static void act(struct test *test, const char *say)
{
	if (strcmp(say, SHUT) == 0) {
		bufferevent_flush(test->server, EV_WRITE, BEV_FINISHED);
	} else if (strcmp(say, STOP) == 0) {
		server_conn_stop(test->conn);
	} else {
		test->todo = say;
		on_next_octet(-1, 0, test);
	}
}

static void run_script(struct test *test)
{
	while ((test->todo == NULL || *test->todo == '\0') &&
	       (test->step->wait != NULL || test->step->say != NULL) &&
	       was_said(test, test->step->wait)) {
		const char *say = test->step->say;

		test->step++;
		if (say != NULL)
			act(test, say);
	}
}

static void on_server_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	run_script(arg);
}

static void on_stuck(evutil_socket_t fd, short what, void *arg)
{
	const struct test *test = arg;

	(void)fd;
	(void)what;
	ck_abort_msg("%s: stuck, waiting for \"%s\"", test->script->name,
		     test->step->wait == NULL ? "" : test->step->wait);
}

static void run_test(struct test *test)
{
	static const struct timeval too_long = {10, 0};
	const struct server_conn_settings settings = {
		.customer = {.hostname = "laptop",
			     .user = "me",
			     .password = "secret",
			     .reply_timeout_ms = 60000},
		.hostname = "laptop",
		.idle_timeout_ms = 60000,
		.once = test->script->once,
		.once_timeout_ms = 60000,
		.close_timeout_ms = 60000,
		.half_close = half_close,
	};
	struct bufferevent *pair[2];
	struct event *stuck;

	test->base = event_base_new();
	ck_assert_int_eq(bufferevent_pair_new(test->base, 0, pair), 0);
	test->server = pair[1];
	test->next_octet = evtimer_new(test->base, on_next_octet, test);
	stuck = evtimer_new(test->base, on_stuck, test);
	evtimer_add(stuck, &too_long);
	bufferevent_setcb(test->server, on_server_read, NULL, NULL, test);
	bufferevent_enable(test->server, EV_READ | EV_WRITE);
	test->conn = server_conn_new(pair[0], test->store, &settings, on_ended,
				     test);
	run_script(test);
	event_base_dispatch(test->base);
	ck_assert(test->ended);
	event_free(stuck);
	event_free(test->next_octet);
	bufferevent_free(test->server);
	event_base_loop(test->base, EVLOOP_NONBLOCK); /* to free the pair */
	event_base_free(test->base);
}

static struct store *open_store(void)
{
	char maildir[128];
	const struct store_settings settings = {
		.maildir = maildir,
		.state_dir = maildir,
		.hostname = "laptop",
		.domain = "laptop",
		.server = "mx.example.org",
	};
	struct store *store;

	(void)snprintf(maildir, sizeof(maildir), "%s/Maildir", temp_dir);
	store = store_open(&settings);
	ck_assert_ptr_nonnull(store);
	return store;
}

START_TEST(test_script)
{
	const struct script *script = &scripts[_i / PACES];
	struct test test = {.script = script,
			    .step = script->steps,
			    .pace = (enum pace)(_i % PACES)};

	test.store = open_store();
	fault_disk_full = script->disk_full;
	run_test(&test);
	ck_assert_msg(test.result.end == script->end, "%s: ended with %d, %s",
		      script->name, test.result.end, test.text);
	ck_assert_msg(strstr(test.text, script->text) != NULL, "%s: \"%s\"",
		      script->name, test.text);
	ck_assert_uint_eq(test.result.left, script->left);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), script->stored);
	ck_assert_uint_eq(temp_count("Maildir/tmp", "", NULL), 0);
	ck_assert_msg(test.step->wait == NULL && test.step->say == NULL,
		      "%s: the script is not at its end", script->name);
	store_free(&test.store);
}
END_TEST

/* Run the loop until the client says it.
   @return all that it said, valid until the next call */
static const char *hear(struct test *test, int fd, const char *want)
{
	static char heard[2048];
	size_t used = 0;
	unsigned int left = 1000;
	ssize_t n;

	heard[0] = '\0';
	while (strstr(heard, want) == NULL) {
		ck_assert_msg(left-- > 0, "want \"%s\"", want);
		(void)event_base_loop(test->base, EVLOOP_NONBLOCK);
		n = recv(fd, heard + used, sizeof(heard) - 1 - used,
			 MSG_DONTWAIT);
		used += n > 0 ? (size_t)n : 0;
		heard[used] = '\0';
	}
	return heard;
}

/* NULL: nothing is awaited. */
static const char *exchange(struct test *test, int fd, const char *say,
			    const char *want)
{
	ck_assert_int_eq(write(fd, say, strlen(say)), (ssize_t)strlen(say));
	return want == NULL ? "" : hear(test, fd, want);
}

/* Run over a socket until the client is ready for mail.
   @return the server's end of it */
static int sign_in(struct test *test, bool once, int64_t gather_ms)
{
	const struct server_conn_settings settings = {
		.customer = {.hostname = "laptop",
			     .user = "me",
			     .password = "secret",
			     .reply_timeout_ms = 60000},
		.hostname = "laptop",
		.idle_timeout_ms = 60000,
		.once = once,
		.once_timeout_ms = 60000,
		.gather_ms = gather_ms,
		.close_timeout_ms = 60000,
	};
	struct bufferevent *bev;
	int fds[2];

	(void)signal(SIGPIPE, SIG_IGN); /* as in main() */
	test->store = open_store();
	test->base = event_base_new();
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	bev = bufferevent_socket_new(test->base, fds[0], BEV_OPT_CLOSE_ON_FREE);
	test->conn =
		server_conn_new(bev, test->store, &settings, on_ended, test);
	exchange(test, fds[1], "220 mx ESMTP\r\n", "EHLO laptop\r\n");
	exchange(test, fds[1], "250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n",
		 "AUTH PLAIN");
	exchange(test, fds[1], "235 2.7.0 Ok\r\n", "ATRN\r\n");
	exchange(test, fds[1], "250 2.0.0 Ok\r\n", "220 ");
	exchange(test, fds[1], "EHLO mx\r\n", "XRESTANTE\r\n");
	return fds[1];
}

static void clean_up(struct test *test)
{
	server_conn_free(&test->conn);
	store_free(&test->store);
	event_base_free(test->base);
}

/* After a reset no message is stored, though it can still be read: its 250
   would not be heard. */
START_TEST(test_reset)
{
	struct test test = {.ended = false};
	bool reset = _i == 1;
	int fd = sign_in(&test, false, 60000);

	exchange(&test, fd, MESSAGE("one"), NULL);
	if (!reset)
		(void)shutdown(fd, SHUT_WR); /* the server still reads */
	else
		(void)close(fd);
	event_base_dispatch(test.base);
	ck_assert(test.ended);
	ck_assert_int_eq(test.result.end, SERVER_CONN_LOST);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), reset ? 0 : 1);
	ck_assert_uint_eq(temp_count("Maildir/tmp", "", NULL), 0);
	if (!reset)
		(void)close(fd);
	clean_up(&test);
}
END_TEST

/* Send all at once; the socket has room for it. */
static void say_messages(int fd, unsigned int from, unsigned int count)
{
	char *text = rst_malloc(count * 2048), *p = text;
	unsigned int i;

	for (i = from; i < from + count; i++)
		p += sprintf(p,
			     "MAIL FROM:<a@example.net> XRESTANTE=m%u\r\n"
			     "RCPT TO:<me@example.org>\r\nBDAT 1500 LAST\r\n"
			     "%01500u",
			     i, i);
	ck_assert_int_eq(write(fd, text, (size_t)(p - text)), p - text);
	free(text);
}

/* Run the loop until so many messages are stored. */
static void await_stored(struct test *test, int fd, unsigned int count)
{
	char heard[4096], *p;
	unsigned int left = 10000;
	ssize_t n;

	while (count > 0) {
		ck_assert_msg(left-- > 0, "%u are not stored", count);
		(void)event_base_loop(test->base, EVLOOP_NONBLOCK);
		/* whole lines: one write brings them, and they fit */
		n = recv(fd, heard, sizeof(heard) - 1, MSG_DONTWAIT);
		heard[n < 0 ? 0 : n] = '\0';
		for (p = heard; (p = strstr(p, "Stored\r\n")) != NULL; p++)
			count--;
	}
}

/* Messages that can be read when the first has ended share its syncs, however
   libevent cuts the octets. See test_group_steps in test-store.c. */
#define GROUP_MAX 64

static const struct {
	unsigned int messages, groups;
} backlogs[] = {
	{1, 1}, {2, 1}, {40, 1}, {GROUP_MAX, 1}, {GROUP_MAX + 1, 2}, {100, 2},
};

START_TEST(test_backlog)
{
	unsigned int messages = backlogs[_i].messages;
	unsigned int groups = backlogs[_i].groups;
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 60000);

	fault_set(0, 0, 0);
	say_messages(fd, 0, messages);
	fault_step = 0; /* the test's own write counted as well */
	await_stored(&test, fd, messages);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), messages);
	ck_assert_uint_eq((unsigned int)fault_step, 3 * messages + 3 * groups);
	clean_up(&test);
	(void)close(fd);
}
END_TEST

/* Where few files may be open, few messages share their syncs. */
START_TEST(test_few_files)
{
	struct rlimit few;
	struct test test = {.ended = false};
	int fd;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &few), 0);
	few.rlim_cur = 40; /* valgrind does not let rlim_max be changed */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	fd = sign_in(&test, false, 60000);
	say_messages(fd, 0, 60);
	await_stored(&test, fd, 60);
	clean_up(&test);
	(void)close(fd);
}
END_TEST

/* The beginning of the next message is no reason to wait: its rest may come at
   any time. */
START_TEST(test_begun)
{
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 60000);

	exchange(&test, fd, MESSAGE("one") HALF("two"), "Stored\r\n");
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), 1);
	clean_up(&test);
	(void)close(fd);
	ck_assert_uint_eq(temp_count("Maildir/tmp", "", NULL), 0);
}
END_TEST

/* More octets can be read all the time, without an end in sight. */
START_TEST(test_endless)
{
	static const char octets[65536];
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 5);
	unsigned int left = 1000000;
	char heard[512] = "";
	ssize_t n;

	exchange(&test, fd, MESSAGE("one"), "Stored\r\n");
	/* a known message is not written */
	exchange(&test, fd,
		 MESSAGE("two") "MAIL FROM:<a@example.net> XRESTANTE=one\r\n"
				"RCPT TO:<me@example.org>\r\n"
				"BDAT 999999999999 LAST\r\n",
		 NULL);
	while (strstr(heard, "Stored\r\n") == NULL) {
		ck_assert_msg(left-- > 0, "it waits for ever");
		(void)send(fd, octets, sizeof(octets), MSG_DONTWAIT);
		(void)event_base_loop(test.base, EVLOOP_NONBLOCK);
		n = recv(fd, heard, sizeof(heard) - 1, MSG_DONTWAIT);
		heard[n < 0 ? 0 : n] = '\0';
	}
	clean_up(&test);
	(void)close(fd);
}
END_TEST

/* With `once` the announced messages may end in the middle of a group. */
START_TEST(test_once_in_group)
{
	struct test test = {.ended = false};
	int fd = sign_in(&test, true, 60000);

	exchange(&test, fd, SUMMARY("5"), NULL);
	say_messages(fd, 0, 30);
	(void)shutdown(fd, SHUT_WR);
	event_base_dispatch(test.base);
	ck_assert(test.ended);
	ck_assert_int_eq(test.result.end, SERVER_CONN_FINISHED);
	ck_assert_uint_eq(test.result.left, 0);
	ck_assert_uint_ge(test.result.stored, 5);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL),
			  test.result.stored);
	ck_assert_uint_eq(temp_count("Maildir/tmp", "", NULL), 0);
	(void)close(fd);
	clean_up(&test);
}
END_TEST

/* A server that shuts its side behind a QUIT has quit in order. */
START_TEST(test_quit_and_shut)
{
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 60000);

	say_messages(fd, 0, 30);
	ck_assert_int_eq(write(fd, "QUIT\r\n", 6), 6);
	(void)shutdown(fd, SHUT_WR);
	event_base_dispatch(test.base);
	ck_assert(test.ended);
	ck_assert_int_eq(test.result.end, SERVER_CONN_FINISHED);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), 30);
	(void)close(fd);
	clean_up(&test);
}
END_TEST

/* The disk is full from the first octet on: every message is answered 452. */
START_TEST(test_group_disk_full)
{
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 60000);

	say_messages(fd, 0, 30);
	fault_disk_full = true;
	hear(&test, fd, "452 4.3.1 ");
	(void)close(fd);
	event_base_dispatch(test.base);
	fault_disk_full = false;
	ck_assert_int_eq(test.result.end, SERVER_CONN_NO_ROOM);
	ck_assert_uint_eq(test.result.stored, 0);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL), 0);
	ck_assert_uint_eq(temp_count("Maildir/tmp", "", NULL), 0);
	clean_up(&test);
}
END_TEST

/* The Maildir is moved away before the messages are committed: every one is
   answered 452, also one that was stored before and is sent again. */
START_TEST(test_moved)
{
	struct test test = {.ended = false};
	int fd = sign_in(&test, false, 60000);

	say_messages(fd, 0, 1);
	hear(&test, fd, "250 2.0.0 Stored");
	ck_assert_int_eq(rename(temp_path("Maildir"), temp_path("away")), 0);
	say_messages(fd, 0, 30);
	hear(&test, fd, "452 4.3.1 ");
	(void)close(fd);
	event_base_dispatch(test.base);
	ck_assert_int_eq(test.result.end, SERVER_CONN_MOVED);
	ck_assert_uint_eq(test.result.stored, 1);
	ck_assert_uint_eq(temp_count("away/new", "", NULL), 1);
	ck_assert_uint_eq(temp_count("away/tmp", "", NULL), 0);
	ck_assert_int_ne(access(temp_path("Maildir"), F_OK), 0);
	clean_up(&test);
}
END_TEST

#define SERVER_HELLO "220 mx ESMTP\r\n250-mx\r\n250-AUTH PLAIN\r\n250 ATRN\r\n"

static const struct {
	const char *says, *want;
	bool signed_in;
} pipelined[] = {
	/* the client does not reply to EHLO twice */
	{SERVER_HELLO "235 2.7.0 Ok\r\n250 2.0.0 Ok\r\nEHLO mx\r\n" MESSAGE(
		 "one") "QUIT\r\n",
	 "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
	 "250 2.0.0 Stored\r\n221 2.0.0 Goodbye\r\n",
	 true},
	{SERVER_HELLO "535 5.7.8 No\r\n530 5.7.0 No\r\n", "QUIT\r\n", false},
};

/* The client says all at once, also its replies for after the turnaround. */
START_TEST(test_pipelined)
{
	const struct server_conn_settings settings = {
		.customer = {.hostname = "laptop",
			     .user = "me",
			     .password = "secret",
			     .pipelined = true,
			     .reply_timeout_ms = 60000},
		.hostname = "laptop",
		.idle_timeout_ms = 60000,
		.close_timeout_ms = 60000,
	};
	struct test test = {.store = open_store()};
	struct bufferevent *bev;
	const char *heard;
	int fds[2];

	(void)signal(SIGPIPE, SIG_IGN); /* as in main() */
	test.base = event_base_new();
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	bev = bufferevent_socket_new(test.base, fds[0], BEV_OPT_CLOSE_ON_FREE);
	test.conn =
		server_conn_new(bev, test.store, &settings, on_ended, &test);
	heard = exchange(&test, fds[1], "", "250 XRESTANTE\r\n");
	ck_assert_ptr_nonnull(strstr(heard, "ATRN\r\n220 laptop "));
	heard = exchange(&test, fds[1], pipelined[_i].says, pipelined[_i].want);
	ck_assert_str_eq(heard, pipelined[_i].want);
	(void)close(fds[1]);
	event_base_dispatch(test.base);
	ck_assert(test.ended);
	ck_assert(test.result.signed_in == pipelined[_i].signed_in);
	ck_assert_uint_eq(temp_count("Maildir/new", "", NULL),
			  pipelined[_i].signed_in ? 1 : 0);
	store_free(&test.store);
	event_base_free(test.base);
}
END_TEST

static Suite *server_conn_suite(void)
{
	Suite *suite = suite_create("server-conn");
	TCase *tc = tcase_create("scripts");

	tcase_add_checked_fixture(tc, temp_dir_make, temp_dir_remove);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_script, 0,
			    (int)N_ELEMENTS(scripts) * PACES);
	tcase_add_loop_test(tc, test_reset, 0, 2);
	tcase_add_loop_test(tc, test_pipelined, 0, N_ELEMENTS(pipelined));
	tcase_add_loop_test(tc, test_backlog, 0, (int)N_ELEMENTS(backlogs));
	tcase_add_test(tc, test_few_files);
	tcase_add_test(tc, test_begun);
	tcase_add_test(tc, test_endless);
	tcase_add_test(tc, test_once_in_group);
	tcase_add_test(tc, test_quit_and_shut);
	tcase_add_test(tc, test_group_disk_full);
	tcase_add_test(tc, test_moved);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return test_run(server_conn_suite());
}
