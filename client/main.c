/* SPDX-License-Identifier: MIT */
/** restante(1): the traveller's program. */
#include "restante-config.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "conf.h"
#include "log.h"
#include "registration.h"

struct arguments {
	char *option[CONF_COUNT];
	const char *conf;
	bool once;
	int log_least;
};

/* Values of the long options. A setting's is OPT_SETTING + its number. */
enum {
	OPT_SETTING = 256,
	OPT_ONCE = OPT_SETTING + CONF_COUNT,
	OPT_QUIET,
	OPT_VERBOSE,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option long_options[] = {
	{"server", required_argument, NULL, OPT_SETTING + CONF_SERVER},
	{"ca-file", required_argument, NULL, OPT_SETTING + CONF_CA_FILE},
	{"password-file", required_argument, NULL,
	 OPT_SETTING + CONF_PASSWORD_FILE},
	{"maildir", required_argument, NULL, OPT_SETTING + CONF_MAILDIR},
	{"state-dir", required_argument, NULL, OPT_SETTING + CONF_STATE_DIR},
	{"hostname", required_argument, NULL, OPT_SETTING + CONF_HOSTNAME},
	{"once", no_argument, NULL, OPT_ONCE},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char usage_text[] =
	"usage: restante register [USER] [options]\n"
	"       restante --help | --version\n"
	"\n"
	"Signs in at a server where mail waits, takes it, and stays for what\n"
	"comes next.\n"
	"\n"
	"  --server HOST:PORT    where to sign in\n"
	"  --ca-file FILE        whom to trust, PEM [the system's store]\n"
	"  --password-file FILE  its first line is the password\n"
	"  --maildir DIR         where mail goes [~/Maildir]\n"
	"  --state-dir DIR       where the seen-log is [the Maildir]\n"
	"  --hostname NAME       how this machine calls itself\n"
	"  --once                end when all that waits is here\n"
	"  --quiet               report only errors that need you\n"
	"  --verbose             say more\n"
	"  -c FILE               settings [~/.config/restante/restante.conf]\n";

static int usage_error(const char *problem)
{
	fprintf(stderr, "restante: %s\n%s", problem, usage_text);
	return EX_USAGE;
}

static void print_version(void)
{
	puts("restante " PACKAGE_VERSION);
}

/* @return -1 to go on, or an exit status */
static int take_option(struct arguments *args, int option)
{
	if (option >= OPT_SETTING && option < OPT_SETTING + CONF_COUNT) {
		args->option[option - OPT_SETTING] = optarg;
		return -1;
	}
	switch (option) {
	case 'c':
		args->conf = optarg;
		return -1;
	case OPT_ONCE:
		args->once = true;
		return -1;
	case OPT_QUIET:
		args->log_least = LOG_ERR;
		return -1;
	case OPT_VERBOSE:
		args->log_least = LOG_DEBUG;
		return -1;
	case OPT_HELP:
		fputs(usage_text, stdout);
		return EX_OK;
	case OPT_VERSION:
		print_version();
		return EX_OK;
	default: /* getopt has reported it */
		fputs(usage_text, stderr);
		return EX_USAGE;
	}
}

/* Of "restante register ...". @return -1 to go on, or an exit status */
static int parse_arguments(int argc, char **argv, struct arguments *args_r)
{
	int option, status;

	while ((option = getopt_long(argc, argv, "c:", long_options, NULL)) !=
	       -1) {
		status = take_option(args_r, option);
		if (status >= 0)
			return status;
	}
	if (optind < argc && strcmp(argv[optind], "register") != 0)
		return usage_error("the command is \"register\"");
	if (optind == argc)
		return usage_error("a command is missing");
	if (optind + 1 < argc)
		args_r->option[CONF_USER] = argv[optind + 1];
	if (optind + 2 < argc)
		return usage_error("too many arguments");
	return -1;
}

static void print_error(const char *line, void *ctx)
{
	(void)ctx;
	fprintf(stderr, "%s\n", line);
}

static bool check_password(const struct conf *conf)
{
	const char *path = conf->value[CONF_PASSWORD_FILE], *error;
	char *password = conf_password(path, &error);
	struct stat st;

	if (password == NULL) {
		conf_complain(conf, CONF_PASSWORD_FILE, error, print_error,
			      NULL);
		return false;
	}
	conf_password_free(&password);
	if (stat(path, &st) == 0 && (st.st_mode & (S_IRGRP | S_IROTH)) != 0)
		log_short(LOG_WARNING, "others may read the password", "path",
			  path);
	return true;
}

static int run(const struct conf *conf, bool once)
{
	const struct store_settings store_settings = {
		.maildir = conf->value[CONF_MAILDIR],
		.state_dir = conf->value[CONF_STATE_DIR],
		.hostname = conf->value[CONF_HOSTNAME],
		.domain = conf->domain,
		.server = conf->host,
	};
	char error[TLS_ERROR_SIZE];
	struct tls *tls;
	int status;

	if (!check_password(conf))
		return EX_CONFIG;
	tls = tls_new(conf->value[CONF_CA_FILE], error);
	if (tls == NULL) {
		if (conf->value[CONF_CA_FILE] == NULL)
			log_short(LOG_ERR, "cannot set up TLS", "error", error);
		else
			conf_complain(conf, CONF_CA_FILE, error, print_error,
				      NULL);
		return EX_CONFIG;
	}
	status = registration_run(conf, tls, &store_settings, once);
	tls_free(&tls);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments args = {.log_least = LOG_INFO};
	struct conf *conf;
	int status;

	status = parse_arguments(argc, argv, &args);
	if (status >= 0)
		return status;
	umask(077);
	signal(SIGUSR1, SIG_IGN); /* until registration_run() handles it */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a too large file fails its write instead */
	log_open(args.log_least);
	if (args.once && args.log_least == LOG_INFO && !isatty(STDERR_FILENO))
		log_hold_back(); /* cron(8) mails whatever is written */
	conf = conf_read(args.conf, args.option, print_error, NULL);
	if (conf == NULL)
		return EX_CONFIG;
	status = run(conf, args.once);
	if (status != EX_OK)
		log_release();
	conf_free(&conf);
	return status;
}
