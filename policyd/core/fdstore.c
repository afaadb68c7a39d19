/* SPDX-License-Identifier: MIT */
#include "fdstore.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/str.h"

#define FIRST_FD 3
/** descriptors in one message; the kernel allows 253 */
#define BATCH 128
/** The descriptors are all called "policy". */
#define NAME "policy"
#define STORE "FDSTORE=1\nFDNAME=" NAME
#define REMOVE "FDSTOREREMOVE=1\nFDNAME=" NAME

char *fdstore_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path == NULL || path[0] == '\0' ? NULL : rst_strdup(path);
}

/* ---- messages to the service manager */

static bool set_address(struct sockaddr_un *addr, socklen_t *len,
			const char *path)
{
	size_t n = strlen(path);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (n >= sizeof(addr->sun_path))
		return false;
	memcpy(addr->sun_path, path, n);
	if (path[0] == '@') /* the abstract namespace */
		addr->sun_path[0] = '\0';
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

static void add_fds(struct msghdr *msg, const int *fds, unsigned int count)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
}

static bool tell(const char *notify_socket, struct rst_str text, const int *fds,
		 unsigned int count)
{
	union {
		char octets[CMSG_SPACE(BATCH * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct sockaddr_un addr;
	struct iovec iov = {(void *)(uintptr_t)text.p, text.n};
	struct msghdr msg = {
		.msg_name = &addr, .msg_iov = &iov, .msg_iovlen = 1};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok =
		fd >= 0 && set_address(&addr, &msg.msg_namelen, notify_socket);

	if (ok && count > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.octets;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		add_fds(&msg, fds, count);
	}
	ok = ok && sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0;
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* ---- taking */

/** @return descriptors left for this process; LISTEN_PID tells whether they
    were meant for a parent that only passed its environment on */
static unsigned int fds_left(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	uint64_t n;

	if (pid == NULL || count == NULL || !rst_str_to_u64(rst_str(pid), &n) ||
	    n != (uint64_t)getpid() || !rst_str_to_u64(rst_str(count), &n) ||
	    n > (uint64_t)sysconf(_SC_OPEN_MAX))
		return 0;
	return (unsigned int)n;
}

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value;

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0)
		return -1;
	return value;
}

static bool is_bound_to(int fd, const char *path)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);

	memset(&addr, 0, sizeof(addr));
	return getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
	       len <= sizeof(addr) &&
	       strncmp(addr.sun_path, path, sizeof(addr.sun_path)) == 0;
}

/* A listening socket whose name in the file system is gone cannot be reached,
   and a new one has to be made. */
static bool has_name(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Those of a socket unit have the unit's name. */
static bool is_units(unsigned int n)
{
	struct rst_str names = rst_str(getenv("LISTEN_FDNAMES"));
	struct rst_str name = RST_STR("");

	do {
		if (!rst_str_split(&names, ':', &name))
			return false;
	} while (n-- > 0);
	return !rst_str_eq(name, RST_STR(NAME));
}

static void take(int fd, const char *policy_socket, struct fdstore *fdstore)
{
	bool ours = socket_option(fd, SO_DOMAIN) == AF_UNIX &&
		    socket_option(fd, SO_TYPE) == SOCK_STREAM &&
		    is_bound_to(fd, policy_socket) &&
		    fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
		    fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
	bool listens = socket_option(fd, SO_ACCEPTCONN) == 1;

	if (ours && !listens)
		fdstore->conns[fdstore->count++] = fd;
	else if (ours && fdstore->listen_fd < 0 && has_name(policy_socket)) {
		fdstore->listen_fd = fd;
		fdstore->listen_is_units =
			is_units((unsigned int)(fd - FIRST_FD));
	} else
		(void)close(fd);
}

void fdstore_take(const char *notify_socket, const char *policy_socket,
		  struct fdstore *fdstore_r)
{
	unsigned int n = fds_left(), i;

	*fdstore_r = (struct fdstore){.listen_fd = -1,
				      .conns = rst_calloc(n, sizeof(int))};
	for (i = 0; i < n; i++)
		take(FIRST_FD + (int)i, policy_socket, fdstore_r);
	/* as long as the service manager keeps its copies, Postfix does not
	   notice when this process closes a connection */
	if (n > 0 && notify_socket != NULL &&
	    !tell(notify_socket, RST_STR(REMOVE), NULL, 0))
		log_errno("connections from Postfix not taken back", "socket",
			  notify_socket);
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	(void)unsetenv("NOTIFY_SOCKET");
}

/* ---- leaving */

void fdstore_leave(const char *notify_socket, const int *fds,
		   unsigned int count)
{
	unsigned int n, done;

	for (done = 0; notify_socket != NULL && done < count; done += n) {
		n = count - done < BATCH ? count - done : BATCH;
		if (!tell(notify_socket, RST_STR(STORE), fds + done, n)) {
			log_errno("connections from Postfix not handed over",
				  "socket", notify_socket);
			return;
		}
	}
}
