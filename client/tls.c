/* SPDX-License-Identifier: MIT */
#include "tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* RFC 7301: a length and the name */
static const unsigned char alpn[] = "\x08restante";

struct tls {
	SSL_CTX *ctx;
	SSL_SESSION *session; /* the newest; NULL: none, or used already */
};

static void error_text(unsigned long error, char error_r[TLS_ERROR_SIZE])
{
	const char *reason = ERR_reason_error_string(error);

	if (reason != NULL)
		(void)snprintf(error_r, TLS_ERROR_SIZE, "%s", reason);
	else
		ERR_error_string_n(error, error_r, TLS_ERROR_SIZE);
}

static bool set_up(SSL_CTX *ctx, const char *ca_file)
{
	if (ctx == NULL || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION))
		return false;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	/* 0 is success here */
	if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) != 0)
		return false;
	if (ca_file != NULL)
		return SSL_CTX_load_verify_file(ctx, ca_file) == 1;
	return SSL_CTX_set_default_verify_paths(ctx) == 1;
}

/* Keeps a copy: OpenSSL marks the connection's own session as not resumable
   when the connection breaks off. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(tls->session);
	tls->session = SSL_SESSION_dup(session);
	return 0; /* OpenSSL keeps its reference */
}

static void keep_sessions(struct tls *tls)
{
	SSL_CTX_set_app_data(tls->ctx, tls);
	SSL_CTX_set_session_cache_mode(
		tls->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(tls->ctx, keep_session);
}

struct tls *tls_new(const char *ca_file, char error_r[TLS_ERROR_SIZE])
{
	struct tls *tls = rst_calloc(1, sizeof(*tls));

	ERR_clear_error();
	tls->ctx = SSL_CTX_new(TLS_client_method());
	if (!set_up(tls->ctx, ca_file)) {
		error_text(ERR_get_error(), error_r);
		tls_free(&tls);
		return NULL;
	}
	keep_sessions(tls);
	return tls;
}

void tls_free(struct tls **tls)
{
	if (*tls != NULL) {
		SSL_SESSION_free((*tls)->session);
		SSL_CTX_free((*tls)->ctx);
	}
	free(*tls);
	*tls = NULL;
}

/* The certificate must be for this host. The server name indication is sent for
   a name only, never for an address: RFC 6066 section 3. */
static bool set_host(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	unsigned char address[16];

	if (inet_pton(AF_INET, host, address) == 1 ||
	    inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) == 1 &&
	       SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* A session is used once (RFC 8446 C.4), so a bad one is soon gone. There is no
   early data, which could be replayed. */
static void use_session(struct tls *tls, SSL *ssl)
{
	if (tls->session == NULL)
		return;
	(void)SSL_set_session(ssl, tls->session);
	SSL_SESSION_free(tls->session);
	tls->session = NULL;
}

struct bufferevent *tls_connect(struct tls *tls, struct event_base *base,
				int fd, const char *host)
{
	SSL *ssl = SSL_new(tls->ctx);
	struct bufferevent *bev = NULL;

	if (ssl != NULL && set_host(ssl, host)) {
		use_session(tls, ssl);
		bev = bufferevent_openssl_socket_new(base, fd, ssl,
						     BUFFEREVENT_SSL_CONNECTING,
						     BEV_OPT_CLOSE_ON_FREE);
	}
	if (bev == NULL) /* else bev owns ssl */
		SSL_free(ssl);
	return bev;
}

bool tls_error(struct bufferevent *bev, char error_r[TLS_ERROR_SIZE])
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	unsigned long error = bufferevent_get_openssl_error(bev);
	long verify = ssl == NULL ? X509_V_OK : SSL_get_verify_result(ssl);

	*error_r = '\0';
	if (verify != X509_V_OK)
		(void)snprintf(error_r, TLS_ERROR_SIZE, "certificate: %s",
			       X509_verify_cert_error_string(verify));
	else if (ERR_GET_LIB(error) != 0) /* 0: libevent's, of the socket */
		error_text(error, error_r);
	return verify != X509_V_OK;
}

void tls_describe(struct bufferevent *bev, char text_r[TLS_ERROR_SIZE])
{
	const SSL *ssl = bufferevent_openssl_get_ssl(bev);

	(void)snprintf(text_r, TLS_ERROR_SIZE, "%s %s%s", SSL_get_version(ssl),
		       SSL_get_cipher_name(ssl),
		       SSL_session_reused(ssl) ? " resumed" : "");
}

bool tls_server_is_ours(struct bufferevent *bev)
{
	const SSL *ssl = bufferevent_openssl_get_ssl(bev);
	const unsigned char *name;
	unsigned int len;

	SSL_get0_alpn_selected(ssl, &name, &len);
	return len == alpn[0] && memcmp(name, alpn + 1, len) == 0;
}

void tls_half_close(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	/* One call writes close_notify and does not wait for the server's. The
	   socket stays open: closing it with octets unread would reset the
	   connection, and the server might lose our last replies. */
	if (ssl != NULL)
		(void)SSL_shutdown(ssl);
	ERR_clear_error();
}
