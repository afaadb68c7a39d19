/* SPDX-License-Identifier: MIT */
#include "conf.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "path.h"
#include "restante/str.h"

#define PASSWORD_MAX 1024
/* Octets read of its file: with a byte order mark and a line end. */
#define PASSWORD_FILE_MAX (PASSWORD_MAX + 5)
#define HOST_MAX 255

static bool is_text(const char *value);
static bool is_server(const char *value);
static bool is_hostname(const char *value);

static const struct setting {
	const char *name;
	bool (*valid)(const char *value); /* NULL: a path */
	const char *expected;
} settings[CONF_COUNT] = {
	{"user", is_text, "the name of an account at the server"},
	{"server", is_server, "HOST:PORT, such as \"mx.example.org:8463\""},
	{"ca_file", NULL, "a PEM file"},
	{"password_file", NULL, "a file whose first line is the password"},
	{"maildir", NULL, "a directory"},
	{"state_dir", NULL, "a directory"},
	{"hostname", is_hostname, "this machine's name"},
};

/* libconfuse passes no argument of ours to its callbacks; a process reads one
   file. */
static struct {
	struct conf *conf;
	conf_error_func *error;
	void *ctx;
	bool failed;
} reading;

static bool is_text(const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	if (*p == '\0')
		return false;
	for (; *p != '\0'; p++) {
		if (*p < 32 || *p == 127)
			return false;
	}
	return true;
}

static bool is_hostname(const char *value)
{
	return is_text(value) && strlen(value) <= HOST_MAX;
}

static bool is_domain_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/* RFC 5321 4.1.2. Each run of other octets becomes a hyphen.
   @return free() it */
static char *to_domain(const char *hostname)
{
	char *domain = rst_strdup(hostname);
	const char *from;
	size_t n = 0;

	for (from = hostname; *from != '\0'; from++) {
		char c = is_domain_octet(*from) ? *from : '-';

		if ((n == 0 && (c == '-' || c == '.')) ||
		    (c != *from && domain[n - 1] == '-'))
			continue;
		domain[n++] = c;
	}
	while (n > 0 && (domain[n - 1] == '-' || domain[n - 1] == '.'))
		n--;
	domain[n] = '\0';
	if (n > 0)
		return domain;
	free(domain);
	return rst_strdup("localhost");
}

/* "host:port", "192.0.2.1:port" or "[2001:db8::1]:port" */
static bool split_server(const char *value, struct rst_str *host_r,
			 struct rst_str *port_r)
{
	const char *colon = strrchr(value, ':');
	size_t n = colon == NULL ? 0 : (size_t)(colon - value);
	uint64_t port;

	if (n == 0 || n > HOST_MAX)
		return false;
	*host_r = (struct rst_str){value, n};
	*port_r = rst_str(colon + 1);
	if (value[0] == '[') {
		if (n < 4 || value[n - 1] != ']')
			return false;
		*host_r = (struct rst_str){value + 1, n - 2};
	} else if (memchr(value, ':', n) != NULL) {
		return false;
	}
	return rst_str_to_u64(*port_r, &port) && port > 0 && port <= 65535;
}

static bool is_server(const char *value)
{
	struct rst_str host, port;
	const char *p;

	if (!is_text(value) || !split_server(value, &host, &port))
		return false;
	for (p = host.p; p < host.p + host.n; p++) {
		if (strchr("\"<>()[]@/ ", *p) != NULL)
			return false;
	}
	return true;
}

static void report(const char *origin, const char *name, const char *value,
		   const char *problem)
{
	size_t size = strlen(origin) + strlen(name) + strlen(value) +
		      strlen(problem) + 7;
	char *line = rst_malloc(size);

	(void)snprintf(line, size, "%s: %s: %s: %s", origin, name, value,
		       problem);
	reading.error(line, reading.ctx);
	free(line);
	reading.failed = true;
}

static void report_unexpected(const char *origin, enum conf_setting which,
			      const char *value)
{
	char problem[128];

	(void)snprintf(problem, sizeof(problem), "expected %s",
		       settings[which].expected);
	report(origin, settings[which].name, value, problem);
}

static void put(char **target, char *value)
{
	free(*target);
	*target = value;
}

static void set(struct conf *conf, enum conf_setting which, const char *value,
		const char *origin)
{
	bool valid = settings[which].valid == NULL
			     ? *value != '\0'
			     : settings[which].valid(value);

	if (!valid) {
		report_unexpected(origin, which, value);
		return;
	}
	put(&conf->value[which], rst_strdup(value));
	put(&conf->origin[which], rst_strdup(origin));
}

/* ---- the file */

/* @return NULL: not known. An empty HOME is not known either, and does not mean
   the root directory. */
static const char *home_dir(void)
{
	const char *home = getenv("HOME");

	return home != NULL && *home != '\0' ? home : NULL;
}

/* A relative path in a file would depend on where the program is started. */
static void set_path(enum conf_setting which, const char *value,
		     const char *origin)
{
	const char *home = home_dir();
	char *path;

	if (value[0] == '~' && value[1] == '/' && home == NULL) {
		report(origin, settings[which].name, value,
		       "HOME is not set: expected a full path");
	} else if (value[0] == '~' && value[1] == '/') {
		path = path_join(home, value + 2);
		set(reading.conf, which, path, origin);
		free(path);
	} else if (value[0] == '/') {
		set(reading.conf, which, value, origin);
	} else {
		report(origin, settings[which].name, value,
		       "expected a full path, or one that begins with ~/");
	}
}

static enum conf_setting find_setting(const char *name)
{
	enum conf_setting which = 0;

	while (which < CONF_COUNT && strcmp(settings[which].name, name) != 0)
		which++;
	return which;
}

/* libconfuse calls this for each value while it is at the value's line. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	enum conf_setting which = find_setting(cfg_opt_name(opt));
	const char *value = cfg_opt_getnstr(opt, 0);
	char *origin;
	size_t size;

	if (which == CONF_COUNT)
		return 0;
	size = strlen(cfg->filename) + 24;
	origin = rst_malloc(size);
	(void)snprintf(origin, size, "%s:%d", cfg->filename, cfg->line);
	if (settings[which].valid == NULL)
		set_path(which, value == NULL ? "" : value, origin);
	else
		set(reading.conf, which, value == NULL ? "" : value, origin);
	free(origin);
	return 0; /* go on, to report every wrong value */
}

/* libconfuse calls this for an unknown setting or bad grammar. */
__attribute__((format(printf, 2, 0))) static void
on_error(cfg_t *cfg, const char *format, va_list args)
{
	static const char unknown[] = "no such option '";
	char text[512], origin[1024], *name;

	(void)vsnprintf(text, sizeof(text), format, args);
	(void)snprintf(origin, sizeof(origin), "%s:%d", cfg->filename,
		       cfg->line);
	if (strncmp(text, unknown, strlen(unknown)) != 0) {
		report(origin, "", "", text);
		return;
	}
	name = text + strlen(unknown);
	name[strcspn(name, "'")] = '\0';
	report(origin, name, "",
	       "there is no such setting; see restante.conf(5)");
}

static void read_file(const char *path, bool must_exist)
{
	static const cfg_opt_t end = CFG_END();
	cfg_opt_t opts[CONF_COUNT + 1];
	cfg_t *cfg;
	size_t i;

	for (i = 0; i < CONF_COUNT; i++) {
		cfg_opt_t opt = CFG_STR("", NULL, CFGF_NODEFAULT);

		opts[i] = opt;
		opts[i].name = settings[i].name;
	}
	opts[CONF_COUNT] = end;
	cfg = cfg_init(opts, CFGF_NONE);
	if (cfg == NULL)
		abort(); /* out of memory */
	(void)cfg_set_error_function(cfg, on_error);
	for (i = 0; i < CONF_COUNT; i++)
		(void)cfg_set_validate_func(cfg, settings[i].name, on_value);
	errno = 0;
	switch (cfg_parse(cfg, path)) {
	case CFG_SUCCESS:
		break;
	case CFG_FILE_ERROR:
		if (must_exist || errno != ENOENT)
			report(path, "", "", strerror(errno));
		break;
	default:
		reading.failed = true; /* on_error() has reported it */
	}
	(void)cfg_free(cfg);
}

static char *usual_path(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = home_dir();

	if (xdg != NULL && xdg[0] == '/')
		return path_join(xdg, "restante/restante.conf");
	if (home != NULL)
		return path_join(home, ".config/restante/restante.conf");
	return NULL;
}

/* ---- all together */

static void set_default_hostname(struct conf *conf)
{
	char name[HOST_MAX + 1] = "";

	if (gethostname(name, sizeof(name) - 1) != 0 || !is_hostname(name))
		strcpy(name, "localhost");
	set(conf, CONF_HOSTNAME, name, "default");
}

static void set_default_maildir(struct conf *conf)
{
	const char *home = home_dir();
	char *path;

	if (home == NULL)
		return;
	path = path_join(home, "Maildir");
	set(conf, CONF_MAILDIR, path, "default");
	free(path);
}

static void finish(struct conf *conf)
{
	struct rst_str host, port;
	enum conf_setting i;

	if (conf->value[CONF_HOSTNAME] == NULL)
		set_default_hostname(conf);
	if (conf->value[CONF_MAILDIR] == NULL)
		set_default_maildir(conf);
	if (conf->value[CONF_STATE_DIR] == NULL &&
	    conf->value[CONF_MAILDIR] != NULL)
		set(conf, CONF_STATE_DIR, conf->value[CONF_MAILDIR], "default");
	for (i = 0; i < CONF_COUNT; i++) {
		/* the state directory is missing only if the Maildir is */
		if (conf->value[i] == NULL && i != CONF_CA_FILE &&
		    i != CONF_STATE_DIR)
			report_unexpected("not set", i, "");
	}
	conf->domain = to_domain(conf->value[CONF_HOSTNAME]);
	if (conf->value[CONF_SERVER] != NULL &&
	    split_server(conf->value[CONF_SERVER], &host, &port)) {
		conf->host = rst_str_dup(host);
		conf->port = rst_str_dup(port);
	}
}

struct conf *conf_read(const char *path, char *const options[CONF_COUNT],
		       conf_error_func *error, void *ctx)
{
	struct conf *conf = rst_calloc(1, sizeof(*conf));
	char *usual = path == NULL ? usual_path() : NULL;
	enum conf_setting i;

	reading.conf = conf;
	reading.error = error;
	reading.ctx = ctx;
	reading.failed = false;
	if (path != NULL || usual != NULL)
		read_file(path != NULL ? path : usual, path != NULL);
	free(usual);
	for (i = 0; i < CONF_COUNT; i++) {
		if (options[i] != NULL)
			set(conf, i, options[i], "command line");
	}
	if (!reading.failed) /* a wrong value would be reported as missing */
		finish(conf);
	if (reading.failed)
		conf_free(&conf);
	return conf;
}

void conf_free(struct conf **_conf)
{
	struct conf *conf = *_conf;
	size_t i;

	*_conf = NULL;
	if (conf == NULL)
		return;
	for (i = 0; i < CONF_COUNT; i++) {
		free(conf->value[i]);
		free(conf->origin[i]);
	}
	free(conf->host);
	free(conf->port);
	free(conf->domain);
	free(conf);
}

void conf_complain(const struct conf *conf, enum conf_setting which,
		   const char *problem, conf_error_func *error, void *ctx)
{
	char text[512];

	reading.error = error;
	reading.ctx = ctx;
	(void)snprintf(text, sizeof(text), "%s; expected %s", problem,
		       settings[which].expected);
	report(conf->origin[which], settings[which].name, conf->value[which],
	       text);
}

/* ---- the password */

/* Windows' Notepad saves as UTF-8 with a byte order mark, or as UTF-16. A NUL
   is no password's, and UTF-16 without its mark has one in each letter.
   @return what is wrong; NULL: buf is the terminated first line */
static const char *cut_password(char *buf, size_t n)
{
	static const char mark[] = {'\xef', '\xbb', '\xbf'};
	char *end;

	if (n >= 2 && (memcmp(buf, "\xff\xfe", 2) == 0 ||
		       memcmp(buf, "\xfe\xff", 2) == 0))
		return "it is UTF-16: save it as UTF-8";
	if (n >= sizeof(mark) && memcmp(buf, mark, sizeof(mark)) == 0) {
		n -= sizeof(mark);
		memmove(buf, buf + sizeof(mark), n);
	}
	end = memchr(buf, '\n', n);
	if (end != NULL)
		n = (size_t)(end - buf);
	if (memchr(buf, '\0', n) != NULL)
		return "its first line has a NUL octet, as in UTF-16: save it "
		       "as UTF-8";
	end = memchr(buf, '\r', n);
	if (end != NULL)
		n = (size_t)(end - buf);
	if (n > PASSWORD_MAX)
		return "its first line is too long";
	if (n == 0)
		return "its first line is empty";
	explicit_bzero(buf + n, PASSWORD_FILE_MAX - n);
	return NULL;
}

/* No stream: it would leave a copy in memory.
   @return octets read, at most `size`; -1 with errno */
static ssize_t read_start(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), saved;
	size_t done = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -1;
	while (n != 0 && done < size) {
		n = read(fd, buf + done, size - done);
		if (n < 0 && errno != EINTR)
			break;
		done += n < 0 ? 0 : (size_t)n;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return n < 0 ? -1 : (ssize_t)done;
}

char *conf_password(const char *path, const char **error_r)
{
	char *buf = rst_calloc(1, PASSWORD_FILE_MAX + 1);
	ssize_t n = read_start(path, buf, PASSWORD_FILE_MAX);

	if (n < 0)
		*error_r = strerror(errno);
	else if (n == 0)
		*error_r = "it is empty";
	else
		*error_r = cut_password(buf, (size_t)n);
	if (*error_r == NULL)
		return buf;
	explicit_bzero(buf, PASSWORD_FILE_MAX);
	free(buf);
	return NULL;
}

const char *conf_password_doubt(const char *password)
{
	size_t n = strlen(password);

	if (n > 0 && (strchr(" \t", password[0]) != NULL ||
		      strchr(" \t", password[n - 1]) != NULL))
		return "the password begins or ends with a blank";
	return NULL;
}

void conf_password_free(char **password)
{
	if (*password != NULL)
		explicit_bzero(*password, strlen(*password));
	free(*password);
	*password = NULL;
}
