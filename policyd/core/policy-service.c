/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "policy-service.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "policy-conn.h"

/** Debian's Postfix runs 100 smtpd processes at most; a large one some
    thousand. */
#define MAX_CONNECTIONS 4096
#define MAX_ACCEPTS 16
#define PAUSE_MS 1000

struct client {
	LIST_ENTRY(client) entry;
	struct policy_service *service;
	struct policy_conn *conn;
};

struct policy_service {
	struct event_base *base;
	const struct conf *conf;
	int listen_fd;
	struct event *readable;
	struct event *pause; /* no descriptors: accepting waits for this */
	LIST_HEAD(, client) clients;
	unsigned int count;
};

enum rst_policy_action policy_decide(const struct rst_policy_request *request,
				     uint64_t message_size_limit)
{
	uint64_t size;

	if (message_size_limit == 0 ||
	    (!rst_str_eq(request->protocol_state, RST_STR("RCPT")) &&
	     !rst_str_eq(request->protocol_state, RST_STR("END-OF-MESSAGE"))))
		return RST_POLICY_DUNNO;
	if (!rst_str_to_u64(request->size, &size) || size <= message_size_limit)
		return RST_POLICY_DUNNO;
	return RST_POLICY_TOO_LARGE;
}

static void on_decide(struct policy_conn *conn,
		      const struct rst_policy_ask *ask, void *ctx)
{
	struct client *client = ctx;

	policy_conn_answer(
		conn, ask->id,
		policy_decide(ask->request,
			      client->service->conf->message_size_limit));
}

static void forget(struct client *client)
{
	LIST_REMOVE(client, entry);
	client->service->count--;
	free(client);
}

static void on_closed(struct policy_conn *conn, void *ctx)
{
	(void)conn;
	forget(ctx);
}

static const struct policy_conn_callbacks callbacks = {on_decide, on_closed};

void policy_service_adopt(struct policy_service *service, int fd)
{
	const struct policy_conn_times times = {
		.answer_timeout_ms = (int64_t)service->conf->policy_timeout_ms,
		.idle_ms = POLICY_CONN_IDLE_MS};
	struct client *client;

	if (service->count == MAX_CONNECTIONS) {
		log_short(LOG_WARNING, "too many policy connections", NULL,
			  NULL);
		(void)close(fd);
		return;
	}
	client = rst_calloc(1, sizeof(*client));
	client->service = service;
	client->conn =
		policy_conn_new(service->base, fd, &times, &callbacks, client);
	LIST_INSERT_HEAD(&service->clients, client, entry);
	service->count++;
}

/* Out of descriptors, most likely: trying at once would spin. */
static void pause_accepting(struct policy_service *service)
{
	struct timeval delay = clock_timeval(PAUSE_MS);

	log_errno("policy connection not accepted", NULL, NULL);
	(void)event_del(service->readable);
	(void)event_add(service->pause, &delay);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct policy_service *service = arg;

	(void)fd;
	(void)what;
	(void)event_add(service->readable, NULL);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	struct policy_service *service = arg;
	unsigned int left = MAX_ACCEPTS;

	(void)what;
	while (left-- > 0) {
		int fd = accept4(listen_fd, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			policy_service_adopt(service, fd);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != EAGAIN)
				pause_accepting(service);
			return;
		}
	}
}

struct policy_service *policy_service_new(struct event_base *base,
					  int listen_fd,
					  const struct conf *conf)
{
	struct policy_service *service = rst_calloc(1, sizeof(*service));

	service->base = base;
	service->conf = conf;
	service->listen_fd = listen_fd;
	LIST_INIT(&service->clients);
	service->readable = event_new(base, listen_fd, EV_READ | EV_PERSIST,
				      on_accept, service);
	service->pause = evtimer_new(base, on_resume, service);
	if (service->readable == NULL || service->pause == NULL ||
	    event_priority_set(service->readable, 0) < 0 ||
	    event_add(service->readable, NULL) < 0)
		abort();
	return service;
}

unsigned int policy_service_detach(struct policy_service **_service,
				   int **fds_r)
{
	struct policy_service *service = *_service;
	int *fds = rst_calloc(service->count + 1, sizeof(*fds));
	struct client *client;
	unsigned int n = 0;

	fds[n++] = service->listen_fd;
	service->listen_fd = -1;
	while ((client = LIST_FIRST(&service->clients)) != NULL) {
		fds[n] = policy_conn_detach(&client->conn);
		if (fds[n] >= 0)
			n++;
		forget(client);
	}
	policy_service_free(_service);
	*fds_r = fds;
	return n;
}

void policy_service_free(struct policy_service **_service)
{
	struct policy_service *service = *_service;
	struct client *client;

	*_service = NULL;
	if (service == NULL)
		return;
	while ((client = LIST_FIRST(&service->clients)) != NULL) {
		policy_conn_free(&client->conn);
		forget(client);
	}
	event_free(service->readable);
	event_free(service->pause);
	if (service->listen_fd >= 0)
		(void)close(service->listen_fd);
	free(service);
}
