/* SPDX-License-Identifier: MIT */
/**
 * The worker processes, which face the Internet: the core starts them, talks
 * to them, and starts another one in the place of one that died.
 */
#ifndef POLICYD_CORE_WORKERS_H
#define POLICYD_CORE_WORKERS_H

#include <event2/event.h>

#include "conf.h"
#include "restante/ipc.h"

/** One process. The process that replaces it has a struct of its own. */
struct worker;
struct workers;

struct workers_callbacks {
	void (*message)(struct worker *worker, const struct rst_ipc *msg,
			void *ctx);
	/** The worker has died; its pointer is invalid after this. */
	void (*gone)(struct worker *worker, void *ctx);
	/** After workers_shutdown(): the last worker has gone. */
	void (*all_gone)(void *ctx);
};

/** All pointers are borrowed. */
struct workers_config {
	const struct conf *conf;
	const int *listen_fds; /**< inherited by every worker */
	unsigned int listen_count;
	bool use_stderr; /**< workers log to standard error, not to syslog */
};

/** @param pem certificate chain and key; copied */
struct workers *workers_new(struct event_base *base,
			    const struct workers_config *config,
			    struct rst_str pem,
			    const struct workers_callbacks *calls, void *ctx);
void workers_free(struct workers **workers);
/* Both tell the workers that run, and those that are started later. */
void workers_set_pem(struct workers *workers, struct rst_str pem);
void workers_set_mechanisms(struct workers *workers, const char *mechanisms);
/** Connections that one worker accepts at most: twice an even share of
    max_connections, as the kernel does not distribute evenly, and no more than
    all of them. */
uint64_t workers_connections(const struct conf *conf);
/** Tell all workers to finish, and kill those that run after five seconds. */
void workers_shutdown(struct workers *workers);

/** @param fd -1, or a descriptor that is sent along and closed here */
void worker_send(struct worker *worker, const struct rst_ipc *msg, int fd);
/** Kill a worker that breaks the protocol. No more of its messages are
    delivered; `gone` comes later, from the loop. */
void worker_kill(struct worker *worker, const char *reason);

/** For the log. */
pid_t worker_pid(const struct worker *worker);

/** argv[1] of a worker; main() then calls worker_main(). */
#define WORKERS_ARGUMENT "--worker"

#endif
