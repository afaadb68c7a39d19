/* SPDX-License-Identifier: MIT */
/* On a socket pair, not a bufferevent pair: the connection reads and writes
   itself. */
#include "core/policy-conn.h"
#include "core/policy-service.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "test-util.h"

#define REQUEST(recipient)                                                       \
	"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=" recipient \
	"\nsize=100\n\n"
#define DUNNO "action=DUNNO\n\n"
#define TOO_LARGE "action=552 5.3.4 Message size exceeds fixed limit\n\n"

static struct {
	struct event_base *base;
	struct policy_conn *conn;
	int peer;
	char asked[8192]; /* recipients, each with a blank after it */
	unsigned int asks, closed;
	bool later; /* do not answer inside decide() */
	bool free_inside;
	uint32_t id;
	const struct rst_policy_request *request; /* of the open question */
	char logged[128];                         /* the last line */
} t;

void log_line(int level, const struct rst_logline *line)
{
	(void)level;
	/* its message, without the values */
	(void)snprintf(t.logged, sizeof(t.logged), "%.*s",
		       (int)strcspn(line->text, ":"), line->text);
}

static void on_decide(struct policy_conn *conn,
		      const struct rst_policy_ask *ask, void *ctx)
{
	struct rst_str recipient = ask->request->recipient;
	bool big = rst_str_eq(recipient, RST_STR("big"));

	ck_assert_ptr_eq(ctx, &t);
	t.asks++;
	t.id = ask->id;
	t.request = ask->request;
	if (strlen(t.asked) + recipient.n + 2 < sizeof(t.asked)) {
		strncat(t.asked, recipient.p, recipient.n);
		strcat(t.asked, " ");
	}
	if (t.free_inside)
		policy_conn_free(&t.conn);
	else if (!t.later)
		policy_conn_answer(conn, ask->id,
				   big ? RST_POLICY_TOO_LARGE
				       : RST_POLICY_DUNNO);
}

static void on_closed(struct policy_conn *conn, void *ctx)
{
	(void)ctx;
	ck_assert_ptr_eq(conn, t.conn);
	t.conn = NULL;
	t.closed++;
}

static const struct policy_conn_callbacks calls = {on_decide, on_closed};

static void begin_idle(int64_t answer_timeout_ms, int64_t idle_ms)
{
	const struct policy_conn_times times = {answer_timeout_ms, idle_ms};
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.peer = fds[1];
	t.conn = policy_conn_new(t.base, fds[0], &times, &calls, &t);
}

static void begin(int64_t answer_timeout_ms)
{
	begin_idle(answer_timeout_ms, POLICY_CONN_IDLE_MS);
}

static void finish(void)
{
	policy_conn_free(&t.conn);
	(void)close(t.peer);
	event_base_free(t.base);
}

static void turn(void)
{
	ck_assert_int_ge(event_base_loop(t.base, EVLOOP_NONBLOCK), 0);
}

static void put(const char *data, size_t n)
{
	ck_assert_int_eq(send(t.peer, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

static size_t get(char *buf, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used + 1 < size &&
	       (n = recv(t.peer, buf + used, size - 1 - used, 0)) > 0)
		used += (size_t)n;
	buf[used] = '\0';
	return used;
}

static void check_answer(const char *want)
{
	char buf[4096];

	(void)get(buf, sizeof(buf));
	ck_assert_str_eq(buf, want);
}

static const struct {
	const char *input, *asked, *answer;
	bool closed;
} tables[] = {
	{REQUEST("a@b"), "a@b ", DUNNO, false},
	{REQUEST("a") REQUEST("big") REQUEST("c"), "a big c ",
	 DUNNO TOO_LARGE DUNNO, false},
	{REQUEST("a") "request=smtpd", "a ", DUNNO, false},
	{REQUEST("a") "nonsense\n\n", "a ", DUNNO, true},
	{"request=other\n\n", "", "", true},
	{"\n", "", "", true},
};

START_TEST(test_whole)
{
	begin(1000);
	put(tables[_i].input, strlen(tables[_i].input));
	turn();
	ck_assert_str_eq(t.asked, tables[_i].asked);
	check_answer(tables[_i].answer);
	ck_assert_uint_eq(t.closed, tables[_i].closed ? 1 : 0);
	finish();
}
END_TEST

START_TEST(test_cut)
{
	size_t n = strlen(tables[_i].input), cut;

	for (cut = 1; cut < n; cut++) {
		begin(1000);
		put(tables[_i].input, cut);
		turn();
		if (!t.closed)
			put(tables[_i].input + cut, n - cut);
		turn();
		ck_assert_str_eq(t.asked, tables[_i].asked);
		check_answer(tables[_i].answer);
		ck_assert_uint_eq(t.closed, tables[_i].closed ? 1 : 0);
		finish();
	}
}
END_TEST

START_TEST(test_octet_by_octet)
{
	const char *p;

	begin(1000);
	for (p = tables[_i].input; *p != '\0' && !t.closed; p++) {
		put(p, 1);
		turn();
	}
	ck_assert_str_eq(t.asked, tables[_i].asked);
	check_answer(tables[_i].answer);
	ck_assert_uint_eq(t.closed, tables[_i].closed ? 1 : 0);
	finish();
}
END_TEST

START_TEST(test_closed_in_the_middle)
{
	begin(1000);
	put("request=smtpd_access_policy\nrecip", 33);
	turn();
	ck_assert_uint_eq(t.closed, 0);
	ck_assert_int_eq(shutdown(t.peer, SHUT_WR), 0);
	turn();
	ck_assert_uint_eq(t.closed, 1);
	ck_assert_uint_eq(t.asks, 0);
	finish();
}
END_TEST

/* A peer that writes and does not read: the octets that wait are bounded, and
   every answer comes once the peer reads. */
START_TEST(test_slow_reader)
{
	static const char request[] = REQUEST("x");
	static char buf[1 << 20];
	unsigned int sent = 0, rounds = 0;
	size_t got = 0;
	int small = 1;

	begin(1000);
	(void)setsockopt(t.peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	while (rounds++ < 200000 &&
	       send(t.peer, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0) {
		sent++;
		turn();
	}
	ck_assert_uint_lt(rounds, 200000);
	ck_assert_uint_lt(t.asks, sent);
	while (t.asks < sent && rounds++ < 400000) {
		got += get(buf, sizeof(buf));
		turn();
	}
	turn();
	got += get(buf, sizeof(buf));
	ck_assert_uint_eq(t.asks, sent);
	ck_assert_uint_eq(got, sent * strlen(DUNNO));
	ck_assert_uint_eq(t.closed, 0);
	finish();
}
END_TEST

START_TEST(test_answered_later)
{
	begin(60000);
	t.later = true;
	put(REQUEST("a") REQUEST("b"), 2 * strlen(REQUEST("a")));
	turn();
	check_answer("");
	ck_assert_uint_eq(t.asks, 1);
	policy_conn_answer(t.conn, t.id, RST_POLICY_NO_ROOM);
	check_answer("action=452 4.2.2 Mailbox full\n\n");
	ck_assert_uint_eq(t.asks, 2);
	policy_conn_answer(t.conn, t.id, RST_POLICY_DUNNO);
	check_answer(DUNNO);
	finish();
}
END_TEST

START_TEST(test_never_answered)
{
	char octet;

	begin(1);
	t.later = true;
	put(REQUEST("a"), strlen(REQUEST("a")));
	while (t.asks == 0)
		turn();
	/* on a slow machine the timer may have run already */
	while (recv(t.peer, &octet, 1, MSG_PEEK) < 0)
		turn();
	check_answer(DUNNO);
	finish();
}
END_TEST

/* An open question's octets stay where they were, whatever came with them and
   behind them. */
START_TEST(test_question_stays)
{
	begin(60000);
	t.later = true;
	put(REQUEST("a") REQUEST("first@b") "request=smtpd_acc", 163);
	turn();
	policy_conn_answer(t.conn, t.id, RST_POLICY_DUNNO);
	put("ess_policy\nrecipient=c\n\n", 24);
	turn();
	ck_assert_uint_eq(t.asks, 2);
	ck_assert_rst_str_eq(t.request->recipient, "first@b");
	policy_conn_answer(t.conn, t.id, RST_POLICY_DUNNO);
	turn();
	ck_assert_str_eq(t.asked, "a first@b c ");
	policy_conn_answer(t.conn, t.id, RST_POLICY_DUNNO);
	check_answer(DUNNO DUNNO DUNNO);
	finish();
}
END_TEST

/* A connection is idle if nothing is asked for the whole time; what was asked
   before does not count. */
#define IDLE_MS 400 /* a busy machine stalls for less than three quarters */
START_TEST(test_idle)
{
	struct timespec start, now;
	int64_t ms;

	begin_idle(1000, IDLE_MS);
	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &start), 0);
	put(REQUEST("a"), strlen(REQUEST("a")));
	turn();
	check_answer(DUNNO);
	if (_i == 1) { /* once more, in the middle */
		do {
			turn();
			ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now),
					 0);
			ms = (now.tv_sec - start.tv_sec) * 1000 +
			     (now.tv_nsec - start.tv_nsec) / 1000000;
		} while (ms < IDLE_MS / 4);
		put(REQUEST("b"), strlen(REQUEST("b")));
	}
	while (t.closed == 0)
		ck_assert_int_ge(event_base_loop(t.base, EVLOOP_ONCE), 0);
	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	ms = (now.tv_sec - start.tv_sec) * 1000 +
	     (now.tv_nsec - start.tv_nsec) / 1000000;
	ck_assert_int_ge(ms, IDLE_MS + (_i == 1 ? IDLE_MS / 4 : 0) - 2);
	ck_assert_uint_eq(t.asks, _i == 1 ? 2 : 1);
	finish();
}
END_TEST

START_TEST(test_too_long)
{
	static char attribute[1002];
	unsigned int i;

	memset(attribute, 'x', sizeof(attribute));
	attribute[1] = '=';
	attribute[sizeof(attribute) - 1] = '\n';
	begin(1000);
	for (i = 0; i < 70 && t.closed == 0; i++) {
		put(attribute, sizeof(attribute));
		turn();
	}
	ck_assert_uint_eq(t.closed, 1);
	ck_assert_uint_le(i, 67);
	finish();
}
END_TEST

/* Requests behind an open question wait in the peer's own socket. */
START_TEST(test_flood_behind_question)
{
	unsigned int rounds = 0;

	begin(60000);
	t.later = true;
	while (rounds++ < 100000 &&
	       send(t.peer, REQUEST("a"), strlen(REQUEST("a")), MSG_NOSIGNAL) >
		       0)
		turn();
	ck_assert_uint_lt(rounds, 100000);
	ck_assert_uint_eq(t.asks, 1);
	while (t.asks < 3) {
		policy_conn_answer(t.conn, t.id, RST_POLICY_DUNNO);
		turn();
	}
	check_answer(DUNNO DUNNO);
	finish();
}
END_TEST

START_TEST(test_freed_inside)
{
	begin(1000);
	t.free_inside = true;
	put(REQUEST("a") REQUEST("b"), 2 * strlen(REQUEST("a")));
	turn();
	ck_assert_ptr_null(t.conn);
	ck_assert_uint_eq(t.asks, 1);
	ck_assert_uint_eq(t.closed, 0);
	finish();
}
END_TEST

/* The next owner of a detached descriptor reads what comes next. A connection
   with half a request is closed. */
START_TEST(test_detached)
{
	char buf[256];
	int fd;

	begin(1000);
	put(REQUEST("a"), strlen(REQUEST("a")));
	turn();
	check_answer(DUNNO);
	if (_i == 1) {
		put("request=smtpd", 13);
		turn();
	}
	fd = policy_conn_detach(&t.conn);
	ck_assert_ptr_null(t.conn);
	ck_assert_uint_eq(t.closed, 0);
	if (_i == 0) {
		ck_assert_int_ge(fd, 0);
		put("next", 4);
		ck_assert_int_eq(recv(fd, buf, sizeof(buf), 0), 4);
		(void)close(fd);
	}
	ck_assert_int_eq(fd >= 0, _i == 0);
	ck_assert_int_eq(recv(t.peer, buf, sizeof(buf), 0), 0);
	finish();
}
END_TEST

static const struct {
	const char *state, *size;
	uint64_t limit;
	const char *answer;
} decisions[] = {
	{"RCPT", "1000", 0, DUNNO},
	{"RCPT", "1000", 1000, DUNNO},
	{"RCPT", "1001", 1000, TOO_LARGE},
	{"END-OF-MESSAGE", "1001", 1000, TOO_LARGE},
	{"DATA", "1001", 1000, DUNNO},
	{"RCPT", "", 1000, DUNNO},
	{"RCPT", "0", 1000, DUNNO},
	{"RCPT", "99999999999999999999999", 1000, DUNNO},
};

/* The kernel chooses a name in the abstract namespace. */
static int make_listener(struct sockaddr_un *addr, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	*len = sizeof(*addr);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)),
			 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)addr, len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

/* A whole service, and a connection of Postfix that waits to be accepted. */
static struct policy_service *begin_service(const struct conf *conf)
{
	struct policy_service *service;
	struct sockaddr_un addr;
	socklen_t len;

	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	ck_assert_int_eq(event_base_priority_init(t.base, 2), 0);
	service = policy_service_new(t.base, make_listener(&addr, &len), conf);
	t.peer = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(t.peer, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(fcntl(t.peer, F_SETFL, O_NONBLOCK), 0);
	return service;
}

static void finish_service(struct policy_service *service)
{
	int *fds;
	unsigned int n = policy_service_detach(&service, &fds);

	ck_assert_ptr_null(service);
	ck_assert_uint_eq(n, 2);
	while (n-- > 0)
		(void)close(fds[n]);
	free(fds);
	finish();
}

START_TEST(test_decide)
{
	const struct conf conf = {.policy_timeout_ms = 1000,
				  .recipient_delimiter = (char *)"",
				  .message_size_limit = decisions[_i].limit};
	struct policy_service *service = begin_service(&conf);
	char request[256];

	(void)snprintf(request, sizeof(request),
		       "request=smtpd_access_policy\nprotocol_state=%s\n"
		       "recipient=a\nsize=%s\n\n",
		       decisions[_i].state, decisions[_i].size);
	put(request, strlen(request));
	turn();
	turn();
	check_answer(decisions[_i].answer);
	ck_assert_str_eq(t.logged, "");
	finish_service(service);
}
END_TEST

static const struct {
	const char *state, *recipient;
	bool refused;
} full[] = {
	{"RCPT", "a@example.org", true},
	{"RCPT", "A+x@Example.org", true},
	{"RCPT", "b@example.org", false},
	{"DATA", "a@example.org", false},
	{"END-OF-MESSAGE", "a@example.org", false},
};

START_TEST(test_full)
{
	const struct conf conf = {.policy_timeout_ms = 1000,
				  .recipient_delimiter = (char *)"+"};
	struct policy_service *service = begin_service(&conf);
	char request[256];
	int round;

	(void)snprintf(request, sizeof(request),
		       "request=smtpd_access_policy\nprotocol_state=%s\n"
		       "recipient=%s\nsize=1\n\n",
		       full[_i].state, full[_i].recipient);
	for (round = 0; round < 3; round++) {
		policy_service_full(service, RST_STR("a@example.org"),
				    round == 1);
		put(request, strlen(request));
		turn();
		turn();
		check_answer(round == 1 && full[_i].refused
				     ? "action=452 4.2.2 Mailbox full\n\n"
				     : DUNNO);
	}
	finish_service(service);
}
END_TEST

/* Runs turn() when the process can have no more descriptors. A child sets the
   limit, so that the kernel keeps it: where a process sets its own, valgrind
   does so, which lets accept(2) succeed and then closes the connection. */
static void turn_without_descriptors(void)
{
	pid_t parent = getpid(), child;
	struct rlimit before, none;
	int fds[2], status;
	char octet = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	child = fork();
	if (child == 0)
		_exit(prlimit(parent, RLIMIT_NOFILE, &none, NULL) < 0 ||
		      write(fds[1], &octet, 1) != 1 ||
		      read(fds[1], &octet, 1) != 1 ||
		      prlimit(parent, RLIMIT_NOFILE, &before, NULL) < 0);
	ck_assert_int_gt(child, 0);
	(void)close(fds[1]);
	ck_assert_int_eq(read(fds[0], &octet, 1), 1);
	turn();
	ck_assert_int_eq(write(fds[0], &octet, 1), 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	(void)close(fds[0]);
}

/* The connection stays, and is accepted a second later. */
START_TEST(test_no_descriptors)
{
	const struct conf conf = {.policy_timeout_ms = 1000,
				  .recipient_delimiter = (char *)""};
	struct policy_service *service = begin_service(&conf);

	turn_without_descriptors();
	ck_assert_str_eq(t.logged, "policy connection not accepted");
	put(REQUEST("a"), strlen(REQUEST("a")));
	turn();
	check_answer("");
	ck_assert_int_eq(event_base_loop(t.base, EVLOOP_ONCE), 0);
	turn();
	turn();
	check_answer(DUNNO);
	finish_service(service);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy-conn");
	TCase *tcase = tcase_create("connection");

	tcase_add_loop_test(tcase, test_whole, 0, N_ELEMENTS(tables));
	tcase_add_loop_test(tcase, test_cut, 0, N_ELEMENTS(tables));
	tcase_add_loop_test(tcase, test_octet_by_octet, 0, N_ELEMENTS(tables));
	tcase_add_test(tcase, test_closed_in_the_middle);
	tcase_add_test(tcase, test_slow_reader);
	tcase_add_test(tcase, test_answered_later);
	tcase_add_test(tcase, test_never_answered);
	tcase_add_test(tcase, test_question_stays);
	tcase_add_loop_test(tcase, test_idle, 0, 2);
	tcase_add_test(tcase, test_too_long);
	tcase_add_test(tcase, test_flood_behind_question);
	tcase_add_test(tcase, test_freed_inside);
	tcase_add_loop_test(tcase, test_detached, 0, 2);
	tcase_add_loop_test(tcase, test_decide, 0, N_ELEMENTS(decisions));
	tcase_add_loop_test(tcase, test_full, 0, N_ELEMENTS(full));
	tcase_add_test(tcase, test_no_descriptors);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
