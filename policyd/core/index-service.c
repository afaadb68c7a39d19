/* SPDX-License-Identifier: MIT */
/*
 *   VERSION  until the dialler has said which protocol it speaks
 *   SCAN     until it has asked
 *   LISTING  some users at a time: Postfix is answered in between
 *   CLOSING  the output is written, then it ends
 */
#include "index-service.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "restante/hold.h"
#include "restante/timetable.h"

#define MAX_CLIENTS 8
#define TIMEOUT_SECS 30
/** users at a stretch */
#define USERS_AT_ONCE 64

enum state {
	STATE_VERSION,
	STATE_SCAN,
	STATE_LISTING,
	STATE_CLOSING,
};

struct client {
	LIST_ENTRY(client) entry;
	struct index_service *service;
	struct bufferevent *bev;
	enum state state;
	struct rst_timetable_reader *reader;
	unsigned int users;
	uint64_t unread;
};

struct index_service {
	struct event_base *base;
	struct fallback *fallback;
	int listen_fd;
	struct acceptor *acceptor;
	LIST_HEAD(, client) clients;
	unsigned int count;
};

static void client_free(struct client *client)
{
	LIST_REMOVE(client, entry);
	client->service->count--;
	rst_timetable_reader_free(&client->reader);
	bufferevent_free(client->bev);
	free(client);
}

static void say(struct client *client, const struct rst_str *fields,
		size_t count)
{
	/* whatever a user is called, it came in one line */
	char line[2 * RST_HOLD_LINE_MAX + 64];

	if (bufferevent_write(client->bev, line,
			      rst_hold_join(fields, count, line)) < 0)
		abort(); /* out of memory */
}

static void say_no(struct client *client, const char *code, const char *text)
{
	const struct rst_str fields[] = {RST_STR("NO"), rst_str(code),
					 rst_str(text)};

	client->state = STATE_CLOSING;
	say(client, fields, 3);
}

/* ---- the listing */

static void say_user(struct client *client, struct rst_str user, int64_t due)
{
	const struct rst_str none = RST_STR("0");
	char number[24];

	(void)snprintf(number, sizeof(number), "%lld", (long long)due);
	/* how much it is, the hold knows */
	say(client,
	    (struct rst_str[]){RST_STR("HOLDS"), user, none, none,
			       rst_str(number)},
	    5);
	client->users++;
}

static void say_end(struct client *client)
{
	char users[24], unread[24];

	(void)snprintf(users, sizeof(users), "%u", client->users);
	(void)snprintf(unread, sizeof(unread), "%llu",
		       (unsigned long long)client->unread);
	client->state = STATE_CLOSING;
	say(client,
	    (struct rst_str[]){RST_STR("END"), rst_str(users), rst_str(unread)},
	    3);
}

static void list_some(struct client *client)
{
	unsigned int left = USERS_AT_ONCE;
	struct rst_str user;
	int64_t due;

	while (left-- > 0) {
		if (!rst_timetable_reader_next(client->reader, &user, &due)) {
			say_end(client);
			return;
		}
		say_user(client, user, due);
	}
}

/* ---- what is asked */

static void begin_listing(struct client *client)
{
	client->reader =
		fallback_read(client->service->fallback, &client->unread);
	if (client->reader == NULL) {
		say_no(client, RST_HOLD_NO_TEMP,
		       "not all users have been looked at yet");
		return;
	}
	client->state = STATE_LISTING;
	list_some(client);
}

static void on_line(struct client *client, char *line, size_t len)
{
	struct rst_str fields[RST_HOLD_FIELDS_MAX];
	ssize_t count = rst_hold_split(line, len, fields);

	if (client->state == STATE_VERSION && count >= 4 &&
	    rst_str_eq(fields[0], RST_STR("VERSION")) &&
	    rst_str_eq(fields[1], RST_STR("restante-hold")) &&
	    rst_str_eq(fields[2], RST_STR("1"))) {
		fields[3] = RST_STR("0");
		say(client, fields, 4);
		client->state = STATE_SCAN;
	} else if (client->state == STATE_SCAN && count >= 1 &&
		   rst_str_eq(fields[0], RST_STR("SCAN"))) {
		begin_listing(client);
	} else {
		say_no(client, RST_HOLD_NO_PROTO, "not now, or not at all");
	}
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *input = bufferevent_get_input(bev);
	struct client *client = arg;
	char *line;
	size_t len;

	while (client->state < STATE_LISTING &&
	       (line = evbuffer_readln(input, &len, EVBUFFER_EOL_LF)) != NULL) {
		on_line(client, line, len);
		free(line);
	}
	if (client->state < STATE_LISTING &&
	    evbuffer_get_length(input) >= RST_HOLD_LINE_MAX)
		say_no(client, RST_HOLD_NO_PROTO, "line too long");
	if (client->state >= STATE_LISTING)
		(void)bufferevent_disable(bev, EV_READ);
}

/* All that was said has been written. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct client *client = arg;

	(void)bev;
	if (client->state == STATE_LISTING)
		list_some(client);
	else if (client->state == STATE_CLOSING)
		client_free(client);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	client_free(arg);
}

/* ---- who comes */

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	static const struct timeval timeout = {.tv_sec = TIMEOUT_SECS};
	struct index_service *service = ctx;
	struct client *client;

	(void)peer;
	if (service->count == MAX_CLIENTS) {
		(void)close(fd);
		return;
	}
	client = rst_calloc(1, sizeof(*client));
	client->service = service;
	client->bev = bufferevent_socket_new(service->base, fd,
					     BEV_OPT_CLOSE_ON_FREE);
	if (client->bev == NULL)
		abort();
	LIST_INSERT_HEAD(&service->clients, client, entry);
	service->count++;
	bufferevent_setcb(client->bev, on_read, on_written, on_event, client);
	bufferevent_set_timeouts(client->bev, &timeout, &timeout);
	bufferevent_setwatermark(client->bev, EV_READ, 0, RST_HOLD_LINE_MAX);
	(void)bufferevent_enable(client->bev, EV_READ | EV_WRITE);
}

struct index_service *index_service_new(struct event_base *base, int listen_fd,
					struct fallback *fallback)
{
	struct index_service *service = rst_calloc(1, sizeof(*service));

	service->base = base;
	service->fallback = fallback;
	service->listen_fd = listen_fd;
	LIST_INIT(&service->clients);
	service->acceptor =
		acceptor_new(base, &listen_fd, 1, NULL, on_accepted, service);
	acceptor_start(service->acceptor);
	return service;
}

void index_service_free(struct index_service **_service)
{
	struct index_service *service = *_service;
	struct client *client;

	*_service = NULL;
	if (service == NULL)
		return;
	while ((client = LIST_FIRST(&service->clients)) != NULL)
		client_free(client);
	acceptor_free(&service->acceptor);
	(void)close(service->listen_fd);
	free(service);
}
