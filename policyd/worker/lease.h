/* SPDX-License-Identifier: MIT */
/**
 * What one session knows about the held messages that it has pushed: in
 * memory only, and gone with the session. The hold is the truth.
 */
#ifndef POLICYD_WORKER_LEASE_H
#define POLICYD_WORKER_LEASE_H

#include <sys/queue.h>

#include "restante/status.h"
#include "restante/str.h"

enum lease_state {
	LEASE_FLYING,  /**< with the client, who has not decided */
	LEASE_DECIDED, /**< by 2xx or 5xx; the hold is to be told */
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
	/** not before this time: WAITING to be pushed, DECIDED to be told once
	    more, after the hold could not act on it */
	int64_t retry_ms;
	int64_t delay_ms; /**< before the last retry */
	/* which hold connection listed it, and which was told about it */
	uint64_t listed, told;
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
