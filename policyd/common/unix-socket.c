/* SPDX-License-Identifier: MIT */
#include "unix-socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int close_keep_errno(int fd)
{
	int saved = errno;

	(void)close(fd);
	errno = saved;
	return -1;
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

int unix_socket_connect(const char *path, int type)
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
	int fd = unix_socket_connect(path, type);

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

static int bind_closed(int fd, const struct sockaddr_un *addr)
{
	mode_t before = umask(0777); /* nobody can connect before chmod() */
	int ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

	(void)umask(before);
	return ret;
}

int unix_socket_listen(const char *path, int type, unsigned int mode)
{
	struct sockaddr_un addr;
	int fd, ret;

	if (!remove_stale(path, type) || !fill_address(path, &addr))
		return -1;
	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	ret = bind_closed(fd, &addr);
	/* a file came after the look: it need not be a socket in use */
	if (ret < 0 && errno == EADDRINUSE && remove_stale(path, type))
		ret = bind_closed(fd, &addr);
	if (ret < 0 || chmod(path, mode) < 0 ||
	    (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
		return close_keep_errno(fd);
	return fd;
}
