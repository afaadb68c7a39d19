/* SPDX-License-Identifier: MIT */
/*
 * resolve -> for each address: connect -> handshake -> done
 *
 * A failure or time-out of connect or handshake leads to the next address, and
 * after the last one to done, without a connection.
 */
#include "dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "log.h"
#include "resolve.h"
#include "restante/clock.h"

/* TCP finds a server that has vanished after two minutes in which nothing came,
   or in which our replies were not acknowledged. */
#define KEEPALIVE_IDLE_SECS 60
#define KEEPALIVE_INTERVAL_SECS 20
#define KEEPALIVE_COUNT 3
#define USER_TIMEOUT_MS 120000

struct dial {
	struct dial_settings settings;
	struct event_base *base;
	dial_done_func *done;
	void *ctx;
	struct resolve *resolve;
	struct resolved addresses[RESOLVE_MAX];
	size_t count, next;
	struct event *connecting; /* on fd */
	struct event *timer;
	int fd; /* until bev owns it */
	struct bufferevent *bev;
	char name[NI_MAXHOST + NI_MAXSERV]; /* of the current address */
	char error[TLS_ERROR_SIZE];
	bool untrusted; /* an address has shown a wrong certificate */
};

static void try_next(struct dial *dial);

static void set_error(struct dial *dial, const char *error)
{
	struct rst_logline line;

	(void)snprintf(dial->error, sizeof(dial->error), "%s", error);
	rst_logline_begin(&line, "cannot reach the server");
	rst_logline_cstr(&line, "address", dial->name);
	rst_logline_cstr(&line, "error", error);
	log_line(LOG_DEBUG, &line);
}

static void drop_attempt(struct dial *dial)
{
	if (dial->connecting != NULL)
		event_free(dial->connecting);
	dial->connecting = NULL;
	if (dial->bev != NULL)
		bufferevent_free(dial->bev);
	else if (dial->fd >= 0)
		close(dial->fd);
	dial->bev = NULL;
	dial->fd = -1;
	evtimer_del(dial->timer);
}

static void fail(struct dial *dial, const char *error)
{
	set_error(dial, error);
	drop_attempt(dial);
	try_next(dial);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fail(arg, "timed out");
}

/* errno may be an older one: only values that a connection can have count. With
   TCP Fast Open connecting fails as late as here. */
static const char *lost_text(short what)
{
	int error = EVUTIL_SOCKET_ERROR();

	if ((what & BEV_EVENT_ERROR) != 0 &&
	    (error == ECONNREFUSED || error == ECONNRESET ||
	     error == ETIMEDOUT || error == EHOSTUNREACH ||
	     error == ENETUNREACH))
		return strerror(error);
	return "connection closed in handshake";
}

static void on_handshake(struct bufferevent *bev, short what, void *arg)
{
	struct dial *dial = arg;
	char error[TLS_ERROR_SIZE];
	const char *lost = lost_text(what);

	if ((what & BEV_EVENT_CONNECTED) != 0) {
		evtimer_del(dial->timer);
		bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
		dial->bev = NULL;
		dial->fd = -1;
		dial->done(bev, dial->name, dial->ctx);
		return;
	}
	if (tls_error(bev, error))
		dial->untrusted = true;
	fail(dial, *error != '\0' ? error : lost);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct dial *dial = arg;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0) {
		fail(dial, strerror(error));
		return;
	}
	event_free(dial->connecting);
	dial->connecting = NULL;
	dial->bev = tls_connect(dial->settings.tls, dial->base, fd,
				dial->settings.host);
	if (dial->bev == NULL) {
		fail(dial, "cannot set up TLS for this host name");
		return;
	}
	bufferevent_setcb(dial->bev, NULL, NULL, on_handshake, dial);
	bufferevent_enable(dial->bev, EV_READ | EV_WRITE);
}

static void set_option(int fd, int level, int option, int value)
{
	/* a failure is no harm: the connection works without it, less well */
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

static void set_options(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	/* Where the server offers it too, and was connected to before, the
	   ClientHello goes with the first packet: a round trip less. It may
	   arrive twice, which does no harm. */
	set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECS);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECS);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

static int start_connect(struct dial *dial, const struct resolved *to)
{
	const struct sockaddr *address = (const struct sockaddr *)&to->address;

	dial->fd = socket(address->sa_family,
			  SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dial->fd < 0)
		return -1;
	set_options(dial->fd);
	if (connect(dial->fd, address, to->len) < 0 && errno != EINPROGRESS)
		return -1;
	return 0;
}

static void set_name(struct dial *dial, const struct resolved *to)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo((const struct sockaddr *)&to->address, to->len, host,
			sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		strcpy(dial->name, "?");
		return;
	}
	(void)snprintf(dial->name, sizeof(dial->name),
		       strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
		       port);
}

static void try_next(struct dial *dial)
{
	const struct timeval timeout =
		clock_timeval(dial->settings.address_timeout_ms);
	const struct resolved *to;

	while (dial->next < dial->count) {
		to = &dial->addresses[dial->next++];
		set_name(dial, to);
		if (start_connect(dial, to) == 0) {
			dial->connecting =
				event_new(dial->base, dial->fd, EV_WRITE,
					  on_connected, dial);
			event_add(dial->connecting, NULL);
			evtimer_add(dial->timer, &timeout);
			return;
		}
		set_error(dial, strerror(errno));
		drop_attempt(dial);
	}
	dial->done(NULL, dial->error, dial->ctx);
}

static void on_resolved(const struct resolved *addresses, size_t count,
			const char *error, void *ctx)
{
	struct dial *dial = ctx;

	memcpy(dial->addresses, addresses, count * sizeof(*addresses));
	dial->count = count;
	resolve_free(&dial->resolve);
	if (count == 0)
		set_error(dial, error);
	try_next(dial);
}

struct dial *dial_start(struct event_base *base,
			const struct dial_settings *settings,
			dial_done_func *done, void *ctx)
{
	struct dial *dial = rst_calloc(1, sizeof(*dial));

	dial->settings = *settings;
	dial->base = base;
	dial->done = done;
	dial->ctx = ctx;
	dial->fd = -1;
	dial->timer = evtimer_new(base, on_timeout, dial);
	if (dial->timer == NULL)
		abort(); /* out of memory */
	dial->resolve = resolve_start(base, settings->host, settings->port,
				      on_resolved, dial);
	return dial;
}

bool dial_untrusted(const struct dial *dial)
{
	return dial->untrusted;
}

void dial_free(struct dial **_dial)
{
	struct dial *dial = *_dial;

	*_dial = NULL;
	if (dial == NULL)
		return;
	drop_attempt(dial);
	resolve_free(&dial->resolve);
	event_free(dial->timer);
	free(dial);
}
