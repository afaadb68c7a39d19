/* SPDX-License-Identifier: MIT */
/*
 * Each dialler has a rst_hold_server, which has the states and the rules. From
 * SCAN on nothing is read any more, and some users at a time are listed:
 * Postfix is answered in between. When the last line is written the connection
 * ends.
 */
#include "index-service.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "restante/hold-server.h"
#include "restante/timetable.h"

#define MAX_DIALLERS 8
#define TIMEOUT_SECS 30
/** users at a stretch */
#define USERS_AT_ONCE 64

struct dialler {
	LIST_ENTRY(dialler) entry;
	struct index_service *service;
	struct bufferevent *bev;
	struct rst_hold_server *server;
	struct rst_timetable_reader *reader; /* NULL: no SCAN yet */
	uint64_t users;                      /* listed */
	uint64_t unread;
};

struct index_service {
	struct event_base *base;
	struct fallback *fallback;
	int listen_fd;
	struct acceptor *acceptor;
	LIST_HEAD(, dialler) diallers;
	unsigned int count;
};

static void dialler_free(struct dialler *dialler)
{
	LIST_REMOVE(dialler, entry);
	dialler->service->count--;
	rst_timetable_reader_free(&dialler->reader);
	rst_hold_server_free(&dialler->server);
	bufferevent_free(dialler->bev);
	free(dialler);
}

static void flush_lines(struct dialler *dialler)
{
	size_t len;
	const char *lines = rst_hold_server_output(dialler->server, &len);

	if (bufferevent_write(dialler->bev, lines, len) < 0)
		abort(); /* out of memory */
	rst_hold_server_sent(dialler->server, len);
}

/* ---- the listing */

static void list_some(struct dialler *dialler)
{
	unsigned int left = USERS_AT_ONCE;
	struct rst_str user;
	int64_t due;

	while (left-- > 0) {
		if (!rst_timetable_reader_next(dialler->reader, &user, &due)) {
			rst_hold_server_scanned(dialler->server, dialler->users,
						dialler->unread);
			return;
		}
		/* only the hold knows how much it is */
		rst_hold_server_holds(dialler->server, user, 0, 0, due);
		dialler->users++;
	}
}

static void begin_listing(struct dialler *dialler)
{
	dialler->reader =
		fallback_read(dialler->service->fallback, &dialler->unread);
	if (dialler->reader == NULL)
		rst_hold_server_no(dialler->server, RST_HOLD_NO_TEMP,
				   "not all users have been looked at yet");
	else
		list_some(dialler);
}

/* ---- commands */

static void handle_events(struct dialler *dialler)
{
	struct rst_hold_server_event ev;

	/* a protocol error needs nothing but the end */
	while (rst_hold_server_next(dialler->server, &ev))
		if (ev.type == RST_HOLD_SERVER_SCAN)
			begin_listing(dialler);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *input = bufferevent_get_input(bev);
	struct dialler *dialler = arg;
	size_t taken;

	do {
		const unsigned char *data = evbuffer_pullup(input, -1);

		taken = rst_hold_server_recv(dialler->server,
					     (const char *)data,
					     evbuffer_get_length(input));
		(void)evbuffer_drain(input, taken);
		handle_events(dialler);
	} while (taken > 0);
	flush_lines(dialler);
	if (dialler->reader != NULL || rst_hold_server_ended(dialler->server))
		(void)bufferevent_disable(bev, EV_READ);
}

/* All that was said has been written. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct dialler *dialler = arg;

	(void)bev;
	if (rst_hold_server_ended(dialler->server)) {
		dialler_free(dialler);
	} else if (dialler->reader != NULL) {
		list_some(dialler);
		flush_lines(dialler);
	}
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	dialler_free(arg);
}

/* ---- connections */

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	static const struct rst_hold_server_limits limits = {.scan_only = true};
	static const struct timeval timeout = {.tv_sec = TIMEOUT_SECS};
	struct index_service *service = ctx;
	struct dialler *dialler;

	(void)peer;
	if (service->count == MAX_DIALLERS) {
		(void)close(fd);
		return;
	}
	dialler = rst_calloc(1, sizeof(*dialler));
	dialler->service = service;
	dialler->server = rst_hold_server_new(&limits);
	dialler->bev = bufferevent_socket_new(service->base, fd,
					      BEV_OPT_CLOSE_ON_FREE);
	if (dialler->bev == NULL)
		abort();
	LIST_INSERT_HEAD(&service->diallers, dialler, entry);
	service->count++;
	bufferevent_setcb(dialler->bev, on_read, on_written, on_event, dialler);
	bufferevent_set_timeouts(dialler->bev, &timeout, &timeout);
	bufferevent_setwatermark(dialler->bev, EV_READ, 0, RST_HOLD_LINE_MAX);
	(void)bufferevent_enable(dialler->bev, EV_READ | EV_WRITE);
}

struct index_service *index_service_new(struct event_base *base, int listen_fd,
					struct fallback *fallback)
{
	struct index_service *service = rst_calloc(1, sizeof(*service));

	service->base = base;
	service->fallback = fallback;
	service->listen_fd = listen_fd;
	LIST_INIT(&service->diallers);
	service->acceptor =
		acceptor_new(base, &listen_fd, 1, NULL, on_accepted, service);
	acceptor_start(service->acceptor);
	return service;
}

void index_service_free(struct index_service **_service)
{
	struct index_service *service = *_service;
	struct dialler *dialler;

	*_service = NULL;
	if (service == NULL)
		return;
	while ((dialler = LIST_FIRST(&service->diallers)) != NULL)
		dialler_free(dialler);
	acceptor_free(&service->acceptor);
	(void)close(service->listen_fd);
	free(service);
}
