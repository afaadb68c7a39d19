/* SPDX-License-Identifier: MIT */
/* Both ends of the pair between core and worker, and peers that break the
   protocol. */
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ipc-conn.h"
#include "common/log.h"
#include "test-util.h"

struct end {
	struct ipc_conn *conn;
	unsigned int messages;
	unsigned int closed;
	int fd; /* the last descriptor received */
	uint64_t session;
	bool free_in_message, free_in_closed;
};

static struct event_base *base;
static struct end core, worker;
static int raw = -1; /* the peer, where it is no ipc_conn */

static void on_message(const struct rst_ipc *msg, int fd, void *ctx)
{
	struct end *end = ctx;

	/* in order */
	ck_assert_uint_gt(msg->session, end->session);
	end->session = msg->session;
	end->messages++;
	if (fd >= 0) {
		ck_assert_int_lt(end->fd, 0);
		end->fd = fd;
	}
	if (end->free_in_message)
		ipc_conn_free(&end->conn);
	/* the views are good until the end of the callback */
	ck_assert_rst_str_eq(msg->a, msg->type == RST_IPC_DISMISS ? "bye" : "");
}

static void on_closed(void *ctx)
{
	struct end *end = ctx;

	ck_assert_uint_eq(++end->closed, 1);
	if (end->free_in_closed)
		ipc_conn_free(&end->conn);
}

static struct ipc_conn *make(int fd, enum rst_ipc_side side, struct end *end)
{
	*end = (struct end){.fd = -1};
	end->conn = ipc_conn_new(base, fd, side, on_message, on_closed, end);
	return end->conn;
}

static void pair(int fds[2])
{
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
}

static void setup(void)
{
	log_open("test", true);
	base = event_base_new();
}

static void setup_pair(void)
{
	int fds[2];

	setup();
	pair(fds);
	make(fds[0], RST_IPC_TO_CORE, &core);
	make(fds[1], RST_IPC_TO_WORKER, &worker);
}

static void setup_raw(void)
{
	int fds[2];

	setup();
	pair(fds);
	make(fds[0], RST_IPC_TO_WORKER, &worker);
	core = (struct end){.fd = -1};
	raw = fds[1];
}

static void teardown(void)
{
	ipc_conn_free(&core.conn);
	ipc_conn_free(&worker.conn);
	if (core.fd >= 0)
		(void)close(core.fd);
	if (worker.fd >= 0)
		(void)close(worker.fd);
	if (raw >= 0)
		(void)close(raw);
	event_base_free(base);
}

static void turns(unsigned int count)
{
	while (count-- > 0)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void say(struct ipc_conn *conn, enum rst_ipc_type type, uint64_t session,
		const char *a, int fd)
{
	const struct rst_ipc msg = {
		.type = type, .session = session, .a = rst_str(a)};

	ipc_conn_send(conn, &msg, fd);
}

static int open_file(void)
{
	int fd = dup(STDIN_FILENO);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(test_both_ways)
{
	int fd = open_file();

	say(core.conn, RST_IPC_HELD, 1, "", -1);
	say(core.conn, RST_IPC_HOLD, 2, "", fd);
	say(core.conn, RST_IPC_DISMISS, 3, "bye", -1);
	say(worker.conn, RST_IPC_CLOSED, 1, "", -1);
	turns(3);
	ck_assert_uint_eq(worker.messages, 3);
	ck_assert_int_ge(worker.fd, 0);
	ck_assert(worker.fd == fd || !is_open(fd));
	ck_assert_int_ne(fcntl(worker.fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_uint_eq(core.messages, 1);
}
END_TEST

/* More than the socket takes: all of it arrives, in order, the descriptor
   too. */
START_TEST(test_queue)
{
	unsigned int i;

	for (i = 1; i <= 3000; i++)
		say(core.conn, i == 2500 ? RST_IPC_HOLD : RST_IPC_HELD, i, "",
		    i == 2500 ? open_file() : -1);
	turns(1000);
	ck_assert_uint_eq(worker.messages, 3000);
	ck_assert_int_ge(worker.fd, 0);
	ck_assert_uint_eq(core.closed, 0);
}
END_TEST

START_TEST(test_peer_gone)
{
	ipc_conn_free(&core.conn);
	worker.free_in_closed = true;
	say(worker.conn, RST_IPC_CLOSED, 1, "", -1);
	turns(3);
	ck_assert_uint_eq(worker.closed, 1);
	ck_assert_ptr_null(worker.conn);
}
END_TEST

/* `closed` is called once. The connection may be kept, and takes nothing more.
 */
START_TEST(test_peer_gone_kept)
{
	int fd = open_file();

	ipc_conn_free(&worker.conn);
	turns(3);
	ck_assert_uint_eq(core.closed, 1);
	say(core.conn, RST_IPC_HOLD, 1, "", fd);
	ck_assert(!is_open(fd));
	turns(3);
}
END_TEST

START_TEST(test_free_in_message)
{
	worker.free_in_message = true;
	say(core.conn, RST_IPC_DISMISS, 1, "bye", -1);
	say(core.conn, RST_IPC_DISMISS, 2, "bye", -1);
	turns(3);
	ck_assert_uint_eq(worker.messages, 1);
	ck_assert_uint_eq(worker.closed, 0);
}
END_TEST

static void send_raw(const char *buf, size_t len, int fd_count)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(char *)buf, len};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[2] = {STDIN_FILENO, STDOUT_FILENO};

	if (fd_count > 0) {
		size_t size = (size_t)fd_count * sizeof(int);
		struct cmsghdr *cmsg;

		hdr.msg_control = control.buf;
		hdr.msg_controllen = CMSG_SPACE(size);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(cmsg), fds, size);
	}
	ck_assert_int_eq(sendmsg(raw, &hdr, 0), len);
}

static const struct {
	const char *name;
	enum rst_ipc_type type;
	int fds;
	size_t len; /* 0: as encoded */
	bool good;
} raws[] = {
	{"good", RST_IPC_HELD, 0, 0, true},
	{"good, with fd", RST_IPC_HOLD, 1, 0, true},
	{"one octet", RST_IPC_HELD, 0, 1, false},
	{"octets left over", RST_IPC_HELD, 0, 2000, false},
	{"larger than any", RST_IPC_HELD, 0, RST_IPC_MAX + 1, false},
	{"wrong way", RST_IPC_CLOSED, 0, 0, false},
	{"fd missing", RST_IPC_HOLD, 0, 0, false},
	{"fd not asked for", RST_IPC_HELD, 1, 0, false},
	{"two fds", RST_IPC_HOLD, 2, 0, false},
	{"malformed, with fds", RST_IPC_HOLD, 2, 3, false},
};

static unsigned int count_fds(void)
{
	unsigned int count = 0;
	int fd;

	for (fd = 0; fd < 64; fd++)
		count += is_open(fd) ? 1 : 0;
	return count;
}

START_TEST(test_raw)
{
	static char packet[RST_IPC_MAX + 1];
	const struct rst_ipc msg = {.type = raws[_i].type, .session = 1};
	ssize_t n = rst_ipc_encode(&msg, packet);
	unsigned int before = count_fds();

	ck_assert_int_gt(n, 0);
	send_raw(packet, raws[_i].len > 0 ? raws[_i].len : (size_t)n,
		 raws[_i].fds);
	turns(3);
	ck_assert_msg(worker.messages == (raws[_i].good ? 1 : 0), "%s",
		      raws[_i].name);
	ck_assert_uint_eq(worker.closed, raws[_i].good ? 0 : 1);
	/* no descriptor has leaked */
	ck_assert_uint_eq(count_fds(), before + (worker.fd >= 0 ? 1 : 0));
}
END_TEST

START_TEST(test_peer_does_not_read)
{
	unsigned int i, before = count_fds();

	worker.free_in_closed = true;
	for (i = 1; i <= 6000; i++) {
		bool has_fd = i % 200 == 0;

		say(worker.conn, has_fd ? RST_IPC_HOLD : RST_IPC_HELD, i, "",
		    has_fd ? open_file() : -1);
	}
	/* from the loop, not from inside _send */
	ck_assert_uint_eq(worker.closed, 0);
	turns(1);
	ck_assert_uint_eq(worker.closed, 1);
	ck_assert_ptr_null(worker.conn);
	/* queued descriptors are closed, and the connection too */
	ck_assert_uint_eq(count_fds(), before - 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipc-conn");
	TCase *tc = tcase_create("pair");

	tcase_add_checked_fixture(tc, setup_pair, teardown);
	tcase_add_test(tc, test_both_ways);
	tcase_add_test(tc, test_queue);
	tcase_add_test(tc, test_peer_gone);
	tcase_add_test(tc, test_peer_gone_kept);
	tcase_add_test(tc, test_free_in_message);
	suite_add_tcase(s, tc);
	tc = tcase_create("raw");
	tcase_add_checked_fixture(tc, setup_raw, teardown);
	tcase_add_test(tc, test_peer_does_not_read);
	tcase_add_loop_test(tc, test_raw, 0, (int)N_ELEMENTS(raws));
	suite_add_tcase(s, tc);
	return test_run(s);
}
