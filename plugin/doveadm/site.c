/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* pipe2() */
#endif
#include "lib.h"
#include "array.h"
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

/* @return false: this line has no "key = value" */
static bool split_line(const char *line, const char **key_r,
		       const char **value_r)
{
	const char *equals = strstr(line, " =");

	if (equals == NULL)
		return FALSE;
	*key_r = t_str_trim(t_strdup_until(line, equals), " ");
	*value_r = t_str_trim(equals + 2, " ");
	return TRUE;
}

/* "path = value", or "name = value" within "service x {".
   @return the value, or NULL */
static const char *find_value(const char *text, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	const char *const *lines = t_strsplit(text, "\n");
	const char *key, *value;

	for (; *lines != NULL; lines++)
		if (split_line(*lines, &key, &value) &&
		    (strcmp(key, path) == 0 || strcmp(key, name) == 0))
			return value;
	return NULL;
}

/* 2.4 may show a list as "name {", and in lines of their own its members:
   "member = yes", or no, which takes out one of an outer list. */
static void add_members(ARRAY_TYPE(const_string) * members, const char *text)
{
	const char *const *lines = t_strsplit(text, "\n");
	const char *key, *value, *const *old;

	for (; *lines != NULL; lines++) {
		if (!split_line(*lines, &key, &value))
			continue;
		old = array_lsearch(members, &key, i_strcmp_p);
		if (old != NULL)
			array_delete(members, array_ptr_to_idx(members, old),
				     1);
		if (strcmp(value, "yes") == 0)
			array_push_back(members, &key);
	}
}

/* @param protocol NULL: of the outermost section
   @param path of a setting: its name, or "service/", the service's, "/", name
   @return doveconf's output, or NULL */
static const char *ask(const char *protocol, const char *path)
{
	const char *argv[] = {"doveconf",
			      "-c",
			      master_service_get_config_path(master_service),
			      "-x",
			      path,
			      NULL,
			      NULL,
			      NULL};

	if (protocol != NULL) {
		argv[4] = "-f";
		argv[5] = t_strconcat("protocol=", protocol, NULL);
		argv[6] = path;
	}
	return run(argv, "/usr/bin/doveconf");
}

static const char *get(const char *protocol, const char *path)
{
	const char *text = ask(protocol, path);

	if (text == NULL)
		return NULL;
	text = find_value(text, path);
	return i_strdup(text == NULL ? "" : text);
}

/* Of a list, 2.4's doveconf shows what the innermost section adds only.
   @param outer doveconf's output of the outermost section, or NULL */
static const char *get_list(const char *protocol, const char *name,
			    const char *outer)
{
	const char *own = ask(protocol, name);
	ARRAY_TYPE(const_string) members;
	const char *value;

	if (own == NULL || outer == NULL)
		return NULL;
	value = find_value(own, name);
	if (value != NULL)
		return i_strdup(value);
	t_array_init(&members, 16);
	add_members(&members, outer);
	add_members(&members, own);
	array_append_zero(&members);
	return i_strdup(t_strarray_join(array_front(&members), " "));
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
	const char *plugins = ask(NULL, "mail_plugins");
	unsigned int i, lifetime;

	for (i = 0; i < RST_SITE_PROTOCOLS; i++) {
		site->plugins[i] =
			get_list(rst_site_protocol(i), "mail_plugins", plugins);
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
