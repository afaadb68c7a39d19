/* SPDX-License-Identifier: MIT */
/*
 *   OPEN --peer gone, protocol error, queue full--> BROKEN --from the loop-->
 *   TOLD (`closed` was called)
 *
 * Nothing is read, written or queued from BROKEN on. The connection may be
 * freed in every state, also inside a callback: it is then DEAD until
 * on_readable() returns, which releases it.
 */
#include "ipc-conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event-pair.h"
#include "log.h"

/** Messages that may wait for a peer that does not read. */
#define MAX_QUEUED 4096
/** Messages taken before other connections get their turn. */
#define MAX_AT_ONCE 16

struct packet {
	STAILQ_ENTRY(packet) next;
	int fd;
	size_t n;
	char data[];
};

struct ipc_conn {
	int fd;
	enum rst_ipc_side side;
	struct event_pair events;
	STAILQ_HEAD(, packet) queue;
	unsigned int queued;
	bool broken;      /* `closed` is due, or was called */
	bool told;        /* `closed` was called */
	bool dispatching; /* inside on_readable() */
	bool dead;        /* freed inside a callback: to be released after it */
	ipc_conn_message_func *message;
	ipc_conn_closed_func *closed;
	void *ctx;
	char buf[RST_IPC_MAX];
};

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void drop_first(struct ipc_conn *conn)
{
	struct packet *packet = STAILQ_FIRST(&conn->queue);

	STAILQ_REMOVE_HEAD(&conn->queue, next);
	conn->queued--;
	close_fd(packet->fd);
	free(packet);
}

static void release(struct ipc_conn *conn)
{
	while (!STAILQ_EMPTY(&conn->queue))
		drop_first(conn);
	event_pair_free(&conn->events);
	close_fd(conn->fd);
	free(conn);
}

/* `closed` is called from the loop, never from inside ipc_conn_send(), whose
   caller does not expect to be freed there. */
static void give_up(struct ipc_conn *conn)
{
	if (conn->broken)
		return;
	conn->broken = true;
	(void)event_del(conn->events.writable);
	event_active(conn->events.readable, EV_READ, 0);
}

static void protocol_error(struct ipc_conn *conn, const char *what)
{
	log_short(LOG_ERR, "message between roles refused", "reason", what);
	give_up(conn);
}

/*
 * Takes the descriptors out of a received message. The kernel has put all of
 * them into our table, so each is either kept or closed.
 *
 * @return number of descriptors; the first is *fd_r, others are closed
 */
static unsigned int take_fds(struct msghdr *msg, int *fd_r)
{
	struct cmsghdr *cmsg;
	unsigned int count = 0;

	*fd_r = -1;
	for (cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL;
	     cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t i, n;

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int),
			       sizeof(fd));
			if (count++ == 0)
				*fd_r = fd;
			else
				close_fd(fd);
		}
	}
	return count;
}

static void dispatch(struct ipc_conn *conn, size_t n, int fd,
		     unsigned int fd_count)
{
	struct rst_ipc msg;

	if (rst_ipc_decode(conn->buf, n, conn->side, &msg) < 0) {
		close_fd(fd);
		protocol_error(conn, "malformed");
	} else if (fd_count != (rst_ipc_has_fd(msg.type) ? 1 : 0)) {
		close_fd(fd);
		protocol_error(conn, "wrong number of descriptors");
	} else {
		conn->message(&msg, fd, conn->ctx);
	}
}

/* @return whether there may be more messages */
static bool receive(struct ipc_conn *conn)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = {conn->buf, sizeof(conn->buf)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	unsigned int fd_count;
	ssize_t n;
	int fd;

	n = recvmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		if (errno == EINTR)
			return true;
		if (errno != EAGAIN)
			give_up(conn);
		return false;
	}
	fd_count = take_fds(&msg, &fd);
	if (n == 0) {
		close_fd(fd);
		give_up(conn);
	} else if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		close_fd(fd);
		/* our descriptor table was full, or the peer sent too much */
		protocol_error(conn, "cut short");
	} else {
		dispatch(conn, (size_t)n, fd, fd_count);
	}
	return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc_conn *conn = arg;
	unsigned int left = MAX_AT_ONCE;

	(void)fd;
	(void)what;
	conn->dispatching = true;
	while (left-- > 0 && !conn->broken && !conn->dead && receive(conn))
		;
	if (conn->broken && !conn->told && !conn->dead) {
		conn->told = true;
		(void)event_del(conn->events.readable);
		conn->closed(conn->ctx);
	}
	conn->dispatching = false;
	if (conn->dead)
		release(conn);
}

/* @return 1: sent; 0: the socket is full; -1: it is broken */
static int transmit(struct ipc_conn *conn, const char *data, size_t n, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {(char *)data, n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	while (sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -1;
	}
	return 1;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc_conn *conn = arg;

	(void)fd;
	(void)what;
	while (!STAILQ_EMPTY(&conn->queue)) {
		struct packet *packet = STAILQ_FIRST(&conn->queue);
		int ret = transmit(conn, packet->data, packet->n, packet->fd);

		if (ret < 0)
			give_up(conn);
		if (ret <= 0)
			return;
		drop_first(conn);
	}
	(void)event_del(conn->events.writable);
}

static void enqueue(struct ipc_conn *conn, const char *data, size_t n, int fd)
{
	struct packet *packet;

	if (conn->queued == MAX_QUEUED) {
		close_fd(fd);
		protocol_error(conn, "the other role does not read");
		return;
	}
	packet = rst_malloc(sizeof(*packet) + n);
	packet->fd = fd;
	packet->n = n;
	memcpy(packet->data, data, n);
	STAILQ_INSERT_TAIL(&conn->queue, packet, next);
	if (conn->queued++ == 0)
		(void)event_add(conn->events.writable, NULL);
}

struct ipc_conn *ipc_conn_new(struct event_base *base, int fd,
			      enum rst_ipc_side side,
			      ipc_conn_message_func *message,
			      ipc_conn_closed_func *closed, void *ctx)
{
	struct ipc_conn *conn = rst_calloc(1, sizeof(*conn));

	conn->fd = fd;
	conn->side = side;
	conn->message = message;
	conn->closed = closed;
	conn->ctx = ctx;
	STAILQ_INIT(&conn->queue);
	event_pair_init(&conn->events, base, fd, on_readable, on_writable,
			conn);
	return conn;
}

void ipc_conn_free(struct ipc_conn **_conn)
{
	struct ipc_conn *conn = *_conn;

	*_conn = NULL;
	if (conn == NULL)
		return;
	if (conn->dispatching)
		conn->dead = true;
	else
		release(conn);
}

void ipc_conn_send(struct ipc_conn *conn, const struct rst_ipc *msg, int fd)
{
	char out[RST_IPC_MAX];
	ssize_t n = rst_ipc_encode(msg, out);
	int ret = 0;

	if (n < 0)
		log_short(LOG_ERR, "message between roles is too long", NULL,
			  NULL);
	if (n < 0 || conn->broken || conn->dead) {
		close_fd(fd);
		return;
	}
	if (conn->queued == 0)
		ret = transmit(conn, out, (size_t)n, fd);
	if (ret == 0) {
		enqueue(conn, out, (size_t)n, fd);
		return;
	}
	close_fd(fd);
	if (ret < 0)
		give_up(conn);
}
