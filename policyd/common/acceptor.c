/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "restante/clock.h"

/** connections taken before other events get their turn */
#define MAX_AT_ONCE 16
/** how long nothing is accepted when there are no descriptors left */
#define PAUSE_MS 1000

struct acceptor {
	struct acceptor_config config;
	struct event **listeners;
	unsigned int count;
	struct event *pause;
	bool logged;
	int64_t logged_ms;
	acceptor_func *accepted;
	void *ctx;
};

static const struct acceptor_config ordinary = {
	.failed = "cannot accept connections",
	.log_interval_ms = 60 * 1000,
	.priority = -1,
};

static void describe(const struct sockaddr_storage *addr,
		     struct acceptor_peer *peer)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	const void *octets = &in->sin_addr;
	int family = AF_INET;

	*peer = (struct acceptor_peer){.port = ntohs(in->sin_port)};
	if (addr->ss_family == AF_INET6) {
		peer->port = ntohs(in6->sin6_port);
		octets = &in6->sin6_addr;
		family = AF_INET6;
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			octets = &in6->sin6_addr.s6_addr[12];
			family = AF_INET;
		}
	}
	if (inet_ntop(family, octets, peer->address, sizeof(peer->address)) ==
	    NULL)
		peer->address[0] = '\0';
}

/* The waiting connection keeps the socket readable: without a pause this
   would be a busy loop until another connection ends. */
static void pause_accepting(struct acceptor *acceptor)
{
	struct timeval tv = clock_timeval(PAUSE_MS);
	int64_t now_ms = clock_ms();
	unsigned int i;

	if (!acceptor->logged ||
	    now_ms - acceptor->logged_ms >= acceptor->config.log_interval_ms) {
		log_errno(acceptor->config.failed, NULL, NULL);
		acceptor->logged = true;
		acceptor->logged_ms = now_ms;
	}
	for (i = 0; i < acceptor->count; i++)
		(void)event_del(acceptor->listeners[i]);
	(void)evtimer_add(acceptor->pause, &tv);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	acceptor_start(arg);
}

/* Of accept(2)'s errors, those that concern one connection only, which has
   left the listener's queue: the next one can be accepted at once. */
static bool is_of_connection(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
	struct acceptor *acceptor = arg;
	unsigned int left = MAX_AT_ONCE;

	(void)what;
	while (left-- > 0) {
		struct sockaddr_storage addr = {0};
		socklen_t len = sizeof(addr);
		struct acceptor_peer peer;
		int fd = accept4(listener, (struct sockaddr *)&addr, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			describe(&addr, &peer);
			acceptor->accepted(fd, &peer, acceptor->ctx);
		} else if (errno == EAGAIN) {
			return; /* or another worker was faster */
		} else if (!is_of_connection(errno)) {
			pause_accepting(acceptor);
			return;
		}
	}
}

struct acceptor *acceptor_new(struct event_base *base, const int *fds,
			      unsigned int count,
			      const struct acceptor_config *config,
			      acceptor_func *accepted, void *ctx)
{
	struct acceptor *acceptor = rst_calloc(1, sizeof(*acceptor));
	unsigned int i;

	acceptor->config = config == NULL ? ordinary : *config;
	acceptor->listeners = rst_calloc(count, sizeof(struct event *));
	acceptor->count = count;
	acceptor->accepted = accepted;
	acceptor->ctx = ctx;
	acceptor->pause = evtimer_new(base, on_pause_over, acceptor);
	if (acceptor->pause == NULL)
		abort();
	for (i = 0; i < count; i++) {
		acceptor->listeners[i] =
			event_new(base, fds[i], EV_READ | EV_PERSIST,
				  on_connection, acceptor);
		if (acceptor->listeners[i] == NULL ||
		    (acceptor->config.priority >= 0 &&
		     event_priority_set(acceptor->listeners[i],
					acceptor->config.priority) < 0))
			abort();
	}
	return acceptor;
}

void acceptor_free(struct acceptor **_acceptor)
{
	struct acceptor *acceptor = *_acceptor;
	unsigned int i;

	*_acceptor = NULL;
	if (acceptor == NULL)
		return;
	for (i = 0; i < acceptor->count; i++)
		event_free(acceptor->listeners[i]);
	event_free(acceptor->pause);
	free(acceptor->listeners);
	free(acceptor);
}

void acceptor_start(struct acceptor *acceptor)
{
	unsigned int i;

	for (i = 0; i < acceptor->count; i++)
		(void)event_add(acceptor->listeners[i], NULL);
}
