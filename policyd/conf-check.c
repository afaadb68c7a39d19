/* SPDX-License-Identifier: MIT */
#include "conf-check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#include "certificate.h"
#include "conf-check-private.h"
#include "listen.h"
#include "privileges.h"
#include "tls.h"

#define TIMEOUT_SECS 5

static unsigned int errors;

void check_ok(const char *setting, const char *value, const char *note)
{
	(void)printf("ok %s %s%s%s\n", setting, value, note == NULL ? "" : ": ",
		     note == NULL ? "" : note);
}

void check_error(const char *setting, const char *value, const char *problem,
		 const char *mend)
{
	(void)printf("error %s %s: %s%s%s\n", setting, value, problem,
		     mend == NULL ? "" : "; ", mend == NULL ? "" : mend);
	errors++;
}

const char *check_mend_connect(int error, const char *missing,
			       const char *denied, const char *refused)
{
	switch (error) {
	case ENOENT:
		return missing;
	case EACCES:
	case EPERM:
		return denied;
	default:
		return refused;
	}
}

int check_dial(const char *path, int type)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	int fd = listen_unix_connect(path, type);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

static void check_hostname(const struct conf *conf)
{
	check_ok("hostname", conf->hostname,
		 strchr(conf->hostname, '.') == NULL
			 ? "not a name in full; clients must know it by this"
			 : NULL);
}

static void check_user(const struct conf *conf)
{
	if (geteuid() != 0)
		check_ok("user", conf->user, "not used: not started as root");
	else if (getpwnam(conf->user) == NULL)
		check_error("user", conf->user, "there is no such account",
			    "adduser --system --group restante");
	else
		check_ok("user", conf->user, NULL);
}

/** @return whether the files could be read */
static bool check_tls(const struct conf *conf)
{
	char error[512] = "";
	size_t len = 0;
	char *pem = certificate_read(conf, &len, error, sizeof(error));
	bool is_key = access(conf->tls_certificate, R_OK) == 0;

	if (pem == NULL)
		check_error(is_key ? "tls_key" : "tls_certificate",
			    is_key ? conf->tls_key : conf->tls_certificate,
			    error, "name a PEM file that can be read");
	else if (!certificate_loads(pem, len, error, sizeof(error)))
		check_error("tls_certificate", conf->tls_certificate, error,
			    "it must be PEM, certificate first, and the key "
			    "its own");
	else if (!tls_check(pem, len, conf->hostname, error, sizeof(error)))
		check_error("tls_certificate", conf->tls_certificate, error,
			    "get one that clients accept for `hostname'");
	else
		check_ok("tls_certificate", conf->tls_certificate, NULL);
	certificate_free(&pem, len);
	return len > 0;
}

/* As the user that it will have become: SIGHUP reads the files again. */
static void check_reload(const struct conf *conf)
{
	char error[512] = "";
	size_t len = 0;
	char *pem;

	privileges_read_begin();
	pem = certificate_read(conf, &len, error, sizeof(error));
	privileges_read_end();
	check_ok("tls_key", conf->tls_key,
		 pem != NULL ? NULL
			     : "readable by root only: a new certificate will "
			       "need a restart, a reload will not do");
	certificate_free(&pem, len);
}

static bool answers(const struct conf_listen *l)
{
	struct conf_listen to = *l;
	int fd = socket(to.addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	bool ok;

	if (fd < 0)
		return false;
	if (to.any)
		to.addr.in6.sin6_addr = in6addr_loopback;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	ok = connect(fd, &to.addr.sa, to.addr_len) == 0;
	(void)close(fd);
	return ok;
}

static const char *mend_listen(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "another program has this port";
	case EACCES:
		return "start as root, or take a port above 1023";
	case EADDRNOTAVAIL:
		return "this machine has no such address";
	default:
		return "see the address";
	}
}

static void check_listen(const struct conf_listen *l, bool running)
{
	int fd = listen_tcp(l);

	if (fd >= 0) {
		(void)close(fd);
		check_ok("listen", l->text, NULL);
	} else if (errno == EADDRINUSE && running && answers(l)) {
		check_ok("listen", l->text, "taken, the daemon is running");
	} else {
		int error = errno;

		check_error("listen", l->text, strerror(error),
			    mend_listen(error));
	}
}

/* It is not to be had everywhere, and things work without it. */
static void check_congestion(const struct conf *conf)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	check_ok("congestion", conf->congestion,
		 listen_congestion(fd, conf->congestion));
	(void)close(fd);
}

int check_run(const struct conf *conf)
{
	char error[256] = "";
	bool running, tls_read;
	unsigned int i;

	errors = 0;
	check_hostname(conf);
	check_user(conf);
	tls_read = check_tls(conf);
	running = check_policy_socket(conf);
	for (i = 0; i < conf->listen_count; i++)
		check_listen(&conf->listen[i], running);
	check_congestion(conf);
	check_own_sockets(conf, running);
	/* what comes now is dialled after privileges were dropped */
	if (getpwnam(conf->user) != NULL &&
	    !privileges_drop(conf->user, error, sizeof(error)))
		check_error("user", conf->user, error, NULL);
	if (tls_read)
		check_reload(conf);
	check_auth_socket(conf);
	check_hold_socket(conf);
	return errors == 0 ? EX_OK : EX_CONFIG;
}
