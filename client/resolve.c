/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "restante/str.h"

#define TIMEOUT_SECS 30

/* The child writes one of these to the pipe. */
struct answer {
	int error; /* of getaddrinfo() */
	unsigned int count;
	struct resolved addresses[RESOLVE_MAX];
};

struct resolve {
	resolve_done_func *done;
	void *ctx;
	struct event *event;
	pid_t pid;
	int fd;
	struct answer answer;
	size_t got;
};

static void look_up(const char *host, const char *port, struct answer *answer_r)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL, *ai;

	*answer_r = (struct answer){0};
	answer_r->error = getaddrinfo(host, port, &hints, &list);
	if (answer_r->error != 0)
		return;
	for (ai = list; ai != NULL && answer_r->count < RESOLVE_MAX;
	     ai = ai->ai_next) {
		struct resolved *to = &answer_r->addresses[answer_r->count];

		if (ai->ai_addrlen > sizeof(to->address))
			continue;
		to->len = ai->ai_addrlen;
		memcpy(&to->address, ai->ai_addr, ai->ai_addrlen);
		answer_r->count++;
	}
	freeaddrinfo(list);
}

static void child_run(int fd, const char *host, const char *port)
{
	struct answer answer;
	const char *p = (const char *)&answer;
	size_t left = sizeof(answer);
	ssize_t n;

	/* the child must not hold the lock of the Maildir after the parent's
	   end */
	if (dup2(fd, STDOUT_FILENO) < 0 || close_range(3, ~0U, 0) < 0)
		_exit(1);
	/* the inherited handlers would wake the parent */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	alarm(TIMEOUT_SECS);
	look_up(host, port, &answer);
	while (left > 0 && (n = write(STDOUT_FILENO, p, left)) > 0) {
		p += n;
		left -= (size_t)n;
	}
	_exit(0);
}

static void finish(struct resolve *resolve)
{
	const struct answer *answer = &resolve->answer;
	bool whole = resolve->got == sizeof(*answer);
	const char *error = "name look-up timed out";

	event_del(resolve->event);
	if (whole)
		error = answer->error == 0 ? "no address"
					   : gai_strerror(answer->error);
	resolve->done(answer->addresses, whole ? answer->count : 0, error,
		      resolve->ctx);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct resolve *resolve = arg;
	char *to = (char *)&resolve->answer + resolve->got;
	size_t room = sizeof(resolve->answer) - resolve->got;
	ssize_t n = 0;

	if ((what & EV_READ) != 0)
		n = read(fd, to, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0)
		resolve->got += (size_t)n;
	if (n <= 0 || resolve->got == sizeof(resolve->answer))
		finish(resolve);
}

/* @return the end to read from, or -1 */
static int start_child(struct resolve *resolve, const char *host,
		       const char *port)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	resolve->pid = fork();
	if (resolve->pid == 0) {
		close(fds[0]);
		child_run(fds[1], host, port);
	}
	close(fds[1]);
	if (resolve->pid < 0) {
		close(fds[0]);
		return -1;
	}
	evutil_make_socket_nonblocking(fds[0]);
	return fds[0];
}

struct resolve *resolve_start(struct event_base *base, const char *host,
			      const char *port, resolve_done_func *done,
			      void *ctx)
{
	static const struct timeval timeout = {TIMEOUT_SECS + 1, 0}, now;
	struct resolve *resolve = rst_calloc(1, sizeof(*resolve));

	resolve->done = done;
	resolve->ctx = ctx;
	resolve->fd = start_child(resolve, host, port);
	resolve->event = event_new(base, resolve->fd, EV_READ | EV_PERSIST,
				   on_answer, resolve);
	if (resolve->event == NULL)
		abort();       /* out of memory */
	if (resolve->fd < 0) { /* the same as no answer */
		event_free(resolve->event);
		resolve->event = evtimer_new(base, on_answer, resolve);
	}
	event_add(resolve->event, resolve->fd < 0 ? &now : &timeout);
	return resolve;
}

void resolve_free(struct resolve **_resolve)
{
	struct resolve *resolve = *_resolve;

	*_resolve = NULL;
	if (resolve == NULL)
		return;
	event_free(resolve->event);
	if (resolve->fd >= 0)
		close(resolve->fd);
	if (resolve->pid > 0) {
		kill(resolve->pid, SIGKILL);
		while (waitpid(resolve->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(resolve);
}
