/* SPDX-License-Identifier: MIT */
/*
 * Asks a policy server as Postfix 3.7 does: on each of several connections one
 * question after the other, each when the one before is answered; three at
 * RCPT, then one at END-OF-MESSAGE with the size. The program prints the time
 * that all took, in microseconds, and the number of answers that were not
 * DUNNO.
 *
 * usage: policy-load SOCKET CONNECTIONS REQUESTS RECIPIENT
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64
#define KINDS 2
#define RCPTS 3

struct conn {
	int fd;
	unsigned int asked;
	char request[KINDS][2048];
	size_t len[KINDS];
};

static const char format[] =
	"request=smtpd_access_policy\n"
	"protocol_state=%s\n"
	"protocol_name=ESMTP\n"
	"client_address=192.0.2.%u\n"
	"client_name=mail-wr1-f%u.remote.example\n"
	"client_port=%u\n"
	"reverse_client_name=mail-wr1-f%u.remote.example\n"
	"server_address=198.51.100.7\n"
	"server_port=25\n"
	"helo_name=mail-wr1-f%u.remote.example\n"
	"sender=bounces+2915371-5f3a-someone=example.test@em%u.remote.example\n"
	"recipient=%s\n"
	"recipient_count=%u\n"
	"queue_id=%s\n"
	"instance=5a21.6553f1a0.%x.0\n"
	"size=%u\n"
	"etrn_domain=\n"
	"stress=\n"
	"sasl_method=\n"
	"sasl_username=\n"
	"sasl_sender=\n"
	"ccert_subject=\n"
	"ccert_issuer=\n"
	"ccert_fingerprint=\n"
	"ccert_pubkey_fingerprint=\n"
	"encryption_protocol=TLSv1.3\n"
	"encryption_cipher=TLS_AES_256_GCM_SHA384\n"
	"encryption_keysize=256\n"
	"policy_context=\n"
	"\n";

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void prepare(struct conn *conn, unsigned int n, const char *recipient)
{
	unsigned int kind;

	for (kind = 0; kind < KINDS; kind++) {
		bool rcpt = kind == 0;

		conn->len[kind] = (size_t)snprintf(
			conn->request[kind], sizeof(conn->request[kind]),
			format, rcpt ? "RCPT" : "END-OF-MESSAGE", n % 250 + 1,
			n, 30000 + n, n, n, n, recipient, rcpt ? 0 : 1,
			rcpt ? "" : "4XyzAB1234z9Kq", 0x12340 + n,
			rcpt ? 0 : 48213);
	}
}

static void ask(struct conn *conn)
{
	unsigned int kind = conn->asked++ % (RCPTS + 1) == RCPTS;

	if (send(conn->fd, conn->request[kind], conn->len[kind],
		 MSG_NOSIGNAL) != (ssize_t)conn->len[kind])
		die("send");
}

/* Every server here answers in one write. @return it was DUNNO */
static bool take_answer(struct conn *conn)
{
	char answer[1024];
	ssize_t n = recv(conn->fd, answer, sizeof(answer), 0);

	if (n <= 2 || memcmp(answer + n - 2, "\n\n", 2) != 0)
		die("no whole answer");
	return n == 14 && memcmp(answer, "action=DUNNO\n\n", 14) == 0;
}

static struct conn *connect_all(int epoll, const char *path, unsigned int count,
				const char *recipient)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct conn *conns = calloc(count, sizeof(*conns));
	unsigned int i;

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	for (i = 0; conns != NULL && i < count; i++) {
		struct epoll_event ev = {.events = EPOLLIN,
					 .data.ptr = &conns[i]};

		conns[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (conns[i].fd < 0 ||
		    connect(conns[i].fd, (struct sockaddr *)&addr,
			    sizeof(addr)) < 0 ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &ev) < 0)
			die(path);
		prepare(&conns[i], i, recipient);
	}
	return conns;
}

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int main(int argc, char *argv[])
{
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(0), n, i;
	unsigned long asked, answered = 0, requests, others = 0;
	unsigned int count;
	struct conn *conns;
	uint64_t start;

	if (argc != 5 || epoll < 0)
		return 64;
	count = (unsigned int)atoi(argv[2]);
	requests = strtoul(argv[3], NULL, 10);
	conns = connect_all(epoll, argv[1], count, argv[4]);
	if (conns == NULL || requests < count)
		return 64;
	start = now_us();
	for (asked = 0; asked < count; asked++)
		ask(&conns[asked]);
	while (answered < requests) {
		n = epoll_wait(epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (i = 0; i < n; i++) {
			others += !take_answer(events[i].data.ptr);
			answered++;
			if (asked < requests) {
				ask(events[i].data.ptr);
				asked++;
			}
		}
	}
	(void)printf("%llu %lu\n", (unsigned long long)(now_us() - start),
		     others);
	return 0;
}
