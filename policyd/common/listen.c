/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/**
 * Of a connection's octets in the kernel that the client has not confirmed. The
 * usual limit of 4 MiB is 2 MiB in truth: it counts the kernel's own overhead,
 * and one third has to be free before we are told to write on. That is too
 * little for 10 Mbit/s at 600 ms, of which BBR wants three times the product,
 * and when it gets less it does not find its rate. How much is unsent is
 * limited elsewhere (unsent.h), and how much is on its way by TCP itself.
 */
#define SEND_MAX (8 * 1024 * 1024)

/** Connections whose first octets came with their SYN and that are not set up:
    more, and the next ones are opened the usual way. */
#define FAST_OPEN_MAX 256

/** The kernel's TCP_CA_NAME_MAX: octets of a name with its NUL. */
#define CONGESTION_MAX 16
/** Those with names like this send at a pace of their own. */
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
	/* in vain where we are not root: then it works less well */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_max,
			 sizeof(send_max));
	/* of no effect where net.ipv4.tcp_fastopen does not allow it */
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

/* The system's; but not one that spreads a few packets over the time that it
   takes the line to be slow, as it does not know better yet. What has once been
   so on a connection, stays so there. */
static bool first_congestion(int fd, const char *name,
			     char first_r[CONGESTION_MAX + 1])
{
	socklen_t len = CONGESTION_MAX;

	memset(first_r, 0, CONGESTION_MAX + 1);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, first_r, &len) < 0)
		return false;
	if (strcmp(first_r, name) == 0 &&
	    strncmp(name, PACING, strlen(PACING)) == 0)
		/* every kernel has it, and lets everybody take it */
		memcpy(first_r, "reno", sizeof("reno"));
	return true;
}

void listen_congestion_later(int fd, const char *name)
{
	int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char first[CONGESTION_MAX + 1];

	if (probe < 0)
		return;
	if (first_congestion(probe, name, first) &&
	    listen_congestion(probe, name) == NULL)
		(void)listen_congestion(fd, first);
	(void)close(probe);
}

static bool fill_address(const char *path, struct sockaddr_un *addr)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(addr->sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(addr->sun_path, path, strlen(path));
	return true;
}

int listen_unix_connect(const char *path, int type)
{
	struct sockaddr_un addr;
	int fd;

	if (!fill_address(path, &addr))
		return -1;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return close_keep_errno(fd);
	return fd;
}

/* A daemon that was killed leaves its file behind. */
static bool remove_stale(const char *path, int type)
{
	struct stat st;
	int fd = listen_unix_connect(path, type);

	if (fd >= 0) {
		(void)close(fd);
		errno = EADDRINUSE;
		return false;
	}
	if (errno == ENOENT)
		return true;
	if (errno != ECONNREFUSED || lstat(path, &st) < 0)
		return false;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return false;
	}
	return unlink(path) == 0;
}

int listen_unix(const char *path, int type, unsigned int mode)
{
	struct sockaddr_un addr;
	mode_t before;
	int fd, ret;

	if (!remove_stale(path, type) || !fill_address(path, &addr))
		return -1;
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	before = umask(0777); /* nobody comes in before chmod() */
	ret = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	(void)umask(before);
	if (ret < 0 || chmod(path, mode) < 0 ||
	    (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
		return close_keep_errno(fd);
	return fd;
}
