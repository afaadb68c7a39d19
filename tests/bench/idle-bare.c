/* SPDX-License-Identifier: MIT */
/*
 * The floor for the cost of idle clients: a TLS server of libevent and OpenSSL,
 * with nothing above them.
 * usage: idle-bare CERTIFICATE KEY
 * It prints its port, and ends when its input ends.
 */
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct server {
	struct event_base *base;
	SSL_CTX *ctx;
};

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	(void)arg;
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0)
		bufferevent_free(bev);
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd,
			struct sockaddr *addr, int len, void *arg)
{
	struct server *server = arg;
	struct bufferevent *bev = bufferevent_openssl_socket_new(
		server->base, fd, SSL_new(server->ctx),
		BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);

	(void)listener;
	(void)addr;
	(void)len;
	bufferevent_setcb(bev, on_read, NULL, on_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)what;
	event_base_loopbreak(server->base);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct server server = {event_base_new(),
				SSL_CTX_new(TLS_server_method())};
	struct evconnlistener *listener;
	struct event *input;

	if (argc != 3 ||
	    SSL_CTX_use_certificate_chain_file(server.ctx, argv[1]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server.ctx, argv[2],
					SSL_FILETYPE_PEM) != 1)
		return 1;
	SSL_CTX_set_mode(server.ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(server.ctx, SSL_SESS_CACHE_OFF);
	listener = evconnlistener_new_bind(
		server.base, on_accepted, &server,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4096,
		(struct sockaddr *)&addr, sizeof(addr));
	if (listener == NULL || getsockname(evconnlistener_get_fd(listener),
					    (struct sockaddr *)&addr, &len) < 0)
		return 1;
	printf("%d\n", ntohs(addr.sin_port));
	fflush(stdout);
	input = event_new(server.base, STDIN_FILENO, EV_READ, on_input,
			  &server);
	event_add(input, NULL);
	event_base_dispatch(server.base);
	return 0;
}
