/* SPDX-License-Identifier: MIT */
/*
 * The order that must hold in a worker: tls_init() before anything else
 * allocates in OpenSSL and before the process is confined; tls_server_new() as
 * often as the certificate changes, while connections of an older one live on
 * (each SSL holds a reference to its SSL_CTX); tls_goodbye() before shutdown().
 *
 * OpenSSL keeps one error queue for all connections of a thread. A function in
 * which OpenSSL can fail leaves it empty, or libevent would take the error for
 * that of the connection that it serves next.
 */
#include "tls.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "restante/str.h"
#include "tls-memory.h"

/* RFC 7301: a name is preceded by its length */
static const unsigned char alpn_name[] = "\010restante";

struct tls_server {
	SSL_CTX *ctx;
};

static void *tls_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return tls_memory_malloc(n);
}

static void *tls_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return tls_memory_realloc(p, n);
}

static void tls_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	tls_memory_free(p);
}

void tls_init(void)
{
	unsigned char octet;

	/* refused when OpenSSL has allocated already: then it goes on as before
	 */
	(void)CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free);
	SSL_CTX_free(SSL_CTX_new(TLS_server_method()));
	(void)RAND_bytes(&octet, 1);
	ERR_clear_error();
}

/* Writes one line, with OpenSSL's reason if there is one, and empties OpenSSL's
   error queue. */
static void set_error(char *error, size_t size, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	(void)snprintf(error, size, reason == NULL ? "%s" : "%s: %s", what,
		       reason);
	ERR_clear_error();
}

static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
	/* OpenSSL's default asks at the terminal */
	(void)buf;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

/* Port 443 may be shared with other servers by the name that the client offers.
   A client that offers another name, or none, is served all the same. */
static int choose_alpn(SSL *ssl, const unsigned char **out,
		       unsigned char *out_len, const unsigned char *in,
		       unsigned int in_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, alpn_name,
				  sizeof(alpn_name) - 1, in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void set_options(SSL_CTX *ctx)
{
	static const unsigned char id[] = "restante";

	(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* IGNORE_UNEXPECTED_EOF: clients on bad lines close without a
	   close_notify as a rule, and with OpenSSL 3 libevent 2.1.12 cannot
	   tell that from an error */
	(void)SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE |
					       SSL_OP_NO_RENEGOTIATION |
					       SSL_OP_NO_COMPRESSION |
					       SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* most connections are idle most of the time: they need no buffers */
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	/* clients keep tickets, but we would have to keep a cache */
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
	(void)SSL_CTX_set_num_tickets(ctx, 1);
	/* early data can be replayed, and sign-in would be part of it */
	(void)SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
}

/* The first certificate is the server's own, those after it lead to the CA. */
static bool use_chain(SSL_CTX *ctx, BIO *bio, char *error, size_t size)
{
	X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
	bool ok;

	if (cert == NULL) {
		set_error(error, size, "no certificate found");
		return false;
	}
	ok = SSL_CTX_use_certificate(ctx, cert) == 1;
	X509_free(cert);
	if (!ok) {
		set_error(error, size, "certificate cannot be used");
		return false;
	}
	while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) !=
	       NULL) {
		if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
			X509_free(cert);
			set_error(error, size, "chain cannot be used");
			return false;
		}
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
		set_error(error, size, "chain cannot be read");
		return false;
	}
	ERR_clear_error();
	return true;
}

static bool use_key(SSL_CTX *ctx, BIO *bio, char *error, size_t size)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	bool ok;

	if (key == NULL) {
		set_error(error, size,
			  "no private key found (or it has a passphrase)");
		return false;
	}
	ok = SSL_CTX_use_PrivateKey(ctx, key) == 1;
	EVP_PKEY_free(key);
	if (!ok || SSL_CTX_check_private_key(ctx) != 1) {
		set_error(error, size,
			  "private key does not belong to the certificate");
		return false;
	}
	return true;
}

typedef bool use_func(SSL_CTX *ctx, BIO *bio, char *error, size_t size);

/* Each kind is read from the start, so the order in the file is free. */
static bool use_pem(SSL_CTX *ctx, const char *pem, size_t len, use_func *use,
		    char *error, size_t size)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	bool ok;

	if (bio == NULL) {
		set_error(error, size, "out of memory");
		return false;
	}
	ok = use(ctx, bio, error, size);
	BIO_free(bio);
	return ok;
}

static SSL_CTX *context_new(const char *pem, size_t len, char *error,
			    size_t size)
{
	SSL_CTX *ctx;

	if (len > TLS_PEM_MAX) {
		(void)snprintf(error, size, "certificate file is too large");
		return NULL;
	}
	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL) {
		set_error(error, size, "TLS cannot be started");
		return NULL;
	}
	set_options(ctx);
	if (!use_pem(ctx, pem, len, use_chain, error, size) ||
	    !use_pem(ctx, pem, len, use_key, error, size)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

/* @return octets read, or -1 */
static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t n = pread(fd, buf + used, size - used, (off_t)used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

static void set_ticket_keys(SSL_CTX *ctx, struct rst_str keys)
{
	/* where it does not work, clients do full handshakes */
	if (keys.n == TLS_TICKET_KEYS)
		(void)SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)keys.p,
						     TLS_TICKET_KEYS);
}

struct tls_server *tls_server_new(int fd, struct rst_str ticket_keys,
				  char *error, size_t error_size)
{
	char *pem = rst_malloc(TLS_PEM_MAX + 1);
	ssize_t n = read_all(fd, pem, TLS_PEM_MAX + 1);
	struct tls_server *server = NULL;
	SSL_CTX *ctx;

	if (n < 0) {
		(void)snprintf(error, error_size, "cannot be read: %s",
			       strerror(errno));
		free(pem);
		return NULL;
	}
	ctx = context_new(pem, (size_t)n, error, error_size);
	OPENSSL_cleanse(pem, (size_t)n);
	free(pem);
	if (ctx != NULL) {
		set_ticket_keys(ctx, ticket_keys);
		server = rst_calloc(1, sizeof(*server));
		server->ctx = ctx;
	}
	return server;
}

void tls_server_free(struct tls_server **_server)
{
	struct tls_server *server = *_server;

	*_server = NULL;
	if (server == NULL)
		return;
	SSL_CTX_free(server->ctx);
	free(server);
}

struct bufferevent *tls_accept(struct tls_server *server,
			       struct event_base *base, int fd)
{
	SSL *ssl = SSL_new(server->ctx);
	struct bufferevent *bev = NULL;

	if (ssl != NULL) {
		/* no deferred callbacks: libevent 2.1 has a use after free
		 * there
		 */
		bev = bufferevent_openssl_socket_new(base, fd, ssl,
						     BUFFEREVENT_SSL_ACCEPTING,
						     BEV_OPT_CLOSE_ON_FREE);
		if (bev == NULL)
			SSL_free(ssl);
	}
	if (bev == NULL)
		(void)close(fd);
	ERR_clear_error();
	return bev;
}

const char *tls_version(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl == NULL ? "" : SSL_get_version(ssl);
}

const char *tls_error(struct bufferevent *bev)
{
	const char *reason = NULL;
	unsigned long code;

	if (bufferevent_openssl_get_ssl(bev) == NULL)
		return "";
	while ((code = bufferevent_get_openssl_error(bev)) != 0) {
		if (reason == NULL)
			reason = ERR_reason_error_string(code);
	}
	return reason == NULL ? "" : reason;
}

void tls_goodbye(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	if (ssl == NULL || SSL_in_init(ssl))
		return;
	(void)SSL_shutdown(ssl);
	/* else libevent would take it for another connection's error */
	ERR_clear_error();
}

static bool check_dates(const X509 *cert, char *error, size_t size)
{
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		(void)snprintf(error, size, "certificate is not yet valid");
		return false;
	}
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
		(void)snprintf(error, size, "certificate has expired");
		return false;
	}
	return true;
}

bool tls_check(const char *pem_chain_and_key, size_t len, const char *hostname,
	       char *error, size_t error_size)
{
	SSL_CTX *ctx = context_new(pem_chain_and_key, len, error, error_size);
	X509 *cert;
	bool ok;

	if (ctx == NULL)
		return false;
	cert = SSL_CTX_get0_certificate(ctx);
	ok = check_dates(cert, error, error_size);
	if (ok && hostname != NULL &&
	    X509_check_host(cert, hostname, 0, 0, NULL) != 1) {
		(void)snprintf(error, error_size,
			       "certificate does not cover the name %s",
			       hostname);
		ok = false;
	}
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}
