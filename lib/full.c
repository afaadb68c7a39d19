/* SPDX-License-Identifier: MIT */
#include "restante/full.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "restante/hold.h"
#include "table.h"

/* In the table, by name, and in the list, the last noted at its end. */
struct user {
	struct rst_table_entry entry; /* its key is behind this */
	TAILQ_ENTRY(user) link;
	int64_t until_ms;
};

struct rst_full {
	struct rst_table table;
	TAILQ_HEAD(, user) list;
	unsigned int max_users;
};

struct rst_full *rst_full_new(unsigned int max_users)
{
	struct rst_full *full = rst_calloc(1, sizeof(*full));

	full->max_users = max_users;
	TAILQ_INIT(&full->list);
	return full;
}

static void forget(struct rst_full *full, struct user *user)
{
	rst_table_remove(&full->table, &user->entry);
	TAILQ_REMOVE(&full->list, user, link);
	free(user);
}

void rst_full_free(struct rst_full **_full)
{
	struct rst_full *full = *_full;
	struct user *user;

	*_full = NULL;
	if (full == NULL)
		return;
	while ((user = TAILQ_FIRST(&full->list)) != NULL)
		forget(full, user);
	rst_table_clear(&full->table, NULL);
	free(full);
}

/* @return false: longer than any user's name */
static bool lower(struct rst_str name, char out[RST_HOLD_USER_MAX])
{
	size_t i;

	if (name.n > RST_HOLD_USER_MAX)
		return false;
	for (i = 0; i < name.n; i++)
		out[i] = rst_lower(name.p[i]);
	return true;
}

static struct user *add(struct rst_full *full, struct rst_str name)
{
	struct user *user = rst_calloc(1, sizeof(*user) + name.n);

	memcpy(user + 1, name.p, name.n);
	user->entry.key = (struct rst_str){(char *)(user + 1), name.n};
	rst_table_insert(&full->table, &user->entry);
	return user;
}

static void forget_old(struct rst_full *full, int64_t now_ms)
{
	struct user *user;

	while ((user = TAILQ_FIRST(&full->list)) != NULL &&
	       user->until_ms <= now_ms)
		forget(full, user);
}

void rst_full_set(struct rst_full *full, struct rst_str name, int64_t until_ms,
		  int64_t now_ms)
{
	char buf[RST_HOLD_USER_MAX];
	struct rst_str key = {buf, name.n};
	struct user *user;

	forget_old(full, now_ms);
	if (!lower(name, buf))
		return;
	user = rst_table_find(&full->table, key);
	if (until_ms <= now_ms) {
		if (user != NULL)
			forget(full, user);
		return;
	}
	if (user != NULL)
		TAILQ_REMOVE(&full->list, user, link);
	else if (full->table.count >= full->max_users)
		return;
	else
		user = add(full, key);
	user->until_ms = until_ms;
	TAILQ_INSERT_TAIL(&full->list, user, link);
}

static bool is_full(const struct rst_full *full, struct rst_str key,
		    int64_t now_ms)
{
	const struct user *user = rst_table_find(&full->table, key);

	return user != NULL && user->until_ms > now_ms;
}

/* Take the detail out of key, which is in buf. @return false: there is none */
static bool cut_detail(struct rst_str *key, char *buf, const char *delimiters)
{
	const char *at = memchr(buf, '@', key->n);
	size_t local = at == NULL ? key->n : (size_t)(at - buf), i;

	/* a delimiter at the very beginning begins nothing (Postfix) */
	for (i = 1; i < local; i++) {
		if (strchr(delimiters, buf[i]) == NULL || buf[i] == '\0')
			continue;
		memmove(buf + i, buf + local, key->n - local);
		key->n -= local - i;
		return true;
	}
	return false;
}

bool rst_full_is(const struct rst_full *full, struct rst_str recipient,
		 const char *delimiters, int64_t now_ms)
{
	char buf[RST_HOLD_USER_MAX];
	struct rst_str key = {buf, recipient.n};

	if (full->table.count == 0 || !lower(recipient, buf))
		return false;
	if (is_full(full, key, now_ms))
		return true;
	return cut_detail(&key, buf, delimiters) && is_full(full, key, now_ms);
}
