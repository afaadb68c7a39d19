/* SPDX-License-Identifier: MIT */
/*
 * A pair of user and source is forgotten -> counted (its first failure) ->
 * blocked (max_failures) -> forgotten (window_ms after the first failure, a
 * successful sign-in, or max_pairs).
 *
 * A pair is in the tree, by its key, and in the list, oldest first. All have
 * the same time, so the first of the list is the first to run out. It is a tree
 * because strangers choose the names: lib/table.h is not for those.
 */
#include "restante/throttle.h"

#include <arpa/inet.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "restante/hold.h"

#define NETWORK_MAX 64
/* the octets of a longer name do not count: no account has one */
#define KEY_MAX (NETWORK_MAX + RST_HOLD_USER_MAX)

struct pair {
	TAILQ_ENTRY(pair) link;
	struct rst_str key; /* behind this */
	int64_t until_ms;
	unsigned int failures;
};

struct rst_throttle {
	struct rst_throttle_limits limits;
	void *tree;
	TAILQ_HEAD(, pair) list;
	size_t count;
};

static int compare(const void *_a, const void *_b)
{
	const struct pair *a = _a, *b = _b;

	if (a->key.n != b->key.n)
		return a->key.n < b->key.n ? -1 : 1;
	return memcmp(a->key.p, b->key.p, a->key.n);
}

struct rst_throttle *rst_throttle_new(const struct rst_throttle_limits *limits)
{
	struct rst_throttle *t = rst_calloc(1, sizeof(*t));

	t->limits = *limits;
	TAILQ_INIT(&t->list);
	return t;
}

static void forget(struct rst_throttle *t, struct pair *pair)
{
	TAILQ_REMOVE(&t->list, pair, link);
	(void)tdelete(pair, &t->tree, compare);
	t->count--;
	free(pair);
}

void rst_throttle_free(struct rst_throttle **_t)
{
	struct rst_throttle *t = *_t;
	struct pair *pair;

	*_t = NULL;
	if (t == NULL)
		return;
	while ((pair = TAILQ_FIRST(&t->list)) != NULL)
		forget(t, pair);
	free(t);
}

/* The holder of one IPv6 address has 2^64 of them. */
static size_t put_network(char *out, struct rst_str source)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	(void)snprintf(text, sizeof(text), "%.*s", (int)source.n, source.p);
	if (inet_pton(AF_INET6, text, &address) != 1) {
		(void)snprintf(out, NETWORK_MAX, "%s", text);
		return strlen(out);
	}
	memcpy(out, &address, 8);
	return 8;
}

static struct rst_str make_key(char out[KEY_MAX], struct rst_str user,
			       struct rst_str source)
{
	size_t n = put_network(out, source), i;

	/* NUL stands in no address in text form, and the binary form always has
	   eight octets: two pairs never share a key */
	out[n++] = '\0';
	for (i = 0; i < user.n && n < KEY_MAX; i++)
		out[n++] = rst_lower(user.p[i]);
	return (struct rst_str){out, n};
}

static struct pair *find(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source)
{
	char buf[KEY_MAX];
	struct pair wanted = {.key = make_key(buf, user, source)};
	struct pair **found = tfind(&wanted, &t->tree, compare);

	return found == NULL ? NULL : *found;
}

static void forget_old(struct rst_throttle *t, int64_t now_ms)
{
	struct pair *pair;

	while ((pair = TAILQ_FIRST(&t->list)) != NULL &&
	       now_ms >= pair->until_ms)
		forget(t, pair);
}

static struct pair *add(struct rst_throttle *t, struct rst_str user,
			struct rst_str source, int64_t now_ms)
{
	char buf[KEY_MAX];
	struct rst_str key = make_key(buf, user, source);
	struct pair *pair = rst_calloc(1, sizeof(*pair) + key.n);

	if (t->count >= t->limits.max_pairs)
		forget(t, TAILQ_FIRST(&t->list));
	memcpy(pair + 1, key.p, key.n);
	pair->key = (struct rst_str){(char *)(pair + 1), key.n};
	pair->until_ms = now_ms + t->limits.window_ms;
	if (tsearch(pair, &t->tree, compare) == NULL)
		abort(); /* out of memory */
	TAILQ_INSERT_TAIL(&t->list, pair, link);
	t->count++;
	return pair;
}

void rst_throttle_failed(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms)
{
	struct pair *pair;

	forget_old(t, now_ms);
	pair = find(t, user, source);
	if (pair == NULL)
		pair = add(t, user, source, now_ms);
	if (pair->failures < t->limits.max_failures)
		pair->failures++;
}

bool rst_throttle_blocks(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms)
{
	const struct pair *pair;

	forget_old(t, now_ms);
	pair = find(t, user, source);
	return pair != NULL && pair->failures >= t->limits.max_failures;
}

void rst_throttle_clear(struct rst_throttle *t, struct rst_str user,
			struct rst_str source)
{
	struct pair *pair = find(t, user, source);

	if (pair != NULL)
		forget(t, pair);
}
