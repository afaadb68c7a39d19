/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* pipe2() */
#endif
#include "lib.h"
#include "master-service.h"
#include "str.h"
#include "common/dovecot-compat.h"
#include "site.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_THERE 127

/* ---- another program's output */

static void child(const char *const argv[], const char *path, int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(NOT_THERE);
	(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
	(void)execv(path, (char *const *)(uintptr_t)argv);
	_exit(NOT_THERE);
}

static const char *read_all(int fd)
{
	string_t *text = t_str_new(1024);
	char buffer[4096];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n > 0)
			str_append_data(text, buffer, (size_t)n);
		else if (errno != EINTR)
			break;
	}
	if (str_len(text) > 0 && str_data(text)[str_len(text) - 1] == '\n')
		str_truncate(text, str_len(text) - 1);
	return str_c(text);
}

/* @param path where the program is when it is not in PATH
   @return its output, or NULL */
static const char *run(const char *const argv[], const char *path)
{
	int pipes[2], status;
	const char *text;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		child(argv, path, pipes[1]);
	i_close_fd(&pipes[1]);
	text = read_all(pipes[0]);
	i_close_fd(&pipes[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return NULL;
	return text;
}

/* ---- what is asked */

const char *rst_site_protocol(enum rst_site_protocol protocol)
{
	static const char *const names[] = {"lmtp", "lda", "restante", "imap"};

	return names[protocol];
}

bool rst_site_has_plugin(const char *plugins, const char *name)
{
	return str_array_find(t_strsplit_spaces(plugins, " ,"), name);
}

/* "path = value", or "name = value" within "service x {". 2.4 may show a list
   as "name {", and in lines of their own its members: "member = yes".
   @return the value, or the members */
static const char *find_value(const char *text, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	const char *const *lines = t_strsplit(text, "\n");
	string_t *members = t_str_new(128);
	const char *key, *value;

	for (; *lines != NULL; lines++) {
		value = strstr(*lines, " =");
		if (value == NULL)
			continue;
		key = t_str_trim(t_strdup_until(*lines, value), " ");
		value = t_str_trim(value + 2, " ");
		if (strcmp(key, path) == 0 || strcmp(key, name) == 0)
			return value;
		if (strcmp(value, "yes") == 0)
			str_printfa(members, "%s%s",
				    str_len(members) == 0 ? "" : " ", key);
	}
	return str_c(members);
}

/* @param path of a setting: its name, or "service/", the service's, "/", name
 */
static const char *get(const char *protocol, const char *path)
{
	const char *const argv[] = {
		"doveconf",
		"-c",
		master_service_get_config_path(master_service),
		"-x",
		"-f",
		t_strconcat("protocol=", protocol, NULL),
		path,
		NULL};
	const char *text = run(argv, "/usr/bin/doveconf");

	return text == NULL ? NULL : i_strdup(find_value(text, path));
}

/* @return 0 where there is no Postfix */
static unsigned int get_lifetime(const char *name)
{
	const char *const argv[] = {"postconf", "-xh", name, NULL};
	const char *text = run(argv, "/usr/sbin/postconf"), *error;
	unsigned int secs;

	if (text == NULL || *text == '\0')
		return 0;
	/* Postfix's unit, where none is given */
	if (i_isdigit(text[strlen(text) - 1]))
		text = t_strconcat(text, "d", NULL);
	return rst_compat_parse_secs(text, &secs, &error) < 0 ? 0 : secs;
}

static bool read_site(struct rst_site *site)
{
	unsigned int i, lifetime;

	for (i = 0; i < RST_SITE_PROTOCOLS; i++) {
		site->plugins[i] = get(rst_site_protocol(i), "mail_plugins");
		site->fsync[i] = get(rst_site_protocol(i), "mail_fsync");
		if (site->plugins[i] == NULL || site->fsync[i] == NULL)
			return FALSE;
	}
	site->check_quota = get("lmtp", "lmtp_rcpt_check_quota");
	site->release = get("lmtp", "service/lmtp-release/executable");
	if (site->check_quota == NULL || site->release == NULL)
		return FALSE;
	site->queue_lifetime_secs = get_lifetime("maximal_queue_lifetime");
	lifetime = get_lifetime("bounce_queue_lifetime");
	site->queue_lifetime_secs = I_MAX(site->queue_lifetime_secs, lifetime);
	return TRUE;
}

const struct rst_site *rst_site_get(const char **error_r)
{
	static struct rst_site site;
	static enum {
		UNREAD,
		READ,
		FAILED
	} state;

	if (state == UNREAD)
		state = read_site(&site) ? READ : FAILED;
	if (state == READ)
		return &site;
	*error_r = "doveconf cannot be run, or does not understand its file";
	return NULL;
}
