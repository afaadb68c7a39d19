/* SPDX-License-Identifier: MIT */
/*
 * Certificates good and bad, made on the spot, and handshakes with OpenSSL's
 * own client over a socket pair.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/tls.h"
#include "test-util.h"
#include "tls-pem.h"

static const struct {
	int parts;
	long from, until;
	const char *hostname;
	const char *error; /* how the text begins; NULL: no error */
} checks[] = {
	{CERT | KEY, -HOUR, HOUR, "mx.example", NULL},
	{CERT | KEY, -HOUR, HOUR, "MX.Example", NULL},
	{CERT | KEY, -HOUR, HOUR, "a.wild.example", NULL},
	{CERT | KEY, -HOUR, HOUR, NULL, NULL},
	{CERT | KEY_FIRST, -HOUR, HOUR, "mx.example", NULL},
	{CERT | KEY, -HOUR, HOUR, "other.example",
	 "certificate does not cover the name other.example"},
	{CERT | KEY, -HOUR, HOUR, "a.b.wild.example",
	 "certificate does not cover the name a.b.wild.example"},
	{CERT | KEY, -2 * HOUR, -HOUR, "mx.example", "certificate has expired"},
	{CERT | KEY, HOUR, 2 * HOUR, "mx.example",
	 "certificate is not yet valid"},
	{CERT | OTHER_KEY, -HOUR, HOUR, "mx.example",
	 "private key does not belong to the certificate"},
	{CERT, -HOUR, HOUR, "mx.example", "no private key found"},
	{CERT | LOCKED_KEY, -HOUR, HOUR, "mx.example", "no private key found"},
	{KEY, -HOUR, HOUR, "mx.example", "no certificate found"},
	{CERT | KEY | GARBAGE, -HOUR, HOUR, "mx.example",
	 "chain cannot be read"},
	{GARBAGE, -HOUR, HOUR, "mx.example", "no certificate found"},
	{0, -HOUR, HOUR, "mx.example", "no certificate found"},
};

START_TEST(test_check)
{
	char error[128] = "";
	size_t len;
	char *pem = make_pem(checks[_i].parts, checks[_i].from,
			     checks[_i].until, &len);
	bool ok =
		tls_check(pem, len, checks[_i].hostname, error, sizeof(error));

	free(pem);
	ck_assert_msg(ok == (checks[_i].error == NULL), "%s", error);
	if (!ok)
		ck_assert_msg(strncmp(error, checks[_i].error,
				      strlen(checks[_i].error)) == 0,
			      "%s", error);
	ck_assert_ptr_null(strchr(error, '\n'));
}
END_TEST

/* ---- handshakes */

struct stage {
	struct event_base *base;
	struct tls_server *server;
	struct bufferevent *bev;
	SSL_CTX *ctx;
	SSL *client;
	short events;
};

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
	struct stage *s = ctx;

	(void)bev;
	s->events |= what;
}

static struct tls_server *make_server(struct rst_str ticket_keys)
{
	char error[128];
	size_t len;
	char *pem = make_pem(CERT | KEY, -HOUR, HOUR, &len);
	int fd = memfd_create("pem", MFD_CLOEXEC);
	struct tls_server *server;

	ck_assert_int_eq(write(fd, pem, len), len);
	/* the position is at the end: it must not matter */
	server = tls_server_new(fd, ticket_keys, error, sizeof(error));
	ck_assert_msg(server != NULL, "%s", error);
	(void)close(fd);
	free(pem);
	return server;
}

static void stage_open_with(struct stage *s, struct rst_str ticket_keys)
{
	int fds[2];

	*s = (struct stage){.base = event_base_new()};
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	s->server = make_server(ticket_keys);
	s->bev = tls_accept(s->server, s->base, fds[0]);
	ck_assert_ptr_nonnull(s->bev);
	bufferevent_setcb(s->bev, NULL, NULL, on_event, s);
	(void)bufferevent_enable(s->bev, EV_READ | EV_WRITE);
	s->ctx = SSL_CTX_new(TLS_client_method());
	s->client = SSL_new(s->ctx);
	(void)SSL_set_fd(s->client, fds[1]);
}

static void stage_open(struct stage *s)
{
	stage_open_with(s, RST_STR(""));
}

static void stage_close(struct stage *s)
{
	int fd = SSL_get_fd(s->client);

	bufferevent_free(s->bev);
	(void)event_base_loop(s->base, EVLOOP_NONBLOCK);
	tls_server_free(&s->server);
	SSL_free(s->client);
	SSL_CTX_free(s->ctx);
	(void)close(fd);
	event_base_free(s->base);
}

/* @return whether the handshake succeeded */
static bool handshake(struct stage *s)
{
	int i, ret, error;

	for (i = 0; i < 100; i++) {
		ret = SSL_connect(s->client);
		error = SSL_get_error(s->client, ret);
		(void)event_base_loop(s->base, EVLOOP_NONBLOCK);
		if (ret != 1 && error != SSL_ERROR_WANT_READ &&
		    error != SSL_ERROR_WANT_WRITE)
			return false;
		if (ret == 1 && (s->events & BEV_EVENT_CONNECTED) != 0)
			return true;
	}
	return false;
}

static const struct {
	int max_version;
	const char *alpn; /* length-prefixed */
	const char *chosen;
	bool ok;
} handshakes[] = {
	{TLS1_3_VERSION, "", "", true},
	{TLS1_2_VERSION, "", "", true},
	{TLS1_1_VERSION, "", "", false},
	{TLS1_3_VERSION, "\010restante", "restante", true},
	{TLS1_3_VERSION, "\002h2\010restante", "restante", true},
	{TLS1_3_VERSION, "\002h2", "", true},
};

START_TEST(test_handshake)
{
	const char *alpn = handshakes[_i].alpn;
	const unsigned char *chosen;
	unsigned int len;
	struct stage s;

	stage_open(&s);
	/* or OpenSSL's own limits would refuse version 1.1, not ours */
	SSL_set_security_level(s.client, 0);
	(void)SSL_set_max_proto_version(s.client, handshakes[_i].max_version);
	if (alpn[0] != '\0')
		(void)SSL_set_alpn_protos(s.client, (const unsigned char *)alpn,
					  (unsigned int)strlen(alpn));
	ck_assert_int_eq(handshake(&s), handshakes[_i].ok);
	if (handshakes[_i].ok) {
		SSL_get0_alpn_selected(s.client, &chosen, &len);
		ck_assert_uint_eq(len, strlen(handshakes[_i].chosen));
		ck_assert_int_eq(memcmp(len == 0 ? (const void *)"" : chosen,
					handshakes[_i].chosen, len),
				 0);
		ck_assert_str_eq(tls_version(s.bev), SSL_get_version(s.client));
	} else {
		ck_assert_int_ne(s.events & BEV_EVENT_ERROR, 0);
		ck_assert_str_ne(tls_error(s.bev), "");
	}
	stage_close(&s);
}
END_TEST

START_TEST(test_no_renegotiation)
{
	struct stage s;
	int i, ret = -1, error = SSL_ERROR_WANT_READ;

	stage_open(&s);
	(void)SSL_set_max_proto_version(s.client, TLS1_2_VERSION);
	ck_assert(handshake(&s));
	ck_assert_int_eq(SSL_renegotiate(s.client), 1);
	for (i = 0; i < 20 && error == SSL_ERROR_WANT_READ; i++) {
		ret = SSL_do_handshake(s.client);
		error = SSL_get_error(s.client, ret);
		(void)event_base_loop(s.base, EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(error, SSL_ERROR_SSL);
	stage_close(&s);
}
END_TEST

static const struct {
	int version;
	char first, second; /* what the keys are made of; 0: none are given */
	bool resumed;
} resumptions[] = {
	{TLS1_3_VERSION, 'a', 'a', true},  {TLS1_3_VERSION, 'a', 'b', false},
	{TLS1_3_VERSION, 0, 0, false},     {TLS1_2_VERSION, 'a', 'a', true},
	{TLS1_2_VERSION, 'a', 'b', false},
};

static void stage_of_keys(struct stage *s, char octet, int version)
{
	char keys[TLS_TICKET_KEYS];

	memset(keys, octet, sizeof(keys));
	stage_open_with(s, octet == 0 ? RST_STR("")
				      : (struct rst_str){keys, sizeof(keys)});
	(void)SSL_set_max_proto_version(s->client, version);
}

/* A server takes the tickets of another with the same keys. */
START_TEST(test_resumption)
{
	SSL_SESSION *session;
	struct stage s;
	char buf[8];
	int i;

	stage_of_keys(&s, resumptions[_i].first, resumptions[_i].version);
	ck_assert(handshake(&s));
	/* from version 1.3 on tickets come after the handshake */
	for (i = 0; i < 5; i++) {
		(void)event_base_loop(s.base, EVLOOP_NONBLOCK);
		(void)SSL_read(s.client, buf, sizeof(buf));
	}
	session = SSL_get1_session(s.client);
	(void)SSL_shutdown(s.client);
	stage_close(&s);
	ck_assert(SSL_SESSION_is_resumable(session));

	stage_of_keys(&s, resumptions[_i].second, resumptions[_i].version);
	ck_assert_int_eq(SSL_set_session(s.client, session), 1);
	ck_assert(handshake(&s));
	ck_assert_int_eq(SSL_session_reused(s.client), resumptions[_i].resumed);
	stage_close(&s);
	SSL_SESSION_free(session);
}
END_TEST

/* The last words, then an orderly end, which the client can tell from a cut
   connection. */
START_TEST(test_goodbye)
{
	struct stage s;
	char buf[16];
	int i, n = -1;

	stage_open(&s);
	ck_assert(handshake(&s));
	(void)evbuffer_add(bufferevent_get_output(s.bev), "421", 3);
	for (i = 0; i < 10 && n <= 0; i++) {
		(void)event_base_loop(s.base, EVLOOP_NONBLOCK);
		n = SSL_read(s.client, buf, sizeof(buf));
	}
	ck_assert_int_eq(n, 3);
	tls_goodbye(s.bev);
	n = SSL_read(s.client, buf, sizeof(buf));
	ck_assert_int_eq(SSL_get_error(s.client, n), SSL_ERROR_ZERO_RETURN);
	stage_close(&s);
}
END_TEST

/* A client that closes without close_notify is an end, and no error. */
START_TEST(test_cut)
{
	struct stage s;
	int i;

	stage_open(&s);
	ck_assert(handshake(&s));
	(void)shutdown(SSL_get_fd(s.client), SHUT_RDWR);
	for (i = 0; i < 10; i++)
		(void)event_base_loop(s.base, EVLOOP_NONBLOCK);
	ck_assert_int_ne(s.events & BEV_EVENT_EOF, 0);
	ck_assert_int_eq(s.events & BEV_EVENT_ERROR, 0);
	stage_close(&s);
}
END_TEST

START_TEST(test_no_server)
{
	char error[128] = "";
	int fd = memfd_create("pem", MFD_CLOEXEC);

	ck_assert_ptr_null(
		tls_server_new(fd, RST_STR(""), error, sizeof(error)));
	ck_assert_str_ne(error, "");
	(void)close(fd);
	ck_assert_ptr_null(
		tls_server_new(-1, RST_STR(""), error, sizeof(error)));
	ck_assert_ptr_nonnull(strstr(error, "cannot be read"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tls");
	TCase *tc = tcase_create("tls");

	tcase_add_loop_test(tc, test_check, 0, (int)N_ELEMENTS(checks));
	tcase_add_loop_test(tc, test_handshake, 0, (int)N_ELEMENTS(handshakes));
	tcase_add_test(tc, test_no_renegotiation);
	tcase_add_loop_test(tc, test_resumption, 0,
			    (int)N_ELEMENTS(resumptions));
	tcase_add_test(tc, test_goodbye);
	tcase_add_test(tc, test_cut);
	tcase_add_test(tc, test_no_server);
	suite_add_tcase(s, tc);
	return test_run(s);
}
