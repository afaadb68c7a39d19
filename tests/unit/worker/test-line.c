/* SPDX-License-Identifier: MIT */
#include "worker/line.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test-util.h"

#define KIB 1024

static const char octets[200000];

static struct {
	struct event_base *base;
	struct line line;
	int client; /* the other end, where the line has a socket */
} stage;

static void begin(int fd, int client, const char *congestion)
{
	stage.base = event_base_new();
	stage.client = client;
	line_init(&stage.line,
		  bufferevent_socket_new(stage.base, fd, BEV_OPT_CLOSE_ON_FREE),
		  congestion, 5000);
}

/* Nothing leaves: what is written can be looked at. */
static void without_socket(void)
{
	begin(-1, -1, "");
}

/* The client's end blocks, ours does not. */
static void on_unix_socket(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(evutil_make_socket_nonblocking(fds[1]), 0);
	begin(fds[1], fds[0], "");
}

static void on_tcp(const char *congestion)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int client = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	(void)getsockname(listener, (struct sockaddr *)&address, &len);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&address, len), 0);
	begin(accept4(listener, NULL, NULL, SOCK_NONBLOCK), client, congestion);
	(void)close(listener);
}

static void teardown(void)
{
	line_close(&stage.line);
	if (stage.client >= 0)
		(void)close(stage.client);
	event_base_free(stage.base);
}

static void turn(void)
{
	(void)event_base_loop(stage.base, EVLOOP_NONBLOCK);
}

static struct evbuffer *output(void)
{
	return bufferevent_get_output(stage.line.bev);
}

static struct evbuffer *input(void)
{
	return bufferevent_get_input(stage.line.bev);
}

static int option(int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(bufferevent_getfd(stage.line.bev), level,
				    name, &value, &len),
			 0);
	return value;
}

/* ---- records */

/* Elements of the queue as text, like "2800x3 16". */
static const char *elements(void)
{
	static char text[2000];
	struct evbuffer_iovec pieces[100];
	int i, same = 1, n = evbuffer_peek(output(), -1, NULL, pieces, 100);
	size_t used = 0;

	text[0] = '\0';
	ck_assert_int_le(n, 100);
	for (i = 0; i < n; i++, same++) {
		if (i + 1 < n && pieces[i].iov_len == pieces[i + 1].iov_len)
			continue;
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s%zu", used == 0 ? "" : " ",
					 pieces[i].iov_len);
		if (same > 1)
			used += (size_t)snprintf(
				text + used, sizeof(text) - used, "x%d", same);
		same = 0;
	}
	return text;
}

static const struct {
	const char *name;
	struct {
		size_t len;
		int64_t ms;
	} writes[4];
	const char *want;
} cases[] = {
	{"nothing", {{0, 0}}, ""},
	{"one word", {{5, 0}}, "5"},
	{"a message", {{6000, 0}}, "2800x2 400"},
	{"words are not put together", {{5, 0}, {6, 1}}, "5 6"},
	{"small ones first", {{100000, 0}, {40000, 999}}, "2800x24 72800"},
	{"and again after a pause",
	 {{100000, 0}, {6000, 1000}},
	 "2800x24 32800 2800x2 400"},
	{"after a pause of a day",
	 {{100000, 5}, {1, 86400000}, {100000, 86400001}},
	 "2800x24 32800 1 2800x24 32800"},
};

START_TEST(test_write)
{
	size_t i, total = 0;

	without_socket();
	for (i = 0; i < N_ELEMENTS(cases[_i].writes); i++) {
		if (cases[_i].writes[i].len == 0)
			continue;
		line_write(&stage.line, octets, cases[_i].writes[i].len,
			   cases[_i].writes[i].ms);
		total += cases[_i].writes[i].len;
	}
	ck_assert_uint_eq(evbuffer_get_length(output()), total);
	if (strcmp(cases[_i].name, "small ones first") != 0)
		ck_assert_str_eq(elements(), cases[_i].want);
	else /* how libevent queues large ones is its own */
		ck_assert_int_eq(strncmp(elements(), "2800x24 ", 8), 0);
}
END_TEST

START_TEST(test_lines)
{
	without_socket();
	line_write_lines(&stage.line, "a\r\nbcd\r\n\nx", 10);
	ck_assert_uint_eq(evbuffer_get_length(output()), 10);
	ck_assert_str_eq(elements(), "3 5 1x2");
}
END_TEST

/* ---- queues */

START_TEST(test_room)
{
	without_socket();
	ck_assert_uint_eq(line_room(&stage.line), LINE_OUTPUT_MAX);
	ck_assert(line_is_flushed(&stage.line));
	line_write(&stage.line, octets, 1, 0);
	ck_assert(!line_is_flushed(&stage.line));
	ck_assert_uint_eq(line_room(&stage.line), LINE_OUTPUT_MAX - 1);
	line_write(&stage.line, octets, LINE_OUTPUT_MAX - 1, 0);
	ck_assert_uint_eq(line_room(&stage.line), 0);
	/* a plain client's message may be longer */
	line_write_lines(&stage.line, octets, LINE_OUTPUT_MAX);
	ck_assert_uint_eq(line_room(&stage.line), 0);
}
END_TEST

static void on_write(struct bufferevent *bev, void *arg)
{
	unsigned int *calls = arg;

	(void)bev;
	(*calls)++;
}

/* The session is asked for more while half of it is left; for its last words it
   hears when all is gone. */
START_TEST(test_asks_for_more)
{
	unsigned int calls = 0;
	size_t low, high;

	on_unix_socket();
	bufferevent_setcb(stage.line.bev, NULL, on_write, NULL, &calls);
	(void)bufferevent_getwatermark(stage.line.bev, EV_WRITE, &low, &high);
	ck_assert_uint_eq(low, LINE_OUTPUT_MAX / 2);
	line_write(&stage.line, octets, 100, 0);
	turn();
	ck_assert_uint_eq(calls, 1);
	line_finish(&stage.line);
	(void)bufferevent_getwatermark(stage.line.bev, EV_WRITE, &low, &high);
	ck_assert_uint_eq(low, 0);
}
END_TEST

/* The client says so many octets more, and the line has them. */
static void client_says(size_t n)
{
	size_t want = evbuffer_get_length(input()) + n;
	int left = 100;

	ck_assert_int_eq(send(stage.client, octets, n, MSG_NOSIGNAL), n);
	while (evbuffer_get_length(input()) < want && left-- > 0)
		turn();
	ck_assert_uint_eq(evbuffer_get_length(input()), want);
}

START_TEST(test_input)
{
	on_unix_socket();
	ck_assert_uint_eq(line_input(&stage.line).n, 0);
	client_says(3);
	ck_assert_uint_eq(line_input(&stage.line).n, 3);
	line_take(&stage.line, 2);
	ck_assert_uint_eq(line_input(&stage.line).n, 1);
	client_says(LINE_INPUT_MAX);
	ck_assert_uint_eq(line_input(&stage.line).n, LINE_INPUT_MAX);
}
END_TEST

static bool reads(void)
{
	line_restrain(&stage.line);
	return (bufferevent_get_enabled(stage.line.bev) & EV_READ) != 0;
}

START_TEST(test_restrain)
{
	on_unix_socket();
	client_says(LINE_INPUT_MAX);
	ck_assert(reads());
	client_says(1);
	ck_assert(!reads());
	line_take(&stage.line, 1);
	ck_assert(reads());
}
END_TEST

/* ---- the limit of unsent octets */

static const struct {
	const char *name;
	/* this is written, so many times, with such a pause */
	size_t octets;
	unsigned int times;
	int64_t pause_ms;
	unsigned int least, most;
} lines[] = {
	{"nothing", 0, 10, 1000, LINE_UNSENT_MIN, LINE_UNSENT_MIN},
	{"a line of 300 kB/s", 3000, 1000, 10, LINE_UNSENT_MIN,
	 LINE_UNSENT_MIN},
	{"10 Mbit/s", 16 * KIB, 1000, 13, 100 * KIB, 150 * KIB},
	{"10 Mbit/s, in waves", 750000, 20, 600, 100 * KIB, 150 * KIB},
	{"a line of the house", 1024 * KIB, 100, 10, LINE_UNSENT_MAX,
	 LINE_UNSENT_MAX},
	{"one message after a day", 1024 * KIB, 1, 86400000, LINE_UNSENT_MIN,
	 LINE_UNSENT_MIN},
};

START_TEST(test_limit_of_lines)
{
	int64_t now_ms = 1000;
	unsigned int i, changes = 0, before = LINE_UNSENT_MIN;

	without_socket();
	line_measure(&stage.line, now_ms);
	ck_assert_uint_eq(stage.line.unsent.limit, LINE_UNSENT_MIN);
	for (i = 0; i < lines[_i].times; i++) {
		now_ms += lines[_i].pause_ms;
		line_moved(&stage.line, lines[_i].octets, now_ms);
		if (stage.line.unsent.limit != before)
			changes++;
		before = stage.line.unsent.limit;
	}
	ck_assert_uint_ge(stage.line.unsent.limit, lines[_i].least);
	ck_assert_uint_le(stage.line.unsent.limit, lines[_i].most);
	/* each is a system call */
	ck_assert_uint_le(changes, 3);
}
END_TEST

/* Octets are written at `ms`; then this is the limit, also the kernel's. */
static void moved(size_t n, int64_t ms, unsigned int limit)
{
	line_moved(&stage.line, n, ms);
	ck_assert_uint_eq(stage.line.unsent.limit, limit);
	ck_assert_int_eq(option(IPPROTO_TCP, TCP_NOTSENT_LOWAT), limit);
}

START_TEST(test_slows_down)
{
	on_tcp("");
	line_measure(&stage.line, 0);
	moved(200 * KIB, 100, LINE_UNSENT_MIN);
	moved(200 * KIB, 200, 200 * KIB);
	moved(300 * KIB, 400, 200 * KIB);
	moved(10 * KIB, 600, LINE_UNSENT_MIN);
}
END_TEST

/* ---- TCP */

START_TEST(test_options)
{
	on_tcp("");
	ck_assert_int_eq(option(IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(option(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
			 LINE_UNSENT_MIN);
	ck_assert_int_eq(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
	ck_assert_int_eq(option(SOL_SOCKET, SO_KEEPALIVE), 1);
}
END_TEST

static bool has_reno(void)
{
	char name[17] = "";
	socklen_t len = sizeof(name) - 1;

	ck_assert_int_eq(getsockopt(bufferevent_getfd(stage.line.bev),
				    IPPROTO_TCP, TCP_CONGESTION, name, &len),
			 0);
	return strcmp(name, "reno") == 0;
}

static const struct {
	const char *name;
	size_t octets[2]; /* written 100 and 300 ms after the start */
	bool reno[2];
} sessions[] = {
	{"a letter", {LINE_MUCH - 1, 0}, {false, false}},
	{"much", {LINE_MUCH, 0}, {true, true}},
	{"much at last", {LINE_MUCH - 1, 1}, {false, true}},
};

/* "reno" is in every kernel, and every user may choose it. */
START_TEST(test_congestion)
{
	int i;

	on_tcp("reno");
	(void)setsockopt(bufferevent_getfd(stage.line.bev), IPPROTO_TCP,
			 TCP_CONGESTION, "cubic", 5);
	if (has_reno())
		return; /* it has nothing else */
	line_measure(&stage.line, 0);
	for (i = 0; i < 2; i++) {
		line_moved(&stage.line, sessions[_i].octets[i], 100 + 200 * i);
		ck_assert_int_eq(has_reno(), sessions[_i].reno[i]);
	}
}
END_TEST

/* ---- the end */

/* The last words arrive, then the end; and what the client still says is
   read. */
START_TEST(test_shut)
{
	char buf[16];

	on_tcp("");
	line_write(&stage.line, "bye\r\n", 5, 0);
	line_finish(&stage.line);
	turn();
	ck_assert(line_is_flushed(&stage.line));
	ck_assert(!stage.line.shut);
	ck_assert(line_shut(&stage.line));
	ck_assert(stage.line.shut);
	ck_assert_int_eq(send(stage.client, "late", 4, MSG_NOSIGNAL), 4);
	turn();
	ck_assert_uint_eq(line_input(&stage.line).n, 4);
	ck_assert_int_eq(recv(stage.client, buf, sizeof(buf), MSG_WAITALL), 5);
	ck_assert_int_eq(memcmp(buf, "bye\r\n", 5), 0);
	line_close(&stage.line);
	ck_assert_ptr_null(stage.line.bev);
}
END_TEST

START_TEST(test_shut_broken)
{
	without_socket();
	ck_assert(!line_shut(&stage.line));
}
END_TEST

START_TEST(test_reset)
{
	char buf[16];

	on_tcp("");
	line_reset(&stage.line);
	line_close(&stage.line);
	turn(); /* libevent closes it from the loop */
	ck_assert_int_eq(recv(stage.client, buf, sizeof(buf), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

static TCase *tcase(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, NULL, teardown);
	suite_add_tcase(suite, tc);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("line");
	TCase *tc = tcase(suite, "records");

	tcase_add_loop_test(tc, test_write, 0, N_ELEMENTS(cases));
	tcase_add_test(tc, test_lines);
	tc = tcase(suite, "queues");
	tcase_add_test(tc, test_room);
	tcase_add_test(tc, test_asks_for_more);
	tcase_add_test(tc, test_input);
	tcase_add_test(tc, test_restrain);
	tc = tcase(suite, "limit");
	tcase_add_loop_test(tc, test_limit_of_lines, 0, N_ELEMENTS(lines));
	tcase_add_test(tc, test_slows_down);
	tc = tcase(suite, "tcp");
	tcase_add_test(tc, test_options);
	tcase_add_loop_test(tc, test_congestion, 0, N_ELEMENTS(sessions));
	tc = tcase(suite, "end");
	tcase_add_test(tc, test_shut);
	tcase_add_test(tc, test_shut_broken);
	tcase_add_test(tc, test_reset);
	return test_run(suite);
}
