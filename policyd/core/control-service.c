/* SPDX-License-Identifier: MIT */
/*
 * While a list is being written no input is read; some sessions at a time are
 * listed, so that Postfix is answered in between.
 */
#include "control-service.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/log.h"
#include "restante/control.h"

#define MAX_OPERATORS 8
#define TIMEOUT_SECS 30
/** sessions at a stretch */
#define SESSIONS_AT_ONCE 64

struct operator
{
	LIST_ENTRY(operator) entry;
	struct control_service *service;
	struct bufferevent *bev;
	struct rst_control *control;
	struct sessions_reader *reader; /* NULL: no list is being written */
};

struct control_service {
	struct event_base *base;
	struct sessions *sessions;
	const char *holders_directory;
	int listen_fd;
	struct acceptor *acceptor;
	LIST_HEAD(, operator) operators;
	unsigned int count;
};

static void operator_free(struct operator* operator)
{
	LIST_REMOVE(operator, entry);
	operator->service->count--;
	sessions_reader_free(&operator->reader);
	rst_control_free(&operator->control);
	bufferevent_free(operator->bev);
	free(operator);
}

static void flush_lines(struct operator* operator)
{
	size_t len;
	const char *lines = rst_control_output(operator->control, &len);

	if (bufferevent_write(operator->bev, lines, len) < 0)
		abort(); /* out of memory */
	rst_control_sent(operator->control, len);
}

static void list_some(struct operator* operator)
{
	unsigned int left = SESSIONS_AT_ONCE;
	struct sessions_row row;

	while (left-- > 0) {
		if (!sessions_reader_next(operator->reader, &row)) {
			rst_control_end(operator->control);
			sessions_reader_free(&operator->reader);
			return;
		}
		rst_control_session(operator->control,
				    &(struct rst_control_session){
					    .user = row.user,
					    .remote = row.remote,
					    .since = row.since,
					    .epoch = row.epoch,
					    .draining = row.draining});
	}
}

static void kick(struct operator* operator, struct rst_str user)
{
	unsigned int count = sessions_kick(operator->service->sessions, user);
	struct rst_logline line;

	rst_logline_begin(&line, "operator signs a user out");
	rst_logline_str(&line, "user", user);
	rst_logline_u64(&line, "sessions", count);
	log_line(LOG_NOTICE, &line);
	rst_control_kicked(operator->control, count);
}

static void handle_events(struct operator* operator)
{
	struct rst_control_event ev;

	while (rst_control_next(operator->control, &ev)) {
		if (ev.type == RST_CONTROL_KICK) {
			kick(operator, ev.user);
		} else if (ev.type == RST_CONTROL_HOLDERS) {
			rst_control_holders(
				operator->control,
				rst_str(operator->service->holders_directory));
		} else {
			operator->reader = sessions_reader_new(
				operator->service->sessions);
			list_some(operator);
		}
	}
}

static void take_input(struct operator* operator)
{
	struct evbuffer *input = bufferevent_get_input(operator->bev);
	size_t taken;

	do {
		const unsigned char *data = evbuffer_pullup(input, -1);

		taken = rst_control_recv(operator->control, (const char *)data,
					 evbuffer_get_length(input));
		(void)evbuffer_drain(input, taken);
		handle_events(operator);
	} while (taken > 0);
	flush_lines(operator);
	if (operator->reader != NULL || rst_control_ended(operator->control))
		(void)bufferevent_disable(operator->bev, EV_READ);
	else
		(void)bufferevent_enable(operator->bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	take_input(arg);
}

/* All that was said has been written. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct operator* operator= arg;

	(void)bev;
	if (rst_control_ended(operator->control)) {
		operator_free(operator);
		return;
	}
	if (operator->reader == NULL)
		return;
	list_some(operator);
	if (operator->reader == NULL)
		take_input(operator);
	else
		flush_lines(operator);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	operator_free(arg);
}

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	static const struct timeval timeout = {.tv_sec = TIMEOUT_SECS};
	struct control_service *service = ctx;
	struct operator* operator;

	(void)peer;
	if (service->count == MAX_OPERATORS) {
		(void)close(fd);
		return;
	}
	operator= rst_calloc(1, sizeof(*operator));
	operator->service = service;
	operator->control = rst_control_new();
	operator->bev = bufferevent_socket_new(service->base, fd,
					       BEV_OPT_CLOSE_ON_FREE);
	if (operator->bev == NULL)
		abort();
	LIST_INSERT_HEAD(&service->operators, operator, entry);
	service->count++;
	bufferevent_setcb(operator->bev, on_read, on_written,
			  on_event, operator);
	bufferevent_set_timeouts(operator->bev, &timeout, &timeout);
	bufferevent_setwatermark(operator->bev, EV_READ, 0,
				 RST_CONTROL_LINE_MAX);
	(void)bufferevent_enable(operator->bev, EV_READ | EV_WRITE);
}

static void start_listening(struct control_service *service, int listen_fd)
{
	service->listen_fd = listen_fd;
	service->acceptor = acceptor_new(service->base, &listen_fd, 1, NULL,
					 on_accepted, service);
	acceptor_start(service->acceptor);
}

static void stop_listening(struct control_service *service)
{
	acceptor_free(&service->acceptor);
	(void)close(service->listen_fd);
}

struct control_service *control_service_new(struct event_base *base,
					    int listen_fd,
					    struct sessions *sessions,
					    const char *holders_directory)
{
	struct control_service *service = rst_calloc(1, sizeof(*service));

	service->base = base;
	service->sessions = sessions;
	service->holders_directory = holders_directory;
	LIST_INIT(&service->operators);
	start_listening(service, listen_fd);
	return service;
}

void control_service_free(struct control_service **_service)
{
	struct control_service *service = *_service;
	struct operator* operator;

	*_service = NULL;
	if (service == NULL)
		return;
	while ((operator= LIST_FIRST(&service->operators)) != NULL)
		operator_free(operator);
	stop_listening(service);
	free(service);
}

void control_service_relisten(struct control_service *service, int listen_fd)
{
	stop_listening(service);
	start_listening(service, listen_fd);
}
