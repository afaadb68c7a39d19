/* SPDX-License-Identifier: MIT */
/*
 * First come the checks of what the daemon does as it was started, perhaps as
 * root; then privileges are dropped, as the daemon does, and the rest is tried
 * as the configured user. Only so is it seen whether Dovecot's sockets let that
 * user in.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "check-dovecot.h"
#include "check-postfix.h"
#include "check-report.h"
#include "common/listen.h"
#include "common/tls.h"
#include "core/certificate.h"
#include "core/privileges.h"

#define TIMEOUT_SECS 5
#define POSTFIX_USER "postfix"
#define POSTFIX_QUEUE "/var/spool/postfix/"

/* ---- names and certificate */

static void check_hostname(const struct conf *conf)
{
	report_ok("hostname", conf->hostname,
		  strchr(conf->hostname, '.') == NULL
			  ? "not a name in full; clients must know it by this"
			  : NULL);
}

static void check_user(const struct conf *conf)
{
	if (geteuid() != 0)
		report_ok("user", conf->user, "not used: not started as root");
	else if (getpwnam(conf->user) == NULL)
		report_error("user", conf->user, "there is no such account",
			     "adduser --system --group restante");
	else
		report_ok("user", conf->user, NULL);
}

/* @return whether the files could be read */
static bool check_tls(const struct conf *conf)
{
	char error[512] = "";
	size_t len = 0;
	char *pem = certificate_read(conf, &len, error, sizeof(error));
	bool is_key = access(conf->tls_certificate, R_OK) == 0;

	if (pem == NULL)
		report_error(is_key ? "tls_key" : "tls_certificate",
			     is_key ? conf->tls_key : conf->tls_certificate,
			     error, "name a PEM file that can be read");
	else if (!certificate_loads(pem, len, error, sizeof(error)))
		report_error("tls_certificate", conf->tls_certificate, error,
			     "it must be PEM, certificate first, and the key "
			     "its own");
	else if (!tls_check(pem, len, conf->hostname, error, sizeof(error)))
		report_error("tls_certificate", conf->tls_certificate, error,
			     "get one that clients accept for `hostname'");
	else
		report_ok("tls_certificate", conf->tls_certificate, NULL);
	certificate_free(&pem, len);
	return len > 0;
}

/* SIGHUP reads the files again, as the user that the daemon has become. */
static void check_reload(const struct conf *conf)
{
	char error[512] = "";
	size_t len = 0;
	char *pem;

	privileges_read_begin();
	pem = certificate_read(conf, &len, error, sizeof(error));
	privileges_read_end();
	report_ok("tls_key", conf->tls_key,
		  pem != NULL ? NULL
			      : "readable by root only: a new certificate will "
				"need a restart, a reload will not do");
	certificate_free(&pem, len);
}

/* ---- TCP */

/* Does a server accept connections at this address? */
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
		report_ok("listen", l->text, NULL);
	} else if (errno == EADDRINUSE && running && answers(l)) {
		report_ok("listen", l->text, "taken, the daemon is running");
	} else {
		int error = errno;

		report_error("listen", l->text, strerror(error),
			     mend_listen(error));
	}
}

/* Not every kernel has it, and the daemon works without it: no error. */
static void check_congestion(const struct conf *conf)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	report_ok("congestion", conf->congestion,
		  listen_congestion(fd, conf->congestion));
	(void)close(fd);
}

/* ---- Postfix */

/* Asks as Postfix does. @return NULL, or what is wrong with the answer */
static const char *ask_policy(int fd)
{
	static const char request[] =
		"request=smtpd_access_policy\nprotocol_state=RCPT\n"
		"protocol_name=ESMTP\nsender=\n"
		"recipient=postmaster@localhost\nsize=0\n\n";
	static const char want[] = "action=DUNNO\n\n";
	char answer[sizeof(want)];
	ssize_t n;

	if (!report_send(fd, request, sizeof(request) - 1))
		return "does not take a request";
	/* an answer comes in one write */
	n = recv(fd, answer, sizeof(answer), 0);
	if (n != (ssize_t)sizeof(want) - 1 ||
	    memcmp(answer, want, sizeof(want) - 1) != 0)
		return "does not answer a policy request with DUNNO";
	return NULL;
}

static void child_search_as(const struct passwd *pw, const char *dir)
{
	_exit(initgroups(pw->pw_name, pw->pw_gid) == 0 &&
			      setgid(pw->pw_gid) == 0 &&
			      setuid(pw->pw_uid) == 0 && access(dir, X_OK) == 0
		      ? 0
		      : 1);
}

/* Root finds out by becoming Postfix's user in a child. */
static bool postfix_can_search(const char *dir)
{
	const struct passwd *pw = getpwnam(POSTFIX_USER);
	int status = 1;
	pid_t pid;

	if (geteuid() != 0 || pw == NULL)
		return access(dir, X_OK) == 0;
	pid = fork();
	if (pid == 0)
		child_search_as(pw, dir);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void check_policy_directory(const char *path)
{
	char *copy = rst_strdup(path);
	const char *dir = dirname(copy);

	if (access(dir, F_OK) < 0)
		report_error("policy_socket", path, strerror(errno),
			     "the directory must exist; below Postfix's "
			     "queue_directory `private' does");
	else if (!postfix_can_search(dir))
		report_error("policy_socket", path,
			     "Postfix may not search the directory",
			     "chmod a+x it and those above");
	else if (access(dir, W_OK) < 0)
		report_error("policy_socket", path,
			     "no file can be made in the directory",
			     "start as root, or choose another");
	else if (strncmp(path, POSTFIX_QUEUE, strlen(POSTFIX_QUEUE)) != 0)
		report_ok("policy_socket", path,
			  "the daemon is not running; not below " POSTFIX_QUEUE
			  ": an smtpd with chroot will not see it");
	else
		report_ok("policy_socket", path, "the daemon is not running");
	free(copy);
}

static bool check_policy_socket(const struct conf *conf)
{
	const char *path = conf->policy_socket, *problem;
	int fd = report_dial(path, SOCK_STREAM);

	if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
		check_policy_directory(path);
		return false;
	}
	if (fd < 0) {
		report_error("policy_socket", path, strerror(errno),
			     "run this check as root");
		return false;
	}
	problem = ask_policy(fd);
	(void)close(fd);
	if (problem == NULL)
		report_ok("policy_socket", path, "answers");
	else
		report_error("policy_socket", path, problem,
			     "is it another program's?");
	return problem == NULL;
}

/* ---- the holders directory */

/* Only the last two directories are made. */
static bool can_make(const char *path)
{
	char *copy = rst_strdup(path), *dir = dirname(copy);
	bool ok = access(dir, W_OK) == 0 ||
		  (errno == ENOENT && access(dirname(dir), W_OK) == 0);

	free(copy);
	return ok;
}

/* @return what is wrong with the directory, and *mend_r; or NULL */
static const char *check_directory(const struct conf *conf,
				   const struct stat *st, const char **mend_r)
{
	const struct passwd *pw = getpwnam(conf->user);
	uid_t owner = geteuid() == 0 && pw != NULL ? pw->pw_uid : geteuid();

	*mend_r = "chown it to `user'";
	if (!S_ISDIR(st->st_mode))
		return "is not a directory";
	if (st->st_uid != owner)
		return "belongs to another account";
	*mend_r = "chmod 1733 it, or 1770 and its group the one of all mail";
	if ((st->st_mode & S_IRWXU) != S_IRWXU)
		return "is closed to its owner";
	if ((st->st_mode & S_ISVTX) == 0)
		return "lets each user remove the entries of others";
	if ((st->st_mode & (S_IXGRP | S_IWGRP)) != (S_IXGRP | S_IWGRP))
		return "is closed to deliveries";
	return NULL;
}

/* A socket that the daemon makes. */
static void check_control_socket(const struct conf *conf, bool running)
{
	static const char *const setting = "control_socket";
	const char *path = conf->control_socket;
	int fd;

	if (path[0] == '\0')
		return;
	fd = report_dial(path, SOCK_STREAM);
	if (fd >= 0)
		report_ok(setting, path, "somebody listens");
	else if (errno != ENOENT && errno != ECONNREFUSED)
		report_error(setting, path, strerror(errno),
			     "run this check as root");
	else if (running)
		report_error(setting, path,
			     "the running daemon does not listen there",
			     "restart it");
	else if (!can_make(path))
		report_error(setting, path,
			     "no file can be made in the directory",
			     "start as root, or choose another");
	else
		report_ok(setting, path, "the daemon is not running");
	if (fd >= 0)
		(void)close(fd);
}

static void check_holders(const struct conf *conf)
{
	const char *path = conf->holders_directory, *problem, *mend;
	struct stat st;

	if (stat(path, &st) == 0) {
		problem = check_directory(conf, &st, &mend);
		if (problem == NULL)
			report_ok("holders_directory", path, NULL);
		else
			report_error("holders_directory", path, problem, mend);
	} else if (errno != ENOENT) {
		report_error("holders_directory", path, strerror(errno),
			     "the directories above must be searchable");
	} else if (can_make(path)) {
		report_ok("holders_directory", path, "the daemon will make it");
	} else {
		report_error("holders_directory", path,
			     "it does not exist and cannot be made",
			     "start as root, or make the directory above it");
	}
}

/* ---- all of it */

int check_run(const struct conf *conf)
{
	char error[256] = "";
	bool running, tls_read;
	unsigned int i;

	check_hostname(conf);
	check_user(conf);
	tls_read = check_tls(conf);
	running = check_policy_socket(conf);
	for (i = 0; i < conf->listen_count; i++)
		check_listen(&conf->listen[i], running);
	check_congestion(conf);
	check_holders(conf);
	check_control_socket(conf, running);
	check_postfix(conf);
	/* the daemon connects to these after it has dropped privileges */
	if (getpwnam(conf->user) != NULL &&
	    !privileges_drop(conf->user, error, sizeof(error)))
		report_error("user", conf->user, error, NULL);
	if (tls_read)
		check_reload(conf);
	check_dovecot(conf);
	return report_errors() == 0 ? EX_OK : EX_CONFIG;
}
