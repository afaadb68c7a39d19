/* SPDX-License-Identifier: MIT */
#include "conf.h"

#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "restante/str.h"

#define MAX_LISTEN 64

/**
 * libconfuse parses all values as strings, and each setting has a reader of its
 * own: libconfuse's own conversion takes "5x" for 5 without an error.
 */
struct setting {
	const char *name;
	const char *initial; /* NULL: must be set */
	size_t offset;
	bool (*read)(const char *value, void *target);
	const char *expected;
	bool is_list;
};

/* Static, as libconfuse's callbacks have no context argument. A process reads
   only one file. */
static struct {
	struct conf *conf;
	conf_error_func *error;
	void *ctx;
	bool failed;
	unsigned int list_n; /* index of the current value in its list */
	char last[1024];     /* the last line reported */
} reading;

static void set_string(char **target, const char *value)
{
	free(*target);
	*target = rst_strdup(value);
}

static bool read_hostname(const char *value, void *target)
{
	if (!conf_value_is_hostname(value))
		return false;
	set_string(target, value);
	return true;
}

static bool read_path(const char *value, void *target)
{
	if (value[0] != '/')
		return false;
	set_string(target, value);
	return true;
}

static bool read_socket(const char *value, void *target)
{
	return strlen(value) < sizeof(((struct sockaddr_un *)0)->sun_path) &&
	       read_path(value, target);
}

/* Empty: there is no such socket. */
static bool read_socket_or_none(const char *value, void *target)
{
	if (value[0] != '\0')
		return read_socket(value, target);
	set_string(target, value);
	return true;
}

static bool read_delimiter(const char *value, void *target)
{
	const char *p;

	for (p = value; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || *p == '@' ||
		    isalnum((unsigned char)*p))
			return false;
	set_string(target, value);
	return true;
}

static bool read_user(const char *value, void *target)
{
	if (value[0] == '\0' || strpbrk(value, ": \t\n") != NULL)
		return false;
	set_string(target, value);
	return true;
}

/* libconfuse offers the last value of a list twice, and a list that is set a
   second time replaces the first: so a value is put at its index in the list,
   not appended. */
static bool read_listen(const char *value, void *target)
{
	struct conf *conf = reading.conf;
	struct conf_listen listen = {0};

	(void)target;
	if (reading.list_n >= MAX_LISTEN || !conf_value_listen(value, &listen))
		return false;
	while (conf->listen_count > reading.list_n)
		free(conf->listen[--conf->listen_count].text);
	listen.text = rst_strdup(value);
	conf->listen = rst_realloc(conf->listen,
				   (conf->listen_count + 1) * sizeof(listen));
	conf->listen[conf->listen_count++] = listen;
	return true;
}

static bool read_congestion(const char *value, void *target)
{
	if (!conf_value_is_congestion(value))
		return false;
	set_string(target, value);
	return true;
}

static bool read_duration(const char *value, void *target)
{
	return conf_value_duration(value, target);
}

/* 0: never. */
static bool read_duration_or_0(const char *value, void *target)
{
	if (strcmp(value, "0") != 0)
		return read_duration(value, target);
	*(int64_t *)target = 0;
	return true;
}

static bool read_size(const char *value, void *target)
{
	return conf_value_size(value, target);
}

static bool read_workers(const char *value, void *target)
{
	return conf_value_number(value, 0, 256, target);
}

static bool read_policy_timeout(const char *value, void *target)
{
	return conf_value_number(value, 10, 60000, target);
}

static bool read_connections(const char *value, void *target)
{
	return conf_value_number(value, 1, 1000000, target);
}

static bool read_concurrency(const char *value, void *target)
{
	return conf_value_number(value, 1, 1000, target);
}

#define DURATION "a time, such as 90s, 5m, 2h or 1d"
#define DURATION_OR_0 DURATION ", or 0: never"
#define SOCKET "a full path of at most 107 octets"

#define SETTING(name, initial, read, expected)                               \
	{                                                                    \
#		name, initial, offsetof(struct conf, name), read, expected, \
			false                                                \
	}
#define DURATION_SETTING(name, initial)                           \
	{                                                         \
#		name, initial, offsetof(struct conf, name##_ms), \
			read_duration, DURATION, false            \
	}

#define DURATION_OR_0_SETTING(name, initial)                      \
	{                                                         \
#		name, initial, offsetof(struct conf, name##_ms), \
			read_duration_or_0, DURATION_OR_0, false  \
	}

static const struct setting settings[] = {
	SETTING(hostname, "", read_hostname, "a host name in full"),
	{"listen", "*:8463", offsetof(struct conf, listen), read_listen,
	 "addresses, such as \"192.0.2.1:8463\", \"[2001:db8::1]:8463\" or "
	 "\"*:8463\"",
	 true},
	SETTING(tls_certificate, NULL, read_path,
		"the full path of a PEM file: certificate, then its chain"),
	SETTING(tls_key, NULL, read_path, "the full path of a PEM file"),
	SETTING(policy_socket, "/var/spool/postfix/private/restante",
		read_socket, SOCKET),
	SETTING(auth_socket, "/run/dovecot/restante-auth", read_socket, SOCKET),
	SETTING(hold_socket, "/run/dovecot/restante-hold", read_socket, SOCKET),
	SETTING(holders_directory, "/var/lib/restante/holders", read_path,
		"the full path of a directory"),
	SETTING(userdb_socket, "/run/dovecot/restante-userdb",
		read_socket_or_none, SOCKET ", or \"\": none"),
	SETTING(control_socket, "/run/restante/control", read_socket_or_none,
		SOCKET ", or \"\": none"),
	SETTING(user, "restante", read_user, "the name of an account"),
	SETTING(congestion, "bbr", read_congestion,
		"the name of a congestion control, such as bbr or cubic, or "
		"\"\": the system's"),
	SETTING(workers, "0", read_workers,
		"a number from 1 to 256, or 0: one for each processor"),
	SETTING(policy_timeout_ms, "1000", read_policy_timeout,
		"milliseconds, from 10 to 60000"),
	DURATION_SETTING(keepalive, "4m"),
	DURATION_SETTING(reply_timeout, "2m"),
	DURATION_SETTING(sign_in_timeout, "1m"),
	DURATION_SETTING(retry_interval, "1m"),
	SETTING(max_connections, "10000", read_connections,
		"a number from 1 to 1000000"),
	DURATION_SETTING(reconcile_interval, "1d"),
	DURATION_OR_0_SETTING(recheck_interval, "50s"),
	DURATION_OR_0_SETTING(session_lifetime, "1d"),
	SETTING(fallback_concurrency, "4", read_concurrency,
		"a number from 1 to 1000"),
	SETTING(recipient_delimiter, "+", read_delimiter,
		"characters such as + or -, or \"\": none"),
	SETTING(message_size_limit, "0", read_size,
		"octets, such as 50M, or 0: no limit"),
};

#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static void report(const char *path, int line, const char *name,
		   const char *value, const char *problem)
{
	char text[sizeof(reading.last)] = "";

	(void)snprintf(text, sizeof(text), "%s:%d: %s: %s: %s", path, line,
		       name, value, problem);
	reading.failed = true;
	if (strcmp(text, reading.last) == 0)
		return;
	memcpy(reading.last, text, sizeof(text));
	reading.error(text, reading.ctx);
}

static void report_value(const char *path, int line,
			 const struct setting *setting, const char *value)
{
	char problem[256];

	(void)snprintf(problem, sizeof(problem), "expected %s",
		       setting->expected);
	report(path, line, setting->name, value, problem);
}

static const struct setting *find_setting(const char *name)
{
	size_t i;

	for (i = 0; i < N_SETTINGS; i++) {
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	}
	return NULL;
}

static void *target_of(const struct setting *setting)
{
	return (char *)reading.conf + setting->offset;
}

/* libconfuse calls this for each value, while its line number is that of the
   value, and once more at the end of a list. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct setting *setting = find_setting(cfg_opt_name(opt));
	unsigned int n = cfg_opt_size(opt);
	const char *value;

	if (setting == NULL || n == 0)
		return 0;
	value = cfg_opt_getnstr(opt, n - 1);
	if (value == NULL)
		value = "";
	reading.list_n = n - 1;
	if (!setting->read(value, target_of(setting)))
		report_value(cfg->filename, cfg->line, setting, value);
	return 0; /* parsing goes on, so that all wrong values are reported */
}

/* Reports libconfuse's own errors: an unknown setting, or bad grammar. */
__attribute__((format(printf, 2, 0))) static void
on_error(cfg_t *cfg, const char *format, va_list args)
{
	static const char unknown[] = "no such option '";
	char text[512], *end;

	(void)vsnprintf(text, sizeof(text), format, args);
	if (strncmp(text, unknown, strlen(unknown)) != 0) {
		report(cfg->filename, cfg->line, "", "", text);
		return;
	}
	end = strrchr(text, '\'');
	if (end != NULL)
		*end = '\0';
	report(cfg->filename, cfg->line, text + strlen(unknown), "",
	       "there is no such setting; see restante-policyd.conf(5)");
}

static cfg_t *make_cfg(cfg_opt_t opts[N_SETTINGS + 1])
{
	static const cfg_opt_t end = CFG_END();
	cfg_t *cfg;
	size_t i;

	for (i = 0; i < N_SETTINGS; i++) {
		cfg_opt_t one = CFG_STR("", NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST("", NULL, CFGF_NODEFAULT);

		opts[i] = settings[i].is_list ? list : one;
		opts[i].name = settings[i].name;
	}
	opts[N_SETTINGS] = end;
	cfg = cfg_init(opts, CFGF_NONE);
	if (cfg == NULL)
		abort();
	(void)cfg_set_error_function(cfg, on_error);
	for (i = 0; i < N_SETTINGS; i++)
		(void)cfg_set_validate_func(cfg, settings[i].name, on_value);
	return cfg;
}

static void default_hostname(struct conf *conf)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) == 0 &&
	    conf_value_is_hostname(name))
		set_string(&conf->hostname, name);
	else
		report(conf->path, 0, "hostname", name,
		       "the machine's own name is none; set it here");
}

static void set_default(const char *path, const struct setting *setting)
{
	if (strcmp(setting->name, "hostname") == 0)
		default_hostname(reading.conf);
	else if (setting->initial == NULL)
		report_value(path, 0, setting, "");
	else if (!setting->read(setting->initial, target_of(setting)))
		abort(); /* the table above is wrong */
}

static void set_defaults(cfg_t *cfg, const char *path)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	size_t i;

	for (i = 0; i < N_SETTINGS; i++) {
		if (cfg_size(cfg, settings[i].name) == 0)
			set_default(path, &settings[i]);
	}
	if (reading.conf->workers == 0)
		reading.conf->workers = n < 1 ? 1 : n > 256 ? 256 : (uint64_t)n;
}

static void parse_file(const char *path)
{
	cfg_opt_t opts[N_SETTINGS + 1];
	cfg_t *cfg = make_cfg(opts);

	switch (cfg_parse(cfg, path)) {
	case CFG_SUCCESS:
		set_defaults(cfg, path);
		break;
	case CFG_FILE_ERROR:
		report(path, 0, "", "", strerror(errno));
		break;
	default:
		reading.failed = true; /* on_error() has reported it */
		break;
	}
	(void)cfg_free(cfg);
}

struct conf *conf_read(const char *path, conf_error_func *error, void *ctx)
{
	struct conf *conf = rst_calloc(1, sizeof(*conf));

	conf->path = rst_strdup(path);
	reading.conf = conf;
	reading.error = error;
	reading.ctx = ctx;
	reading.failed = false;
	reading.list_n = 0;
	reading.last[0] = '\0';
	parse_file(path);
	if (reading.failed)
		conf_free(&conf);
	return conf;
}

void conf_free(struct conf **_conf)
{
	struct conf *conf = *_conf;
	unsigned int i;

	*_conf = NULL;
	if (conf == NULL)
		return;
	for (i = 0; i < conf->listen_count; i++)
		free(conf->listen[i].text);
	free(conf->listen);
	free(conf->path);
	free(conf->hostname);
	free(conf->tls_certificate);
	free(conf->tls_key);
	free(conf->policy_socket);
	free(conf->auth_socket);
	free(conf->hold_socket);
	free(conf->holders_directory);
	free(conf->recipient_delimiter);
	free(conf->userdb_socket);
	free(conf->control_socket);
	free(conf->user);
	free(conf->congestion);
	free(conf);
}
