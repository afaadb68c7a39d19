/* SPDX-License-Identifier: MIT */
/*
 * A worker process as it runs: its core is the test, its client is OpenSSL's
 * own, on a listening socket of the loopback interface.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/ipc.h"
#include "test-util.h"
#include "tls-pem.h"
#include "worker/worker.h"

#define MAX_CONNECTIONS 3

static struct {
	pid_t pid;
	int core; /* our end of the pair */
	int listener;
	struct sockaddr_in address;
	SSL_CTX *ctx;
	char packet[RST_IPC_MAX];
} stage;

struct client {
	int fd;
	SSL *ssl;
};

/* ---- core */

static void core_says_with(enum rst_ipc_type type, uint64_t session,
			   uint32_t id, const char *a, int fd)
{
	struct rst_ipc msg = {
		.type = type, .session = session, .id = id, .a = rst_str(a)};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	char out[RST_IPC_MAX];
	struct iovec iov = {out, 0};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (type == RST_IPC_CONFIG) {
		msg.n[0] = 60000;
		msg.n[1] = msg.n[2] = 5000;
		msg.n[3] = MAX_CONNECTIONS;
		msg.n[4] = 1000;
	}
	n = rst_ipc_encode(&msg, out);
	ck_assert_int_gt(n, 0);
	iov.iov_len = (size_t)n;
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		hdr.msg_control = control;
		hdr.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(stage.core, &hdr, MSG_NOSIGNAL), n);
	if (fd >= 0)
		(void)close(fd);
}

static void core_says(enum rst_ipc_type type, uint64_t session, uint32_t id,
		      const char *a)
{
	core_says_with(type, session, id, a, -1);
}

static struct rst_ipc core_hears(enum rst_ipc_type type)
{
	struct rst_ipc msg;
	ssize_t n = recv(stage.core, stage.packet, sizeof(stage.packet), 0);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(
		rst_ipc_decode(stage.packet, (size_t)n, RST_IPC_TO_CORE, &msg),
		0);
	ck_assert_int_eq(msg.type, type);
	return msg;
}

static void core_gives_certificate(int parts)
{
	size_t len;
	char *pem = make_pem(parts, -HOUR, HOUR, &len);
	int fd = memfd_create("pem", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, pem, len), len);
	free(pem);
	core_says_with(RST_IPC_TLS, 0, 0, "", fd);
}

/* ---- client */

static void set_patience(int fd, long secs)
{
	struct timeval tv = {.tv_sec = secs};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static struct client client_dials(void)
{
	struct client client = {socket(AF_INET, SOCK_STREAM, 0), NULL};

	set_patience(client.fd, 10);
	ck_assert_int_eq(connect(client.fd, (struct sockaddr *)&stage.address,
				 sizeof(stage.address)),
			 0);
	client.ssl = SSL_new(stage.ctx);
	(void)SSL_set_fd(client.ssl, client.fd);
	return client;
}

static struct client client_connects(void)
{
	struct client client = client_dials();

	ck_assert_int_eq(SSL_connect(client.ssl), 1);
	return client;
}

static void client_says(struct client *client, const char *text)
{
	ck_assert_int_gt(SSL_write(client->ssl, text, (int)strlen(text)), 0);
}

/* Reads until `want` has come. */
static void client_hears(struct client *client, const char *want)
{
	char buf[8192];
	size_t used = 0;

	do {
		int n = SSL_read(client->ssl, buf + used,
				 (int)(sizeof(buf) - used - 1));

		ck_assert_msg(n > 0, "want \"%s\", got \"%.*s\"", want,
			      (int)used, buf);
		used += (size_t)n;
		buf[used] = '\0';
	} while (strstr(buf, want) == NULL);
}

static void client_closes(struct client *client)
{
	SSL_free(client->ssl);
	(void)close(client->fd);
}

/* ---- */

static void start_worker(void)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX,
			   SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			   fds),
		0);
	stage.pid = fork();
	ck_assert_int_ge(stage.pid, 0);
	if (stage.pid == 0) {
		(void)close(fds[0]);
		log_open("worker", true);
		_exit(worker_run(fds[1], &stage.listener, 1));
	}
	(void)close(fds[1]);
	stage.core = fds[0];
	ck_assert_int_eq(fcntl(stage.core, F_SETFL, 0), 0);
	set_patience(stage.core, 10);
}

static void setup(void)
{
	socklen_t len = sizeof(stage.address);

	stage.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	stage.address.sin_family = AF_INET;
	stage.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(
		bind(stage.listener, (struct sockaddr *)&stage.address, len),
		0);
	ck_assert_int_eq(listen(stage.listener, 16), 0);
	(void)getsockname(stage.listener, (struct sockaddr *)&stage.address,
			  &len);
	(void)signal(SIGPIPE, SIG_IGN);
	stage.ctx = SSL_CTX_new(TLS_client_method());
}

static void configure(void)
{
	start_worker();
	core_says(RST_IPC_CONFIG, 0, 0, "mx.example");
	core_says(RST_IPC_MECHANISMS, 0, 0, "PLAIN");
	core_gives_certificate(CERT | KEY);
}

static void worker_exits(void)
{
	int status;

	ck_assert_int_eq(waitpid(stage.pid, &status, 0), stage.pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	stage.pid = 0;
}

static void teardown(void)
{
	if (stage.pid > 0) {
		core_says(RST_IPC_SHUTDOWN, 0, 0, "");
		worker_exits();
	}
	(void)close(stage.core);
	(void)close(stage.listener);
	SSL_CTX_free(stage.ctx);
}

/* @return the session's number */
static uint64_t sign_in(struct client *client)
{
	struct rst_ipc msg;

	client_hears(client, "220 mx.example ");
	client_says(client, "EHLO laptop\r\n");
	client_hears(client, "ATRN");
	client_says(client, "AUTH PLAIN AHUAcA==\r\n");
	msg = core_hears(RST_IPC_AUTH);
	ck_assert_rst_str_eq(msg.c, "127.0.0.1");
	core_says(RST_IPC_AUTH_DONE, msg.session, msg.id, "");
	client_hears(client, "235 ");
	client_says(client, "ATRN\r\n");
	msg = core_hears(RST_IPC_ATRN);
	core_says(RST_IPC_ATRN_DONE, msg.session, msg.id, "u@x");
	client_hears(client, "250 ");
	client_says(client, "220 laptop\r\n");
	client_hears(client, "EHLO mx.example\r\n");
	client_says(client, "250-laptop\r\n250-XRESTANTE\r\n250-PIPELINING\r\n"
			    "250-CHUNKING\r\n250-BINARYMIME\r\n"
			    "250 8BITMIME\r\n");
	(void)core_hears(RST_IPC_HOLD_OPEN);
	return msg.session;
}

static void hold_hears(int fd, const char *want)
{
	char buf[256];
	ssize_t n = recv(fd, buf, strlen(want), MSG_WAITALL);

	ck_assert_int_eq(n, strlen(want));
	ck_assert_msg(memcmp(buf, want, (size_t)n) == 0, "%.*s", (int)n, buf);
}

static void hold_says(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
}

START_TEST(test_main_job)
{
	struct client client;
	uint64_t session;
	int fds[2];

	configure();
	client = client_connects();
	session = sign_in(&client);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	set_patience(fds[0], 10);
	core_says_with(RST_IPC_HOLD, session, 0, "", fds[1]);
	hold_says(fds[0], "VERSION\trestante-hold\t1\t0\nOK\t1\t5\t0\n");
	hold_hears(fds[0], "DRAIN\n");
	hold_says(fds[0], "MSG\t1\tid1\t5\t0\ts@x\tu@x\nbody1END\t1\n");
	client_hears(&client, "body1");
	client_says(&client, "250 s\r\n250 a\r\n250 b\r\n250 c\r\n");
	hold_hears(fds[0], "ACK\tid1\nCOMMIT\n");
	hold_says(fds[0], "GONE\tid1\nDONE\n");
	hold_hears(fds[0], "BYE\n");
	hold_says(fds[0], "BYE\n");
	(void)core_hears(RST_IPC_HOLD_CLOSED);
	client_hears(&client, "XRESTANTE FORGET id1\r\n");
	client_closes(&client);
	ck_assert_uint_eq(core_hears(RST_IPC_CLOSED).session, session);
	(void)close(fds[0]);
}
END_TEST

START_TEST(test_ping)
{
	configure();
	core_says(RST_IPC_PING, 0, 0, "");
	(void)core_hears(RST_IPC_PONG);
}
END_TEST

/* The worker tells the client, waits for it, and accepts no other. */
START_TEST(test_shutdown)
{
	struct client client;
	char buf[8];

	configure();
	client = client_connects();
	(void)sign_in(&client);
	core_says(RST_IPC_SHUTDOWN, 0, 0, "");
	client_hears(&client, "XRESTANTE CLOSE ");
	/* an orderly end */
	ck_assert_int_eq(SSL_read(client.ssl, buf, sizeof(buf)), 0);
	client_closes(&client);
	(void)core_hears(RST_IPC_CLOSED);
	worker_exits();
}
END_TEST

START_TEST(test_core_gone)
{
	struct client client;

	configure();
	client = client_connects();
	client_hears(&client, "220 ");
	(void)close(stage.core);
	stage.core = -1;
	client_hears(&client, "421 4.3.2 ");
	client_closes(&client);
	worker_exits();
}
END_TEST

/* Connections that have not signed in make room, the oldest first; signed-in
   ones never do. */
START_TEST(test_too_many)
{
	struct client clients[MAX_CONNECTIONS], more;
	char buf[8];
	int i;

	configure();
	for (i = 0; i < MAX_CONNECTIONS; i++)
		clients[i] = client_connects();
	(void)sign_in(&clients[0]);
	more = client_connects();
	client_hears(&clients[1], "220 ");
	ck_assert_int_eq(SSL_read(clients[1].ssl, buf, sizeof(buf)), 0);
	client_closes(&clients[1]);
	(void)sign_in(&more);
	(void)sign_in(&clients[2]);
	clients[1] = client_dials();
	ck_assert_int_ne(SSL_connect(clients[1].ssl), 1);
	client_closes(&clients[1]);
	client_closes(&more);
	(void)core_hears(RST_IPC_CLOSED);
	/* the slot is free again */
	more = client_connects();
	client_hears(&more, "220 ");
	client_closes(&more);
	client_closes(&clients[0]);
	client_closes(&clients[2]);
}
END_TEST

/* A reload that fails leaves the old certificate; before the first certificate
   no client is served. */
START_TEST(test_certificate)
{
	struct client client;

	start_worker();
	core_says(RST_IPC_MECHANISMS, 0, 0, "PLAIN");
	core_gives_certificate(CERT);
	core_says(RST_IPC_CONFIG, 0, 0, "mx.example");
	client = client_dials();
	set_patience(client.fd, 0);
	core_gives_certificate(CERT | KEY);
	core_gives_certificate(CERT | OTHER_KEY);
	ck_assert_int_eq(SSL_connect(client.ssl), 1);
	client_hears(&client, "220 ");
	client_closes(&client);
}
END_TEST

/* CPU that the worker has used, in microseconds. */
static int64_t worker_cpu(void)
{
	struct timespec used;
	clockid_t clock;

	ck_assert_int_eq(clock_getcpuclockid(stage.pid, &clock), 0);
	ck_assert_int_eq(clock_gettime(clock, &used), 0);
	return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

/* Without descriptors the worker waits without spinning, and then goes on. */
START_TEST(test_no_descriptors)
{
	struct rlimit limit, few;
	struct client first, second;
	int64_t before;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	few = limit;
	configure();
	first = client_connects();
	client_hears(&first, "220 ");
	/* those that it has, and no other */
	few.rlim_cur = 4;
	ck_assert_int_eq(prlimit(stage.pid, RLIMIT_NOFILE, &few, NULL), 0);
	second = client_dials();
	(void)usleep(200 * 1000); /* it has failed to accept, and logged it */
	before = worker_cpu();
	(void)usleep(300 * 1000);
	ck_assert_int_lt(worker_cpu() - before, 100 * 1000);
	ck_assert_int_eq(prlimit(stage.pid, RLIMIT_NOFILE, &limit, NULL), 0);
	ck_assert_int_eq(SSL_connect(second.ssl), 1);
	client_hears(&second, "220 ");
	client_closes(&first);
	client_closes(&second);
	core_says(RST_IPC_SHUTDOWN, 0, 0, "");
	worker_exits();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker");
	TCase *tc = tcase_create("worker");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_main_job);
	tcase_add_test(tc, test_ping);
	tcase_add_test(tc, test_shutdown);
	tcase_add_test(tc, test_core_gone);
	tcase_add_test(tc, test_too_many);
	tcase_add_test(tc, test_certificate);
	tcase_add_test(tc, test_no_descriptors);
	suite_add_tcase(s, tc);
	return test_run(s);
}
