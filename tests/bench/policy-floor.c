/* SPDX-License-Identifier: MIT */
/*
 * The least that a policy server has to do, for the bench to compare with: one
 * process, epoll, one read, every attribute found where it lies, one write.
 * The program trusts its peer to ask one question at a time and to read the
 * answer, has no time-out and no limit but its buffer, and logs nothing. It is
 * not for production.
 *
 * usage: policy-floor SOCKET
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ATTRIBUTES_MAX 64
#define EVENTS 64
#define SIZE_MAX_OCTETS 60000000

struct attribute {
	const char *name, *value;
	size_t name_len, value_len;
};

struct conn {
	int fd;
	size_t used;
	char buf[8192];
};

/* @return attributes found; 0: more input needed; -1: not a request */
static int parse(const char *buf, size_t len, struct attribute *found)
{
	const char *p = buf, *end = buf + len, *lf, *equals;
	int n = 0;

	while ((lf = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		if (lf == p)
			return n == 0 ? -1 : n;
		equals = memchr(p, '=', (size_t)(lf - p));
		if (equals == NULL || n == ATTRIBUTES_MAX)
			return -1;
		found[n++] =
			(struct attribute){p, equals + 1, (size_t)(equals - p),
					   (size_t)(lf - equals - 1)};
		p = lf + 1;
	}
	return 0;
}

static bool is(const struct attribute *a, const char *name, size_t n)
{
	return a->name_len == n && memcmp(a->name, name, n) == 0;
}

static const char *decide(const struct attribute *found, int n)
{
	const struct attribute *state = NULL, *size = NULL;
	int i;

	for (i = 0; i < n; i++) {
		if (is(&found[i], "protocol_state", 14))
			state = &found[i];
		else if (is(&found[i], "size", 4))
			size = &found[i];
	}
	if (state != NULL && size != NULL && state->value_len != 4 &&
	    strtoull(size->value, NULL, 10) > SIZE_MAX_OCTETS)
		return "action=552 5.3.4 Message size exceeds fixed limit\n\n";
	return "action=DUNNO\n\n";
}

static void drop(struct conn *conn)
{
	(void)close(conn->fd);
	free(conn);
}

static void serve(struct conn *conn)
{
	struct attribute found[ATTRIBUTES_MAX];
	const char *answer;
	ssize_t got = recv(conn->fd, conn->buf + conn->used,
			   sizeof(conn->buf) - conn->used, 0);
	int n;

	if (got <= 0) {
		drop(conn);
		return;
	}
	conn->used += (size_t)got;
	n = parse(conn->buf, conn->used, found);
	if (n == 0)
		return;
	answer = n < 0 ? "" : decide(found, n);
	conn->used = 0;
	if (send(conn->fd, answer, strlen(answer), MSG_NOSIGNAL) <= 0)
		drop(conn);
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, SOMAXCONN) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void watch(int epoll, int fd, void *who)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = who};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
		perror("epoll_ctl");
		exit(1);
	}
}

static void accept_all(int epoll, int listener)
{
	struct conn *conn;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		conn = malloc(sizeof(*conn));
		if (conn == NULL)
			exit(1);
		conn->fd = fd;
		conn->used = 0;
		watch(epoll, fd, conn);
	}
}

int main(int argc, char *argv[])
{
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(0), listener, n, i;

	if (argc != 2 || epoll < 0)
		return 64;
	listener = listen_at(argv[1]);
	watch(epoll, listener, NULL);
	while ((n = epoll_wait(epoll, events, EVENTS, -1)) >= 0) {
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr == NULL)
				accept_all(epoll, listener);
			else
				serve(events[i].data.ptr);
		}
	}
	return 1;
}
