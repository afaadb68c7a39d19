/* SPDX-License-Identifier: MIT */
/**
 * The worker processes: starting them, talking to them, and starting another
 * in the place of one that died.
 */
#ifndef POLICYD_CORE_WORKERS_H
#define POLICYD_CORE_WORKERS_H

#include <event2/event.h>

#include "conf.h"
#include "restante/ipc.h"

/** One process. Its successor is another one. */
struct worker;
struct workers;

struct workers_callbacks {
	void (*message)(struct worker *worker, const struct rst_ipc *msg,
			void *ctx);
	/** It has died or was killed; the pointer is invalid after this. */
	void (*gone)(struct worker *worker, void *ctx);
	/** Shutting down: the last one has gone. */
	void (*all_gone)(void *ctx);
};

struct workers_config {
	const struct conf *conf;
	const int *listen_fds; /**< all borrowed */
	unsigned int listen_count;
	bool use_stderr; /**< where their log goes */
};

/** @param pem certificate chain and key; copied */
struct workers *workers_new(struct event_base *base,
			    const struct workers_config *config,
			    struct rst_str pem,
			    const struct workers_callbacks *calls, void *ctx);
void workers_free(struct workers **workers);
/** Tell all of them, and those who come later. */
void workers_set_pem(struct workers *workers, struct rst_str pem);
void workers_set_mechanisms(struct workers *workers, const char *mechanisms);
/** How many connections one worker takes: twice an even share, as the kernel
    does not divide evenly, and at most all. */
uint64_t workers_connections(const struct conf *conf);
/** Let them finish. Who has not gone after five seconds is killed. */
void workers_shutdown(struct workers *workers);

/** @param fd -1, or a descriptor that goes along and is closed here */
void worker_send(struct worker *worker, const struct rst_ipc *msg, int fd);
/** It breaks the rules. No more of its messages are delivered; `gone` comes
    from the loop. */
void worker_kill(struct worker *worker, const char *reason);

/** For the log. */
pid_t worker_pid(const struct worker *worker);

/** argv[1] of a worker, which main() then lets begin in worker/main.h. */
#define WORKERS_ARGUMENT "--worker"

#endif
