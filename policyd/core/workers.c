/* SPDX-License-Identifier: MIT */
/*
 * Each slot holds one worker process, or the timer that starts the next one.
 * A process that died within HEALTHY_MS doubles the slot's delay, up to
 * MAX_DELAY_MS. A worker's connection to the core may close before the process
 * has died: only the SIGCHLD ends a struct worker.
 *
 * What a new worker is told, in this order: CONFIG, TLS, MECHANISMS. Both of
 * the latter are sent again to all when they change.
 */
#include "restante-config.h"

#include "workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "certificate.h"
#include "common/ipc-conn.h"
#include "common/log.h"
#include "common/tls.h"
#include "privileges.h"
#include "restante/clock.h"

#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 10000
/** A worker that lived this long did not fail at its start. */
#define HEALTHY_MS 10000
#define SHUTDOWN_MS 5000
/** A worker that answers none of MAX_UNANSWERED PINGs hangs, and is killed:
    otherwise its clients would wait until they lose patience. Several in a row,
    as this process may itself have slept during one of them. */
#define PING_MS 20000
#define MAX_UNANSWERED 3
/** Rotated daily: a leaked ticket key exposes at most one day of traffic. */
#define TICKET_KEYS_MS (24 * 3600 * 1000)

struct worker {
	struct workers *all;
	pid_t pid;
	struct ipc_conn *conn; /* NULL: the worker has closed its end */
	bool killed;
	unsigned int unanswered; /* PINGs */
};

struct slot {
	struct workers *all;
	struct worker *worker; /* NULL: `restart` will start one */
	struct event *restart;
	int64_t started_ms, delay_ms;
};

struct workers {
	struct event_base *base;
	struct workers_config config;
	const struct workers_callbacks *calls;
	void *ctx;
	char *pem;
	size_t pem_len;
	/* the same for all workers, which so accept each other's session
	   tickets: a client that comes back reaches another worker as often as
	   not */
	char ticket_keys[TLS_TICKET_KEYS];
	struct event *new_keys;
	struct event *ping;
	char *mechanisms;
	struct event *child_died;
	struct event *patience; /* pending: shutting down */
	bool shutting_down;
	struct slot *slots;
	unsigned int count;
};

/* ---- sending */

void worker_send(struct worker *worker, const struct rst_ipc *msg, int fd)
{
	if (worker->conn != NULL && !worker->killed)
		ipc_conn_send(worker->conn, msg, fd);
	else if (fd >= 0)
		(void)close(fd);
}

static void send_pem(struct worker *worker)
{
	const struct rst_ipc msg = {
		.type = RST_IPC_TLS,
		.a = {worker->all->ticket_keys, TLS_TICKET_KEYS}};
	/* a memory file for each worker: none can change another's */
	int fd = certificate_to_fd(worker->all->pem, worker->all->pem_len);

	if (fd < 0)
		log_errno("certificate not sent to worker", NULL, NULL);
	else
		worker_send(worker, &msg, fd);
}

static void send_mechanisms(struct worker *worker)
{
	const struct rst_ipc msg = {.type = RST_IPC_MECHANISMS,
				    .a = rst_str(worker->all->mechanisms)};

	worker_send(worker, &msg, -1);
}

uint64_t workers_connections(const struct conf *conf)
{
	uint64_t share =
		(conf->max_connections + conf->workers - 1) / conf->workers;

	return 2 * share < conf->max_connections ? 2 * share
						 : conf->max_connections;
}

static void send_config(struct worker *worker)
{
	const struct conf *conf = worker->all->config.conf;
	const struct rst_ipc msg = {.type = RST_IPC_CONFIG,
				    .a = rst_str(conf->hostname),
				    .b = rst_str(conf->congestion),
				    .n = {conf->keepalive_ms,
					  conf->reply_timeout_ms,
					  conf->sign_in_timeout_ms,
					  (int64_t)workers_connections(conf),
					  conf->retry_interval_ms}};

	worker_send(worker, &msg, -1);
}

/* ---- the process */

static void log_worker(int level, const char *message,
		       const struct worker *worker, const char *key,
		       const char *value)
{
	struct rst_logline line;

	rst_logline_begin(&line, message);
	rst_logline_i64(&line, "pid", worker->pid);
	if (key != NULL)
		rst_logline_cstr(&line, key, value);
	log_line(level, &line);
}

void worker_kill(struct worker *worker, const char *reason)
{
	if (worker->killed)
		return;
	worker->killed = true;
	log_worker(LOG_ERR, "worker killed", worker, "reason", reason);
	(void)kill(worker->pid, SIGKILL);
}

pid_t worker_pid(const struct worker *worker)
{
	return worker->pid;
}

static void on_message(const struct rst_ipc *msg, int fd, void *ctx)
{
	struct worker *worker = ctx;

	if (fd >= 0) /* no message of a worker comes with a descriptor */
		(void)close(fd);
	if (msg->type == RST_IPC_PONG)
		worker->unanswered = 0;
	else if (!worker->killed)
		worker->all->calls->message(worker, msg, worker->all->ctx);
}

static void on_closed(void *ctx)
{
	struct worker *worker = ctx;

	ipc_conn_free(&worker->conn);
	/* the worker is exiting, or broken */
	if (!worker->all->shutting_down)
		(void)kill(worker->pid, SIGKILL);
}

/**
 * Runs between fork and exec: async-signal-safe calls only. The worker ignores
 * the signals that a terminal or service manager sends to the whole process
 * group: the core acts on them and tells the worker.
 */
static void exec_child(char **argv, int ipc_fd, const struct workers *all,
		       const sigset_t *mask)
{
	unsigned int i;

	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	privileges_be_ordinary();
	(void)fcntl(ipc_fd, F_SETFD, 0);
	for (i = 0; i < all->config.listen_count; i++)
		(void)fcntl(all->config.listen_fds[i], F_SETFD, 0);
	(void)execv("/proc/self/exe", argv);
	_exit(EX_OSERR);
}

static char *number(int value)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", value);
	return rst_strdup(text);
}

/* restante-policyd --worker stderr|syslog IPC-FD LISTEN-FD... */
static char **make_argv(const struct workers *all, int ipc_fd)
{
	char **argv = rst_calloc(all->config.listen_count + 5, sizeof(*argv));
	unsigned int i;

	argv[0] = rst_strdup("restante-policyd");
	argv[1] = rst_strdup(WORKERS_ARGUMENT);
	argv[2] = rst_strdup(all->config.use_stderr ? "stderr" : "syslog");
	argv[3] = number(ipc_fd);
	for (i = 0; i < all->config.listen_count; i++)
		argv[4 + i] = number(all->config.listen_fds[i]);
	return argv;
}

static void free_argv(char **argv)
{
	char **arg;

	for (arg = argv; *arg != NULL; arg++)
		free(*arg);
	free(argv);
}

/* All signals are blocked between fork and exec: the child would otherwise run
   this process's handlers. */
static pid_t fork_child(const struct workers *all, int ipc_fd)
{
	char **argv = make_argv(all, ipc_fd);
	sigset_t every, before;
	pid_t pid;

	(void)sigfillset(&every);
	(void)sigprocmask(SIG_SETMASK, &every, &before);
	pid = fork();
	if (pid == 0)
		exec_child(argv, ipc_fd, all, &before);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	free_argv(argv);
	return pid;
}

static struct worker *start_worker(struct workers *all)
{
	struct worker *worker;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
		       0, fds) < 0)
		return NULL;
	pid = fork_child(all, fds[1]);
	(void)close(fds[1]);
	if (pid < 0) {
		(void)close(fds[0]);
		return NULL;
	}
	worker = rst_calloc(1, sizeof(*worker));
	worker->all = all;
	worker->pid = pid;
	worker->conn = ipc_conn_new(all->base, fds[0], RST_IPC_TO_CORE,
				    on_message, on_closed, worker);
	log_worker(LOG_INFO, "worker started", worker, NULL, NULL);
	send_config(worker);
	send_pem(worker);
	send_mechanisms(worker);
	return worker;
}

/* ---- starting again */

static void schedule(struct slot *slot)
{
	struct timeval delay = clock_timeval(slot->delay_ms);

	(void)event_add(slot->restart, &delay);
	slot->delay_ms *= 2;
	if (slot->delay_ms > MAX_DELAY_MS)
		slot->delay_ms = MAX_DELAY_MS;
}

static void on_restart(evutil_socket_t fd, short what, void *arg)
{
	struct slot *slot = arg;

	(void)fd;
	(void)what;
	slot->started_ms = clock_ms();
	slot->worker = start_worker(slot->all);
	if (slot->worker == NULL) {
		log_errno("worker not started", NULL, NULL);
		schedule(slot);
	}
}

static void log_death(const struct worker *worker, int status, int level)
{
	char how[32];

	if (WIFSIGNALED(status))
		(void)snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
	else
		(void)snprintf(how, sizeof(how), "status %d",
			       WEXITSTATUS(status));
	log_worker(level, "worker ended", worker, "how", how);
}

static bool any_left(const struct workers *all)
{
	unsigned int i;

	for (i = 0; i < all->count; i++) {
		if (all->slots[i].worker != NULL)
			return true;
	}
	return false;
}

static void on_worker_died(struct slot *slot, int status)
{
	struct workers *all = slot->all;
	struct worker *worker = slot->worker;

	log_death(worker, status, all->shutting_down ? LOG_INFO : LOG_ERR);
	all->calls->gone(worker, all->ctx);
	ipc_conn_free(&worker->conn);
	free(worker);
	slot->worker = NULL;
	if (all->shutting_down) {
		if (!any_left(all))
			all->calls->all_gone(all->ctx);
		return;
	}
	if (clock_ms() - slot->started_ms >= HEALTHY_MS)
		slot->delay_ms = FIRST_DELAY_MS;
	schedule(slot);
}

static void on_child_died(evutil_socket_t signal_number, short what, void *arg)
{
	struct workers *all = arg;
	unsigned int i;

	(void)signal_number;
	(void)what;
	for (i = 0; i < all->count; i++) {
		struct slot *slot = &all->slots[i];
		int status;

		if (slot->worker != NULL &&
		    waitpid(slot->worker->pid, &status, WNOHANG) > 0)
			on_worker_died(slot, status);
	}
}

/* ---- all of them */

static void on_ping_time(evutil_socket_t fd, short what, void *arg)
{
	static const struct rst_ipc msg = {.type = RST_IPC_PING};
	struct workers *all = arg;
	unsigned int i;

	(void)fd;
	(void)what;
	for (i = 0; i < all->count; i++) {
		struct worker *worker = all->slots[i].worker;

		if (worker == NULL)
			continue;
		if (worker->unanswered == MAX_UNANSWERED) {
			worker_kill(worker, "it hangs");
			continue;
		}
		worker->unanswered++;
		worker_send(worker, &msg, -1);
	}
}

static void on_patience_lost(evutil_socket_t fd, short what, void *arg)
{
	struct workers *all = arg;
	unsigned int i;

	(void)fd;
	(void)what;
	for (i = 0; i < all->count; i++) {
		if (all->slots[i].worker != NULL)
			worker_kill(all->slots[i].worker,
				    "did not end in time");
	}
}

void workers_shutdown(struct workers *all)
{
	const struct rst_ipc msg = {.type = RST_IPC_SHUTDOWN};
	struct timeval delay = clock_timeval(SHUTDOWN_MS);
	unsigned int i;

	if (all->shutting_down)
		return;
	all->shutting_down = true;
	(void)event_add(all->patience, &delay);
	for (i = 0; i < all->count; i++) {
		(void)event_del(all->slots[i].restart);
		if (all->slots[i].worker != NULL)
			worker_send(all->slots[i].worker, &msg, -1);
	}
	if (!any_left(all))
		all->calls->all_gone(all->ctx);
}

static void keep_pem(struct workers *all, struct rst_str pem)
{
	if (all->pem != NULL)
		explicit_bzero(all->pem, all->pem_len);
	free(all->pem);
	all->pem = rst_str_dup(pem);
	all->pem_len = pem.n;
}

static void make_ticket_keys(struct workers *all)
{
	struct timeval delay = clock_timeval(TICKET_KEYS_MS);

	if (getrandom(all->ticket_keys, TLS_TICKET_KEYS, 0) != TLS_TICKET_KEYS)
		abort();
	(void)event_add(all->new_keys, &delay);
}

static void renew_tls(struct workers *all)
{
	unsigned int i;

	make_ticket_keys(all);
	for (i = 0; i < all->count; i++) {
		if (all->slots[i].worker != NULL)
			send_pem(all->slots[i].worker);
	}
}

static void on_new_keys(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	renew_tls(arg);
}

void workers_set_pem(struct workers *all, struct rst_str pem)
{
	keep_pem(all, pem);
	renew_tls(all);
}

void workers_set_mechanisms(struct workers *all, const char *mechanisms)
{
	unsigned int i;

	free(all->mechanisms);
	all->mechanisms = rst_strdup(mechanisms);
	for (i = 0; i < all->count; i++) {
		if (all->slots[i].worker != NULL)
			send_mechanisms(all->slots[i].worker);
	}
}

static void init_slot(struct workers *all, struct slot *slot)
{
	slot->all = all;
	slot->delay_ms = FIRST_DELAY_MS;
	slot->restart = evtimer_new(all->base, on_restart, slot);
	if (slot->restart == NULL)
		abort();
	event_active(slot->restart, EV_TIMEOUT, 0);
}

struct workers *workers_new(struct event_base *base,
			    const struct workers_config *config,
			    struct rst_str pem,
			    const struct workers_callbacks *calls, void *ctx)
{
	struct workers *all = rst_calloc(1, sizeof(*all));
	struct timeval ping = clock_timeval(PING_MS);
	unsigned int i;

	all->base = base;
	all->config = *config;
	all->calls = calls;
	all->ctx = ctx;
	all->mechanisms = rst_strdup("");
	keep_pem(all, pem);
	all->child_died = evsignal_new(base, SIGCHLD, on_child_died, all);
	all->patience = evtimer_new(base, on_patience_lost, all);
	all->new_keys = evtimer_new(base, on_new_keys, all);
	all->ping = event_new(base, -1, EV_PERSIST, on_ping_time, all);
	if (all->child_died == NULL || all->patience == NULL ||
	    all->new_keys == NULL || all->ping == NULL ||
	    event_add(all->child_died, NULL) < 0 ||
	    event_add(all->ping, &ping) < 0)
		abort();
	make_ticket_keys(all);
	all->count = (unsigned int)config->conf->workers;
	all->slots = rst_calloc(all->count, sizeof(*all->slots));
	for (i = 0; i < all->count; i++)
		init_slot(all, &all->slots[i]);
	return all;
}

void workers_free(struct workers **_all)
{
	struct workers *all = *_all;
	unsigned int i;

	*_all = NULL;
	if (all == NULL)
		return;
	for (i = 0; i < all->count; i++) {
		struct worker *worker = all->slots[i].worker;

		event_free(all->slots[i].restart);
		if (worker == NULL)
			continue;
		(void)kill(worker->pid, SIGKILL);
		ipc_conn_free(&worker->conn);
		free(worker);
	}
	event_free(all->child_died);
	event_free(all->patience);
	event_free(all->new_keys);
	event_free(all->ping);
	explicit_bzero(all->ticket_keys, TLS_TICKET_KEYS);
	keep_pem(all, RST_STR(""));
	free(all->pem);
	free(all->mechanisms);
	free(all->slots);
	free(all);
}
