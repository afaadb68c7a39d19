/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* memmem(), pipe2() */
#endif
#include "check-postfix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check-report.h"
#include "core/restrictions.h"
#include "restante/str.h"

#define SBIN "/usr/sbin/"
#define NOT_THERE 127
#define OUTPUT_MAX 262144
/* a hanging policyd costs each recipient this much */
#define TIMEOUT_MAX_SECS 10
#define QUEUE_DAYS 5
#define NAME_MAX_OCTETS 256

static const char wanted[] =
	"let it end in: permit_mynetworks, permit_sasl_authenticated, "
	"reject_unauth_destination, check_policy_service { "
	"unix:private/restante, timeout=5s, default_action=DUNNO }";

/* ---- postconf and postmap */

static void child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char path[NAME_MAX_OCTETS];

	/* it warns of settings that have nothing to do with us */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(NOT_THERE);
	(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
	(void)snprintf(path, sizeof(path), SBIN "%s", argv[0]);
	(void)execv(path, (char *const *)(uintptr_t)argv);
	_exit(NOT_THERE);
}

/* @return octets, without the last line end */
static size_t read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size - 1) {
		n = read(fd, text + used, size - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	if (used > 0 && text[used - 1] == '\n')
		used--;
	text[used] = '\0';
	return used;
}

/* @return exit status; *text_r is to be freed */
static int run(const char *const argv[], char **text_r)
{
	int pipes[2], status = 0;
	pid_t pid;

	*text_r = rst_calloc(1, OUTPUT_MAX);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return NOT_THERE;
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(argv, pipes[1]);
	(void)close(pipes[1]);
	(void)read_all(pipes[0], *text_r, OUTPUT_MAX);
	(void)close(pipes[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return NOT_THERE;
	return WEXITSTATUS(status);
}

static int postconf(const char *options, const char *name, char **text_r)
{
	const char *const argv[] = {"postconf", options, name, NULL};

	return run(argv, text_r);
}

/* The value of a setting in main.cf; empty where this Postfix has none. To be
   freed. */
static char *get(const char *name)
{
	char *text;

	(void)postconf("-xh", name, &text);
	return text;
}

static bool has_word(const char *list, const char *name)
{
	struct rst_str rest = rst_str(list), word;

	while (restrictions_next(&rest, &word))
		if (rst_str_eq(word, rst_str(name)))
			return true;
	return false;
}

static bool rejects_relay(const char *list)
{
	return has_word(list, "reject_unauth_destination") ||
	       has_word(list, "defer_unauth_destination");
}

/* ---- the policy service */

/* Where our policy service stands. */
struct place {
	struct restrictions_policy policy;
	bool rejects_before; /* in the same list */
};

static bool is_same_file(const char *a, const char *b)
{
	struct stat sta, stb;

	return strcmp(a, b) == 0 ||
	       (stat(a, &sta) == 0 && stat(b, &stb) == 0 &&
		sta.st_dev == stb.st_dev && sta.st_ino == stb.st_ino);
}

/* Is server, such as unix:private/restante, our socket? */
static bool is_ours(struct rst_str server, const char *queue,
		    const char *policy_socket)
{
	static const char unix_prefix[] = "unix:";
	const size_t n = sizeof(unix_prefix) - 1;
	char path[4096];

	if (server.n <= n || memcmp(server.p, unix_prefix, n) != 0)
		return false;
	if (server.p[n] == '/')
		(void)snprintf(path, sizeof(path), "%.*s", (int)(server.n - n),
			       server.p + n);
	else
		(void)snprintf(path, sizeof(path), "%s/%.*s", queue,
			       (int)(server.n - n), server.p + n);
	return is_same_file(path, policy_socket);
}

static bool find(const char *list, const char *queue, const char *policy_socket,
		 struct place *place_r)
{
	struct rst_str rest = rst_str(list), word;

	place_r->rejects_before = false;
	while (restrictions_next(&rest, &word)) {
		if (rst_str_eq(word, RST_STR("reject_unauth_destination")) ||
		    rst_str_eq(word, RST_STR("defer_unauth_destination")))
			place_r->rejects_before = true;
		if (!rst_str_eq(word, RST_STR("check_policy_service")) ||
		    !restrictions_next(&rest, &word))
			continue;
		restrictions_policy(word, &place_r->policy);
		if (is_ours(place_r->policy.server, queue, policy_socket))
			return true;
	}
	return false;
}

/* @return NULL, or what is wrong with where it stands */
static const char *judge_place(const char *setting, const struct place *place)
{
	const char *at = strrchr(setting, '/');
	bool ok = place->rejects_before;
	char *relay, *first;

	at = at == NULL ? setting : at + 1;
	if (strstr(at, "data") != NULL)
		return "our policy service is asked at the end of the message, "
		       "and knows recipients only";
	if (!ok && strcmp(at, "smtpd_recipient_restrictions") == 0) {
		first = get("smtpd_relay_before_recipient_restrictions");
		relay = get("smtpd_relay_restrictions");
		ok = strcmp(first, "no") != 0 && rejects_relay(relay);
		free(first);
		free(relay);
	}
	return ok ? NULL
		  : "our policy service stands before "
		    "reject_unauth_destination: it is asked about foreign "
		    "recipients, too";
}

static void judge_default_action(const char *setting, struct rst_str action)
{
	char *global = get("smtpd_policy_service_default_action");
	char text[256];

	if (action.n == 0)
		action = rst_str(global);
	(void)snprintf(text, sizeof(text), "default_action=%.*s", (int)action.n,
		       action.p);
	if (action.n != 5 || strncasecmp(action.p, "DUNNO", 5) != 0)
		report_warning(setting, text,
			       "while policyd is down, no mail is accepted",
			       "set default_action=DUNNO of "
			       "check_policy_service");
	free(global);
}

static void judge_timeout(const char *setting, struct rst_str time)
{
	char *global = get("smtpd_policy_service_timeout");
	char text[256];
	int64_t secs;

	if (time.n == 0)
		time = rst_str(global);
	secs = restrictions_secs(time, 's');
	(void)snprintf(text, sizeof(text), "timeout=%.*s", (int)time.n, time.p);
	if (secs < 0 || secs > TIMEOUT_MAX_SECS)
		report_warning(setting, text,
			       "a policyd that hangs holds up each recipient "
			       "for so long",
			       "set timeout=5s of check_policy_service");
	free(global);
}

static void judge(const char *setting, const struct place *place)
{
	const char *problem = judge_place(setting, place);
	char text[256];

	(void)snprintf(text, sizeof(text), "check_policy_service %.*s",
		       (int)place->policy.server.n, place->policy.server.p);
	if (problem == NULL)
		report_ok(setting, text, NULL);
	else
		report_warning(setting, text, problem, wanted);
	judge_default_action(setting, place->policy.default_action);
	judge_timeout(setting, place->policy.timeout);
}

/* main.cf's lists, in the order of Postfix's. */
static bool look_in_main(const char *queue, const char *policy_socket)
{
	static const char *const lists[] = {
		"smtpd_recipient_restrictions",  "smtpd_relay_restrictions",
		"smtpd_client_restrictions",     "smtpd_helo_restrictions",
		"smtpd_sender_restrictions",     "smtpd_data_restrictions",
		"smtpd_end_of_data_restrictions"};
	struct place place;
	bool found = false;
	size_t i;

	for (i = 0; !found && i < sizeof(lists) / sizeof(*lists); i++) {
		char *list = get(lists[i]);

		found = find(list, queue, policy_socket, &place);
		if (found)
			judge(lists[i], &place);
		free(list);
	}
	return found;
}

/* A class is used where a table says so; that cannot be judged. */
static bool look_in_classes(const char *queue, const char *policy_socket)
{
	char *names = get("smtpd_restriction_classes"), *name, *list;
	struct rst_str rest = rst_str(names), word;
	struct place place;
	bool found = false;

	while (!found && restrictions_next(&rest, &word)) {
		name = rst_str_dup(word);
		list = get(name);
		found = find(list, queue, policy_socket, &place);
		if (found) {
			place.rejects_before = true;
			judge(name, &place);
		}
		free(list);
		free(name);
	}
	free(names);
	return found;
}

/* Each service of master.cf may have lists of its own, as -o has them. */
static bool look_in_master(const char *queue, const char *policy_socket)
{
	struct place place;
	char *text, *line, *rest = NULL, *equal;
	bool found = false;

	(void)postconf("-xP", NULL, &text);
	for (line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		equal = strstr(line, " = ");
		if (equal == NULL ||
		    !find(equal + 3, queue, policy_socket, &place))
			continue;
		*equal = '\0';
		judge(line, &place);
		found = true;
	}
	free(text);
	return found;
}

static void check_policy_service(const struct conf *conf)
{
	char *queue = get("queue_directory");

	if (!look_in_main(queue, conf->policy_socket) &&
	    !look_in_classes(queue, conf->policy_socket) &&
	    !look_in_master(queue, conf->policy_socket))
		report_warning("smtpd_recipient_restrictions", "-",
			       "no check_policy_service has our policy_socket: "
			       "Postfix does not ask",
			       wanted);
	free(queue);
}

/* ---- what else there is */

static void check_bare_newline(void)
{
	static const char name[] = "smtpd_forbid_bare_newline";
	char *value = get(name);

	if (strcmp(value, "no") == 0)
		report_warning(name, value,
			       "a sender can smuggle in a second message "
			       "behind the first",
			       "set it to normalize");
	else if (*value != '\0')
		report_ok(name, value, NULL);
	free(value);
}

/* A service of master.cf has this value, or an own one.
   @return whether it is "no" */
static bool is_without_smtputf8(const char *service, char **name_r,
				char **value_r)
{
	size_t size = strlen(service) + sizeof("/smtputf8_enable");

	*name_r = rst_malloc(size);
	(void)snprintf(*name_r, size, "%s/smtputf8_enable", service);
	(void)postconf("-xPh", *name_r, value_r);
	return strcmp(*value_r, "no") == 0;
}

static void check_cleanup(const char *service)
{
	char *name, *value, mend[NAME_MAX_OCTETS];

	if (is_without_smtputf8(service, &name, &value)) {
		report_ok(name, value, NULL);
	} else {
		(void)snprintf(mend, sizeof(mend), "postconf -P %s=no", name);
		report_warning(name, *value == '\0' ? "-" : value,
			       "Postfix returns mail with UTF-8 in its header, "
			       "as Dovecot's LMTP offers no SMTPUTF8",
			       mend);
	}
	free(name);
	free(value);
}

static void check_smtpd(const char *service)
{
	char *name, *value, mend[NAME_MAX_OCTETS];

	if (is_without_smtputf8(service, &name, &value)) {
		(void)snprintf(mend, sizeof(mend), "postconf -PX %s", name);
		report_warning(name, value,
			       "senders' servers return mail that needs it",
			       mend);
	}
	free(name);
	free(value);
}

/* Calls func for each service of master.cf that runs the command.
   @param service as in smtp/inet */
static void for_services(const char *command, void (*func)(const char *service))
{
	char *text, *line, *rest = NULL, service[NAME_MAX_OCTETS];
	char name[128], type[16], runs[64];

	(void)postconf("-M", NULL, &text);
	for (line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		/* a line that begins with a blank goes on with options */
		if (*line == ' ' || *line == '\t' ||
		    sscanf(line, "%127s %15s %*s %*s %*s %*s %*s %63s", name,
			   type, runs) != 3 ||
		    strcmp(runs, command) != 0)
			continue;
		(void)snprintf(service, sizeof(service), "%s/%s", name, type);
		func(service);
	}
	free(text);
}

static void check_smtputf8(void)
{
	static const char name[] = "smtputf8_enable";
	char *enable = get(name);

	if (strcmp(enable, "no") == 0) {
		report_warning(name, enable,
			       "senders' servers return mail that needs it",
			       "remove it, and: postconf -P "
			       "cleanup/unix/smtputf8_enable=no");
	} else {
		for_services("cleanup", check_cleanup);
		for_services("smtpd", check_smtpd);
	}
	free(enable);
}

/* The first domain that stands in a setting itself, and not in a table. To be
   freed. */
static char *own_domain(void)
{
	static const char *const settings[] = {"virtual_mailbox_domains",
					       "mydestination", "mydomain"};
	char *domain = NULL, *list;
	struct rst_str rest, word;
	size_t i;

	for (i = 0; domain == NULL && i < sizeof(settings) / sizeof(*settings);
	     i++) {
		list = get(settings[i]);
		rest = rst_str(list);
		while (domain == NULL && restrictions_next(&rest, &word))
			if (memchr(word.p, ':', word.n) == NULL &&
			    memchr(word.p, '/', word.n) == NULL)
				domain = rst_str_dup(word);
		free(list);
	}
	return domain == NULL ? rst_str_dup(RST_STR("example.org")) : domain;
}

/* Asks the table about a recipient with UTF-8. */
static bool refuses(struct rst_str table)
{
	static const char *const replies[] = {"4", "5", "REJECT", "DEFER"};
	char *domain = own_domain(), *name = rst_str_dup(table), *reply;
	char key[2 * NAME_MAX_OCTETS];
	const char *const argv[] = {"postmap", "-q", key, name, NULL};
	bool refused = false;
	size_t i;

	(void)snprintf(key, sizeof(key), "gr\303\274n@%s", domain);
	(void)run(argv, &reply);
	for (i = 0; i < sizeof(replies) / sizeof(*replies); i++)
		if (strncasecmp(reply, replies[i], strlen(replies[i])) == 0)
			refused = true;
	free(domain);
	free(name);
	free(reply);
	return refused;
}

/* Only an expression can tell all names with UTF-8 from the others. */
static bool refuses_names(const char *list)
{
	struct rst_str rest = rst_str(list), word;

	while (restrictions_next(&rest, &word))
		if (rst_str_eq(word, RST_STR("check_recipient_access")) &&
		    restrictions_next(&rest, &word) &&
		    (memmem(word.p, word.n, "regexp:", 7) != NULL ||
		     memmem(word.p, word.n, "pcre:", 5) != NULL) &&
		    refuses(word))
			return true;
	return false;
}

static bool dovecot_takes_names(void)
{
	static const char *const argv[] = {"dovecot", "--version", NULL};
	char *version;
	bool takes;

	(void)run(argv, &version);
	takes = strncmp(version, "2.4", 3) == 0;
	free(version);
	return takes;
}

static void check_utf8_recipients(void)
{
	static const char name[] = "smtpd_recipient_restrictions";
	char *recipient = get(name), *relay = get("smtpd_relay_restrictions");

	if (refuses_names(recipient) || refuses_names(relay))
		report_ok(name, "check_recipient_access", NULL);
	else if (dovecot_takes_names())
		report_ok(name, "-", "Dovecot takes names with UTF-8");
	else
		report_warning(name, "check_recipient_access",
			       "a recipient with UTF-8 in the address is "
			       "accepted and the mail returned, as Dovecot "
			       "2.3's LMTP cannot take it",
			       "before check_policy_service: "
			       "check_recipient_access regexp:{{/[^ -~]/ 553 "
			       "5.6.7 No UTF-8 in mailbox names}}");
	free(recipient);
	free(relay);
}

/* Whether Dovecot knows is seen by doveadm. */
static void check_lifetime(const char *name)
{
	char *value = get(name);
	int64_t secs = restrictions_secs(rst_str(value), 'd');

	report_ok(name, value,
		  secs <= QUEUE_DAYS * 24 * 3600
			  ? NULL
			  : "set Dovecot's restante_queue_lifetime to that, or "
			    "a message may be held twice; doveadm restante "
			    "check -u USER sees it");
	free(value);
}

void check_postfix(const struct conf *conf)
{
	char *version;
	int status = postconf("-h", "mail_version", &version);

	if (status == NOT_THERE) {
		report_ok("postfix", "-",
			  "there is no postconf: its configuration is not "
			  "looked at");
	} else if (status != 0) {
		report_warning("postfix", "-", "postconf fails",
			       "see what it says: postconf mail_version");
	} else {
		check_policy_service(conf);
		check_bare_newline();
		check_smtputf8();
		check_utf8_recipients();
		check_lifetime("maximal_queue_lifetime");
		check_lifetime("bounce_queue_lifetime");
	}
	free(version);
}
