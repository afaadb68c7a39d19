/* SPDX-License-Identifier: MIT */
/*
 * Both ends are one program, so a message is a struct: keeper_begin() sends one
 * `struct begin` for each socket, the process sends `struct news`.
 */
#include "restante-config.h"

#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/unix-socket.h"
#include "privileges.h"
#include "restante/str.h"

#define MAX_SOCKETS 16
#define PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

struct begin {
	int64_t interval_ms;
	unsigned int n, count, mode;
	bool missing, foreign;
	char path[PATH_SIZE];
};

struct news {
	unsigned int n;
	int error; /* 0: made again, a descriptor comes along */
	pid_t pid; /* EADDRINUSE: who listens there */
};

struct kept {
	struct begin begin;
	dev_t dev;
	ino_t ino;    /* 0: there is none */
	int reported; /* the error that the core knows of */
};

/* ---- the process */

static void say(int fd, unsigned int n, int error, pid_t pid, int listen_fd)
{
	union {
		char octets[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct news news = {n, error, pid};
	struct iovec iov = {&news, sizeof(news)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (listen_fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.octets;
		msg.msg_controllen = sizeof(control.octets);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &listen_fd, sizeof(int));
	}
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		_exit(0); /* the core has gone */
}

/* @return the process that made the listening socket at `path`; 0: unknown */
static pid_t listener_of(const char *path)
{
	int fd = unix_socket_connect(path, SOCK_STREAM | SOCK_NONBLOCK);
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);

	if (fd < 0)
		return 0;
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	(void)close(fd);
	return cred.pid;
}

static bool remember(struct kept *kept)
{
	struct stat st;

	kept->ino = 0;
	if (lstat(kept->begin.path, &st) < 0)
		return false;
	kept->dev = st.st_dev;
	kept->ino = st.st_ino;
	return true;
}

static bool is_there(const struct kept *kept)
{
	struct stat st;

	return kept->ino != 0 && lstat(kept->begin.path, &st) == 0 &&
	       st.st_dev == kept->dev && st.st_ino == kept->ino;
}

static int make(const char *path, unsigned int mode)
{
	char *copy;
	int fd = unix_socket_listen(path, SOCK_STREAM, mode);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	/* the directory has gone too; those above it are the operator's */
	copy = rst_strdup(path);
	(void)mkdir(dirname(copy), 0755);
	free(copy);
	return unix_socket_listen(path, SOCK_STREAM, mode);
}

static void look_at(struct kept *kept, unsigned int n, int fd)
{
	int listen_fd = -1, error = ENOENT;

	if (kept->begin.path[0] == '\0' || is_there(kept))
		return;
	if (!kept->begin.foreign) {
		listen_fd = make(kept->begin.path, kept->begin.mode);
		error = listen_fd >= 0 ? 0 : errno;
	}
	if (listen_fd >= 0) {
		(void)remember(kept);
		say(fd, n, 0, 0, listen_fd);
		(void)close(listen_fd);
	} else if (error != kept->reported) {
		say(fd, n, error,
		    error == EADDRINUSE ? listener_of(kept->begin.path) : 0,
		    -1);
	}
	kept->reported = error;
}

static unsigned int hear_begin(int fd, struct kept *kept)
{
	struct begin begin;
	unsigned int n = 0;

	do {
		if (recv(fd, &begin, sizeof(begin), 0) != sizeof(begin))
			_exit(0);
		kept[n] = (struct kept){.begin = begin};
		if (!begin.missing)
			(void)remember(&kept[n]);
	} while (++n < begin.count);
	return n;
}

static void be_alone(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)prctl(PR_SET_NAME, "policyd-keeper");
	if (chdir("/") < 0)
		_exit(1);
	for (int i = 0; null >= 0 && i <= STDERR_FILENO; i++)
		(void)dup2(null, i);
	if (fd != STDERR_FILENO + 1)
		(void)dup2(fd, STDERR_FILENO + 1);
	(void)close_range(STDERR_FILENO + 2, ~0U, 0);
	privileges_keep_files();
}

static void keep(int fd)
{
	static struct kept kept[MAX_SOCKETS];
	struct pollfd core = {.events = POLLIN};
	unsigned int count, n;

	be_alone(fd);
	core.fd = STDERR_FILENO + 1;
	count = hear_begin(core.fd, kept);
	for (;;) {
		/* the core says nothing more: readable is its end */
		if (poll(&core, 1, (int)kept[0].begin.interval_ms) > 0)
			_exit(0);
		for (n = 0; n < count; n++)
			look_at(&kept[n], n, core.fd);
	}
}

/* It is no child of the core, which has its workers as children and would have
   to wait for this one. */
static void go_away(int fd)
{
	(void)setsid();
	switch (fork()) {
	case -1:
		_exit(1);
	case 0:
		keep(fd);
		_exit(0);
	default:
		_exit(0);
	}
}

int keeper_start(void)
{
	int pair[2], status = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		go_away(pair[1]);
	(void)close(pair[1]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return pair[0];
	(void)close(pair[0]);
	return -1;
}

/* ---- the core's end */

void keeper_begin(int fd, const struct keeper_socket *sockets,
		  unsigned int count, int64_t interval_ms)
{
	unsigned int n;

	for (n = 0; n < count; n++) {
		struct begin begin = {.interval_ms = interval_ms,
				      .n = n,
				      .count = count,
				      .mode = sockets[n].mode,
				      .missing = sockets[n].missing,
				      .foreign = sockets[n].foreign};

		memcpy(begin.path, sockets[n].path,
		       strnlen(sockets[n].path, sizeof(begin.path) - 1));
		(void)send(fd, &begin, sizeof(begin), MSG_NOSIGNAL);
	}
}

struct keeper {
	int fd;
	struct event *readable;
	const struct keeper_socket *sockets;
	unsigned int count;
	keeper_func *remade;
	void *ctx;
};

static const char *mend_of(const struct keeper_socket *socket, int error)
{
	if (socket->foreign)
		return "restart its socket unit";
	if (error == EADDRINUSE)
		return "end that process, or give one of the two another path; "
		       "when it has gone the socket is made again";
	return "mend the directory; the socket is made again as soon as that "
	       "is possible";
}

static void log_error(const struct keeper_socket *socket,
		      const struct news *news)
{
	struct rst_logline line;

	rst_logline_begin(&line, news->error == EADDRINUSE
					 ? "another process has taken our "
					   "socket's path"
				 : socket->foreign
					 ? "a socket of the service manager's "
					   "has vanished"
					 : "a socket has vanished and cannot "
					   "be made again");
	rst_logline_cstr(&line, socket->setting, socket->path);
	if (news->pid > 0)
		rst_logline_i64(&line, "pid", news->pid);
	rst_logline_cstr(&line, "error", strerror(news->error));
	rst_logline_cstr(&line, "mend", mend_of(socket, news->error));
	log_line(LOG_ERR, &line);
}

static ssize_t hear(int fd, struct news *news, int *listen_fd)
{
	union {
		char octets[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {news, sizeof(*news)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.octets,
			     .msg_controllen = sizeof(control.octets)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*listen_fd = -1;
	if (cmsg != NULL && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(listen_fd, CMSG_DATA(cmsg), sizeof(int));
	return n;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct keeper *keeper = arg;
	struct news news;
	int listen_fd;
	ssize_t n = hear(fd, &news, &listen_fd);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(news) || news.n >= keeper->count) {
		log_short(LOG_ERR,
			  "the keeper of our sockets has gone: those that "
			  "vanish are not made again before a restart",
			  NULL, NULL);
		(void)event_del(keeper->readable);
	} else if (listen_fd < 0) {
		log_error(&keeper->sockets[news.n], &news);
	} else {
		log_short(LOG_WARNING, "a socket had vanished, made again",
			  keeper->sockets[news.n].setting,
			  keeper->sockets[news.n].path);
		keeper->remade(news.n, listen_fd, keeper->ctx);
		listen_fd = -1;
	}
	if (listen_fd >= 0)
		(void)close(listen_fd);
}

struct keeper *keeper_new(struct event_base *base, int fd,
			  const struct keeper_socket *sockets,
			  unsigned int count, keeper_func *remade, void *ctx)
{
	struct keeper *keeper = rst_calloc(1, sizeof(*keeper));

	keeper->fd = fd;
	keeper->sockets = sockets;
	keeper->count = count;
	keeper->remade = remade;
	keeper->ctx = ctx;
	keeper->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, keeper);
	if (keeper->readable == NULL || event_add(keeper->readable, NULL) < 0)
		abort();
	return keeper;
}

void keeper_free(struct keeper **_keeper)
{
	struct keeper *keeper = *_keeper;

	*_keeper = NULL;
	if (keeper == NULL)
		return;
	event_free(keeper->readable);
	(void)close(keeper->fd);
	free(keeper);
}
