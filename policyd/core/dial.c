/* SPDX-License-Identifier: MIT */
#include "dial.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/unix-socket.h"
#include "restante/clock.h"
#include "restante/str.h"

#define RETRY_MS 20

struct dial {
	const char *path;
	int64_t give_up_ms;
	struct event *timer;
	dial_func *done;
	void *ctx;
};

int dial_now(const char *path)
{
	return unix_socket_connect(path, SOCK_STREAM | SOCK_NONBLOCK);
}

static void on_timer(evutil_socket_t unused, short what, void *arg)
{
	struct dial *dial = arg;
	int fd = dial_now(dial->path);
	int error = fd < 0 ? errno : 0;

	(void)unused;
	(void)what;
	if (error == EAGAIN && clock_ms() < dial->give_up_ms) {
		struct timeval delay = clock_timeval(RETRY_MS);

		(void)event_add(dial->timer, &delay);
		return;
	}
	dial->done(fd, error, dial->ctx);
}

struct dial *dial_start(struct event_base *base, const char *path,
			int64_t timeout_ms, dial_func *done, void *ctx)
{
	struct dial *dial = rst_calloc(1, sizeof(*dial));

	dial->path = path;
	dial->give_up_ms = clock_ms() + timeout_ms;
	dial->done = done;
	dial->ctx = ctx;
	dial->timer = evtimer_new(base, on_timer, dial);
	if (dial->timer == NULL)
		abort();
	event_active(dial->timer, EV_TIMEOUT, 0);
	return dial;
}

void dial_free(struct dial **_dial)
{
	struct dial *dial = *_dial;

	*_dial = NULL;
	if (dial == NULL)
		return;
	event_free(dial->timer);
	free(dial);
}
