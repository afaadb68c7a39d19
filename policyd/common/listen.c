/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/**
 * Limit of a connection's octets in the kernel that the client has not
 * confirmed. The usual limit of 4 MiB is 2 MiB in truth: it counts the kernel's
 * own overhead, and one third has to be free before the socket is writable
 * again. That is too little for 10 Mbit/s at 600 ms, of which BBR wants three
 * times the product, and when BBR gets less it does not find its rate. How much
 * is unsent is limited by worker/line.h, and how much is on its way by TCP
 * itself.
 */
#define SEND_MAX (8 * 1024 * 1024)

/** Queue of connections whose first octets came with their SYN and that are
    not set up. Where it is full, connections are opened the usual way. */
#define FAST_OPEN_MAX 256

/** Congestion controls with names that begin so send at a pace of their own. */
#define PACING "bbr"

static int close_keep_errno(int fd)
{
	int saved = errno;

	(void)close(fd);
	errno = saved;
	return -1;
}

static int bind_tcp(const struct sockaddr *addr, socklen_t len, bool v6only)
{
	int on = 1, only = v6only ? 1 : 0;
	int send_max = SEND_MAX, fast_open = FAST_OPEN_MAX;
	int fd = socket(addr->sa_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (addr->sa_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) <
		     0) ||
	    bind(fd, addr, len) < 0 || listen(fd, SOMAXCONN) < 0)
		return close_keep_errno(fd);
	/* only root may; without it large mail on a fast, long line is
	   slower */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_max,
			 sizeof(send_max));
	/* of no effect where net.ipv4.tcp_fastopen does not allow it; the
	   client then spends one more round trip */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &fast_open,
			 sizeof(fast_open));
	return fd;
}

int listen_tcp(const struct conf_listen *l)
{
	struct sockaddr_in any4 = {.sin_family = AF_INET,
				   .sin_port = l->addr.in6.sin6_port};
	int fd = bind_tcp(&l->addr.sa, l->addr_len, !l->any);

	/* "*" on a kernel without IPv6 */
	if (fd < 0 && l->any &&
	    (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		fd = bind_tcp((struct sockaddr *)&any4, sizeof(any4), false);
	return fd;
}

const char *listen_congestion(int fd, const char *name)
{
	if (name[0] == '\0' || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name,
					  (socklen_t)strlen(name)) == 0)
		return NULL;
	switch (errno) {
	case ENOENT:
		return "the kernel does not have it";
	case EPERM:
		return "net.ipv4.tcp_allowed_congestion_control does not name "
		       "it";
	default:
		return strerror(errno);
	}
}

/* A connection begins with the system's control, but not with a pacing one:
   BBR spreads the first packets out, as it has not measured the line yet, and a
   connection that has once been paced stays paced. */
static bool first_congestion(int fd, const char *name,
			     char first_r[CONF_CONGESTION_MAX + 1])
{
	socklen_t len = CONF_CONGESTION_MAX;

	memset(first_r, 0, CONF_CONGESTION_MAX + 1);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, first_r, &len) < 0)
		return false;
	if (strcmp(first_r, name) == 0 &&
	    strncmp(name, PACING, strlen(PACING)) == 0)
		/* every kernel has reno, and lets every user choose it */
		memcpy(first_r, "reno", sizeof("reno"));
	return true;
}

void listen_congestion_later(int fd, const char *name)
{
	int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char first[CONF_CONGESTION_MAX + 1];

	if (probe < 0)
		return;
	if (first_congestion(probe, name, first) &&
	    listen_congestion(probe, name) == NULL)
		(void)listen_congestion(fd, first);
	(void)close(probe);
}
