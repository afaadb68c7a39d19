/* SPDX-License-Identifier: MIT */
#include "check-dovecot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check-report.h"
#include "restante/auth.h"
#include "restante/clock.h"
#include "restante/hold.h"
#include "restante/lookup.h"

#define BUFFER 32768

/* @return -1: reported. `missing`: the remedy where there is no such socket */
static int dial_dovecot(const char *setting, const char *path,
			const char *missing)
{
	int fd = report_dial(path, SOCK_STREAM), error = errno;
	const char *mend = "is Dovecot running?";

	if (fd >= 0)
		return fd;
	if (error == ENOENT)
		mend = missing;
	else if (error == EACCES || error == EPERM)
		mend = "set `user' of its unix_listener to ours";
	report_error(setting, path, strerror(error), mend);
	return -1;
}

/* @return NULL: `auth` has the mechanisms; else what is wrong */
static const char *auth_handshake(struct rst_auth *auth, int fd)
{
	struct rst_auth_event ev;
	static char in[BUFFER];
	size_t used = 0, len;
	ssize_t n;

	for (;;) {
		const char *out = rst_auth_output(auth, &len);

		if (len > 0 && !report_send(fd, out, len))
			return "does not take the handshake";
		rst_auth_sent(auth, len);
		n = recv(fd, in + used, sizeof(in) - used, 0);
		if (n <= 0)
			return "does not finish the handshake";
		used += (size_t)n;
		while ((n = rst_auth_recv(auth, in, used, clock_ms())) > 0) {
			used -= (size_t)n;
			memmove(in, in + n, used);
		}
		if (n < 0)
			return "does not speak Dovecot's auth protocol";
		if (rst_auth_next(auth, &ev))
			return NULL;
	}
}

static void check_auth_socket(const struct conf *conf)
{
	const struct rst_auth_limits limits = {.pid = (unsigned int)getpid(),
					       .handshake_timeout_ms = 60000,
					       .request_timeout_ms = 60000,
					       .max_requests = 1};
	const char *path = conf->auth_socket, *problem;
	int fd = dial_dovecot("auth_socket", path,
			      "give Dovecot's service auth a unix_listener of "
			      "this name");
	struct rst_auth *auth;

	if (fd < 0)
		return;
	auth = rst_auth_new(&limits, clock_ms());
	problem = auth_handshake(auth, fd);
	if (problem != NULL)
		report_error(
			"auth_socket", path, problem,
			"it must be a plain unix_listener of service auth");
	else if (rst_auth_mechanisms(auth)[0] == '\0')
		report_error(
			"auth_socket", path, "offers no usable mechanism",
			"set Dovecot's auth_mechanisms, to plain at least");
	else
		report_ok("auth_socket", path, rst_auth_mechanisms(auth));
	rst_auth_free(&auth);
	(void)close(fd);
}

/* Asks for a user who cannot exist. @return NULL, or what is wrong */
static const char *ask_userdb(struct rst_lookup *lookup, int fd,
			      struct rst_lookup_answer *answer_r)
{
	bool asked = false;
	static char in[BUFFER];
	size_t used = 0, len;
	ssize_t n;

	for (;;) {
		const char *out = rst_lookup_output(lookup, &len);

		if (len > 0 && !report_send(fd, out, len))
			return "does not take the handshake";
		rst_lookup_sent(lookup, len);
		n = recv(fd, in + used, sizeof(in) - used, 0);
		if (n <= 0)
			return asked ? "does not answer a question"
				     : "does not finish the handshake";
		used += (size_t)n;
		while ((n = rst_lookup_recv(lookup, in, used)) > 0) {
			used -= (size_t)n;
			memmove(in, in + n, used);
		}
		if (n < 0)
			return "does not speak Dovecot's auth master protocol";
		if (rst_lookup_next(lookup, answer_r))
			return NULL;
		if (!asked && rst_lookup_server(lookup) != 0)
			asked = rst_lookup_ask(lookup, RST_LOOKUP_PASS,
					       RST_STR("restante-nobody"),
					       RST_STR(""), clock_ms()) > 0;
	}
}

static void report_userdb(const char *path,
			  const struct rst_lookup_answer *answer)
{
	if (answer->result != RST_LOOKUP_UNKNOWN)
		report_ok("userdb_socket", path, NULL);
	else
		report_ok("userdb_socket", path,
			  "the passdb cannot be asked without a password: "
			  "accounts that are disabled are not noticed, those "
			  "that are gone are");
}

static void check_userdb_socket(const struct conf *conf)
{
	const struct rst_lookup_limits limits = {60000, 60000, 1};
	const char *path = conf->userdb_socket, *problem;
	struct rst_lookup_answer answer;
	struct rst_lookup *lookup;
	int fd;

	if (path[0] == '\0' || conf->recheck_interval_ms == 0) {
		report_ok("userdb_socket", path,
			  "not used: a session lives on after its account");
		return;
	}
	fd = dial_dovecot("userdb_socket", path,
			  "give Dovecot's service auth a unix_listener of this "
			  "name, as 90-restante.conf has it");
	if (fd < 0)
		return;
	lookup = rst_lookup_new(&limits, clock_ms());
	problem = ask_userdb(lookup, fd, &answer);
	if (problem == NULL)
		report_userdb(path, &answer);
	else
		report_error("userdb_socket", path, problem,
			     "it must be a unix_listener of service auth whose "
			     "name ends in \"-userdb\"");
	rst_lookup_free(&lookup);
	(void)close(fd);
}

/* @return NULL: ev_r is set; else what is wrong */
static const char *first_answer(struct rst_hold_dialler *hold, int fd,
				struct rst_hold_event *ev_r)
{
	static char in[BUFFER];
	size_t used = 0;
	ssize_t n;

	for (;;) {
		n = recv(fd, in + used, sizeof(in) - used, 0);
		if (n < 0 && errno == EAGAIN)
			return "does not answer in time";
		if (n <= 0)
			return "closes the connection";
		used += (size_t)n;
		do {
			n = rst_hold_dialler_recv(hold, in, used, clock_ms());
			if (n < 0)
				return "does not speak the hold protocol";
			used -= (size_t)n;
			memmove(in, in + n, used);
			if (rst_hold_dialler_next(hold, ev_r))
				return NULL;
		} while (n > 0);
	}
}

static void check_scan(const struct conf *conf, int fd)
{
	const struct rst_hold_dialler_limits limits = {60000};
	struct rst_hold_dialler *hold =
		rst_hold_dialler_new(&limits, true, clock_ms());
	const char *path = conf->hold_socket, *problem;
	struct rst_hold_event ev;
	char text[256];

	problem = first_answer(hold, fd, &ev);
	if (problem != NULL) {
		report_error("hold_socket", path, problem,
			     "see Dovecot's log for service restante-hold");
	} else if (ev.type == RST_HOLD_REFUSED &&
		   rst_str_eq(ev.code, RST_STR(RST_HOLD_NO_LIST))) {
		report_ok("hold_socket", path,
			  "the userdb does not list its users: mail that was "
			  "held before this version, or whose entry is lost, "
			  "is found when its user signs in");
	} else if (ev.type == RST_HOLD_REFUSED) {
		(void)snprintf(text, sizeof(text), "refuses: %.*s",
			       (int)ev.text.n, ev.text.p);
		report_error("hold_socket", path, text,
			     "see Dovecot's log for service restante-hold");
	} else {
		report_ok("hold_socket", path, NULL);
	}
	rst_hold_dialler_free(&hold);
}

static void check_hold_socket(const struct conf *conf)
{
	const char *path = conf->hold_socket;
	int fd = dial_dovecot("hold_socket", path,
			      "configure Dovecot's service restante-hold, with "
			      "a unix_listener of this name");
	char *preamble;
	size_t len;

	if (fd < 0)
		return;
	preamble = rst_hold_scan_preamble(&len);
	if (report_send(fd, preamble, len))
		check_scan(conf, fd);
	else
		report_error("hold_socket", path, "takes no input",
			     "see Dovecot's log for service restante-hold");
	free(preamble);
	(void)close(fd);
}

/* ---- all of it */

void check_dovecot(const struct conf *conf)
{
	check_auth_socket(conf);
	check_userdb_socket(conf);
	check_hold_socket(conf);
}
