/* SPDX-License-Identifier: MIT */
#include "restante/registry.h"

#include <stdlib.h>

#include "table.h"

struct registrant {
	struct rst_table_entry entry; /* its key is reg.user */
	struct rst_registration reg;
	char *user;
};

struct rst_registry {
	struct rst_table users;
	uint64_t last_epoch;
};

struct rst_registry *rst_registry_new(void)
{
	return rst_calloc(1, sizeof(struct rst_registry));
}

static void registrant_free(struct rst_table_entry *entry)
{
	struct registrant *who = (struct registrant *)entry;

	free(who->user);
	free(who);
}

void rst_registry_free(struct rst_registry **_r)
{
	struct rst_registry *r = *_r;

	if (r == NULL)
		return;
	*_r = NULL;
	rst_table_clear(&r->users, registrant_free);
	free(r);
}

static struct registrant *registrant_new(struct rst_registry *r,
					 struct rst_str user)
{
	struct registrant *who = rst_calloc(1, sizeof(*who));

	who->user = rst_str_dup(user);
	who->reg.user = (struct rst_str){who->user, user.n};
	who->entry.key = who->reg.user;
	rst_table_insert(&r->users, &who->entry);
	return who;
}

uint64_t rst_registry_add(struct rst_registry *r, struct rst_str user,
			  uint64_t session, void *ctx,
			  struct rst_registration *old_r)
{
	struct registrant *who = rst_table_find(&r->users, user);

	if (who == NULL)
		who = registrant_new(r, user);
	*old_r = who->reg; /* a new one's session is 0 */
	who->reg.session = session;
	who->reg.ctx = ctx;
	who->reg.epoch = ++r->last_epoch;
	return who->reg.epoch;
}

bool rst_registry_find(const struct rst_registry *r, struct rst_str user,
		       struct rst_registration *reg_r)
{
	const struct registrant *who = rst_table_find(&r->users, user);

	if (who == NULL)
		return false;
	*reg_r = who->reg;
	return true;
}

bool rst_registry_remove(struct rst_registry *r, struct rst_str user,
			 uint64_t epoch)
{
	struct registrant *who = rst_table_find(&r->users, user);

	if (who == NULL || who->reg.epoch != epoch)
		return false;
	rst_table_remove(&r->users, &who->entry);
	registrant_free(&who->entry);
	return true;
}
