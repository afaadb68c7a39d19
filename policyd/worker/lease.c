/* SPDX-License-Identifier: MIT */
#include "lease.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *_a, const void *_b)
{
	const struct lease *a = _a, *b = _b;

	if (a->id.n != b->id.n)
		return a->id.n < b->id.n ? -1 : 1;
	return memcmp(a->id.p, b->id.p, a->id.n);
}

void leases_init(struct leases *leases)
{
	TAILQ_INIT(&leases->list);
	leases->tree = NULL;
	leases->count = 0;
}

void leases_clear(struct leases *leases)
{
	struct lease *lease;

	while ((lease = TAILQ_FIRST(&leases->list)) != NULL)
		lease_remove(leases, lease);
}

struct lease *lease_find(const struct leases *leases, struct rst_str id)
{
	struct lease key = {.id = id};
	struct lease **node = tfind(&key, &leases->tree, compare);

	return node == NULL ? NULL : *node;
}

struct lease *lease_add(struct leases *leases, struct rst_str id)
{
	struct lease *lease = rst_calloc(1, sizeof(*lease) + id.n);
	char *copy = (char *)(lease + 1);

	memcpy(copy, id.p, id.n);
	lease->id = (struct rst_str){copy, id.n};
	if (tsearch(lease, &leases->tree, compare) == NULL)
		abort(); /* out of memory */
	TAILQ_INSERT_TAIL(&leases->list, lease, next);
	leases->count++;
	return lease;
}

void lease_remove(struct leases *leases, struct lease *lease)
{
	(void)tdelete(lease, &leases->tree, compare);
	TAILQ_REMOVE(&leases->list, lease, next);
	leases->count--;
	free(lease->reply);
	free(lease);
}
