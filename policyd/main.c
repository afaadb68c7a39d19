/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/tls.h"
#include "common/unix-socket.h"
#include "core/certificate.h"
#include "core/conf.h"
#include "core/core.h"
#include "core/fdstore.h"
#include "core/holders.h"
#include "core/keeper.h"
#include "core/privileges.h"
#include "core/workers.h"
#include "worker/main.h"

#define PROGRAM "restante-policyd"
/** Postfix's smtpd connects as the user "postfix". The directory "private"
   keeps other users out, and an answer would tell them nothing anyhow. */
#define POLICY_SOCKET_MODE 0666
/** Its answers name users: only for root, or for the user that started us. */
#define CONTROL_SOCKET_MODE 0600
/** How often it is seen whether a socket has vanished. */
#define KEEPER_INTERVAL_MS 10000
/** Descriptors beside one for each client: open holds, listeners, the core. */
#define OTHER_DESCRIPTORS 256

struct options {
	const char *conf_path;
	bool test, foreground;
};

static int usage(void)
{
	(void)fputs("usage: " PROGRAM " [-f] [-t] [-V] [-c FILE]\n", stderr);
	return EX_USAGE;
}

/* @return -1: go on; else the exit status */
static int read_options(int argc, char *argv[], struct options *options)
{
	int c;

	while ((c = getopt(argc, argv, "c:tfV")) != -1) {
		switch (c) {
		case 'c':
			options->conf_path = optarg;
			break;
		case 't':
			options->test = true;
			break;
		case 'f':
			options->foreground = true;
			break;
		case 'V':
			(void)puts(PROGRAM " " PACKAGE_VERSION);
			return EX_OK;
		default:
			return usage();
		}
	}
	return optind == argc ? -1 : usage();
}

static void print_error(const char *line, void *ctx)
{
	const struct options *options = ctx;

	if (options->test)
		(void)printf("error %s\n", line);
	else
		(void)fprintf(stderr, PROGRAM ": %s\n", line);
}

/* The daemon does not start with this setting. */
static int refuse(const char *setting, const char *value, const char *error)
{
	(void)fprintf(stderr, PROGRAM ": %s %s: %s\n", setting, value, error);
	return EX_CONFIG;
}

/* Takes descriptors 0 to 2, so that no socket becomes "stderr". */
static void fill_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

static void log_descriptors(const struct conf *conf, uint64_t limit)
{
	uint64_t wanted = workers_connections(conf) + OTHER_DESCRIPTORS;
	struct rst_logline line;
	bool few = limit < wanted;

	rst_logline_begin(&line, few ? "descriptor limit is too low for "
				       "max_connections"
				     : "descriptor limit");
	rst_logline_u64(&line, "descriptors", limit);
	if (few) {
		rst_logline_u64(&line, "wanted", wanted);
		rst_logline_u64(&line, "max_connections",
				conf->max_connections);
	}
	log_line(few ? LOG_WARNING : LOG_INFO, &line);
}

static void raise_descriptor_limit(const struct conf *conf)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_errno("descriptor limit not raised", NULL, NULL);
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	log_descriptors(conf, limit.rlim_cur);
}

/* The workers of a daemon that was killed close their listeners as soon as they
   notice that it has gone, and one that it has just forked has all its sockets
   until exec(): they get two seconds.
   @return whether to try again */
static bool is_left_behind(int fd, unsigned int *tries)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	if (fd >= 0 || errno != EADDRINUSE || ++*tries == 100)
		return false;
	(void)nanosleep(&pause, NULL);
	return true;
}

static int listen_tcp_soon(const struct conf_listen *l)
{
	unsigned int tries = 0;
	int fd;

	do
		fd = listen_tcp(l);
	while (is_left_behind(fd, &tries));
	return fd;
}

static int listen_unix_soon(const char *path, unsigned int mode)
{
	unsigned int tries = 0;
	int fd;

	do
		fd = unix_socket_listen(path, SOCK_STREAM, mode);
	while (is_left_behind(fd, &tries));
	return fd;
}

/* On the listeners, while we may still be root: the connections that a listener
   accepts have its congestion control. */
static void set_congestion(const struct conf *conf, const int *listen_fds)
{
	struct rst_logline line;
	const char *reason = NULL;
	unsigned int i;

	for (i = 0; i < conf->listen_count && reason == NULL; i++)
		reason = listen_congestion(listen_fds[i], conf->congestion);
	if (reason == NULL)
		return;
	rst_logline_begin(&line, "congestion control is the system's");
	rst_logline_cstr(&line, "wanted", conf->congestion);
	rst_logline_cstr(&line, "reason", reason);
	log_line(LOG_NOTICE, &line);
}

/* Here, as it takes root's rights to make the directory, and to give it to the
   user. A failure is no reason not to start: the core says so and tries again.
 */
static void make_holders_directory(const struct conf *conf)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam(conf->user) : NULL;
	uid_t uid = pw == NULL ? geteuid() : pw->pw_uid;
	gid_t gid = pw == NULL ? getegid() : pw->pw_gid;

	if (!holders_make_directory(conf->holders_directory, uid, gid))
		log_errno("holders directory not made", "holders_directory",
			  conf->holders_directory);
}

static void make_directory_of(const char *path)
{
	char *copy = rst_strdup(path);

	(void)mkdir(dirname(copy), 0755);
	free(copy);
}

/* A failure is no reason not to start: doveadm says that it cannot reach it. */
static int open_control(const char *path)
{
	int fd;

	if (path[0] == '\0')
		return -1;
	make_directory_of(path);
	fd = listen_unix_soon(path, CONTROL_SOCKET_MODE);
	if (fd < 0)
		log_errno("control socket not opened, doveadm restante who and "
			  "kick will not work",
			  "control_socket", path);
	return fd;
}

static void keep_sockets(const struct conf *conf, struct core_setup *setup)
{
	setup->sockets[CORE_POLICY_SOCKET] = (struct keeper_socket){
		.setting = "policy_socket",
		.path = conf->policy_socket,
		.mode = POLICY_SOCKET_MODE,
		.foreign = setup->fdstore->listen_is_units};
	setup->sockets[CORE_CONTROL_SOCKET] =
		(struct keeper_socket){.setting = "control_socket",
				       .path = conf->control_socket,
				       .mode = CONTROL_SOCKET_MODE,
				       .missing = setup->control_fd < 0};
	if (setup->keeper_fd >= 0)
		keeper_begin(setup->keeper_fd, setup->sockets, CORE_SOCKETS,
			     KEEPER_INTERVAL_MS);
}

static int open_sockets(const struct conf *conf, struct core_setup *setup,
			int *listen_fds)
{
	unsigned int i;

	for (i = 0; i < conf->listen_count; i++) {
		listen_fds[i] = listen_tcp_soon(&conf->listen[i]);
		if (listen_fds[i] < 0)
			return refuse("listen", conf->listen[i].text,
				      strerror(errno));
	}
	set_congestion(conf, listen_fds);
	setup->policy_fd = setup->fdstore->listen_fd;
	if (setup->policy_fd < 0)
		setup->policy_fd = listen_unix_soon(conf->policy_socket,
						    POLICY_SOCKET_MODE);
	if (setup->policy_fd < 0)
		return refuse("policy_socket", conf->policy_socket,
			      strerror(errno));
	setup->control_fd = open_control(conf->control_socket);
	keep_sockets(conf, setup);
	return EX_OK;
}

/* A certificate that clients will reject is no reason not to start: Postfix is
   answered all the same, and overdue mail goes to the mailbox. */
static int read_certificate(const struct conf *conf, char **pem_r,
			    size_t *len_r)
{
	char error[512] = "";

	*pem_r = certificate_read(conf, len_r, error, sizeof(error));
	if (*pem_r == NULL ||
	    !certificate_loads(*pem_r, *len_r, error, sizeof(error)))
		return refuse("tls_certificate", conf->tls_certificate, error);
	if (!tls_check(*pem_r, *len_r, conf->hostname, error, sizeof(error)))
		log_short(LOG_ERR, "clients will not be content", "error",
			  error);
	return EX_OK;
}

static bool daemonise(void)
{
	int fd;

	switch (fork()) {
	case -1:
		return false;
	case 0:
		break;
	default:
		/* the sockets are open: connections from now on are served */
		_exit(EX_OK);
	}
	(void)setsid();
	if (chdir("/") < 0)
		return false;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)dup2(fd, STDIN_FILENO);
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
	return true;
}

static int prepare(const struct conf *conf, struct core_setup *setup,
		   int *listen_fds)
{
	char error[256] = "";
	int ret = open_sockets(conf, setup, listen_fds);
	unsigned int i;

	if (ret == EX_OK)
		make_holders_directory(conf);
	privileges_be_urgent();
	if (ret == EX_OK && !privileges_drop(conf->user, error, sizeof(error)))
		ret = refuse("user", conf->user, error);
	for (i = 0; ret == EX_OK && i < conf->listen_count; i++)
		listen_congestion_later(listen_fds[i], conf->congestion);
	return ret;
}

static int serve(const struct conf *conf, bool foreground)
{
	int *listen_fds = rst_calloc(conf->listen_count, sizeof(*listen_fds));
	struct fdstore fdstore;
	char *manager = fdstore_manager();
	struct core_setup setup = {.conf = conf,
				   .fdstore = &fdstore,
				   .manager = manager,
				   .listen_fds = listen_fds,
				   .listen_count = conf->listen_count,
				   .use_stderr = foreground};
	char *pem = NULL;
	size_t len = 0;
	int ret;

	(void)signal(SIGPIPE, SIG_IGN);
	fill_standard_fds();
	log_open("core", true);
	fdstore_take(manager, conf->policy_socket, &fdstore);
	setup.keeper_fd = keeper_start();
	if (setup.keeper_fd < 0)
		log_errno("sockets that vanish will not be made again", NULL,
			  NULL);
	ret = read_certificate(conf, &pem, &len);
	setup.pem = (struct rst_str){pem, len};
	if (ret == EX_OK)
		ret = prepare(conf, &setup, listen_fds);
	if (ret == EX_OK && !foreground) {
		if (!daemonise())
			ret = EX_OSERR;
		log_open("core", false);
	}
	if (ret == EX_OK) {
		raise_descriptor_limit(conf);
		ret = core_run(&setup);
	}
	certificate_free(&pem, len);
	free(fdstore.conns);
	free(manager);
	free(listen_fds);
	return ret;
}

int main(int argc, char *argv[])
{
	struct options options = {.conf_path = CONF_DEFAULT_PATH};
	struct conf *conf;
	int ret;

	if (argc > 1 && strcmp(argv[1], WORKERS_ARGUMENT) == 0)
		return worker_main(argc, argv);
	ret = read_options(argc, argv, &options);
	if (ret >= 0)
		return ret;
	conf = conf_read(options.conf_path, print_error, &options);
	if (conf == NULL)
		return EX_CONFIG;
	ret = options.test ? check_run(conf) : serve(conf, options.foreground);
	conf_free(&conf);
	return ret;
}
