/* SPDX-License-Identifier: MIT */
/**
 * The messages that one session has pushed, and what the client decided. In
 * memory only, and gone with the session: the hold is the truth.
 */
#ifndef POLICYD_WORKER_LEASE_H
#define POLICYD_WORKER_LEASE_H

#include <sys/queue.h>

#include "restante/status.h"
#include "restante/str.h"

enum lease_state {
	LEASE_FLYING,  /**< pushed; the client has not decided */
	LEASE_DECIDED, /**< by 2xx or 5xx; to be marked at the hold */
	LEASE_WAITING, /**< 4xx: to be pushed again at retry_ms */
};

struct lease {
	TAILQ_ENTRY(lease) next;
	struct rst_str id;
	enum lease_state state;
	enum rst_verdict verdict; /**< DECIDED: OK or REFUSED */
	char *reply;              /**< REFUSED: what the client said */
	uint64_t size;
	int64_t started_ms;
	/** WAITING: not pushed before this time; DECIDED: not marked before it,
	    as the hold could not act on the last mark */
	int64_t retry_ms;
	int64_t delay_ms; /**< before the last retry */
	/* generations of the hold connection: where the message was last listed
	   and last marked */
	uint64_t listed, marked;
};

struct leases {
	TAILQ_HEAD(, lease) list;
	void *tree;
	unsigned int count;
};

void leases_init(struct leases *leases);
void leases_clear(struct leases *leases);
struct lease *lease_find(const struct leases *leases, struct rst_str id);
/** The id must be new. */
struct lease *lease_add(struct leases *leases, struct rst_str id);
void lease_remove(struct leases *leases, struct lease *lease);

#endif
