/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "held.h"
#include "message.h"
#include "spares.h"

struct spare {
	const char *id;
	unsigned char key[RST_KEY_SIZE];
	uint32_t uid;
	bool incomplete, damaged;
	uoff_t octets, expected;
	bool warned;
};

struct rst_spares {
	const struct mail_user *user;
	pool_t pool;
	ARRAY(struct spare) list;
};

struct rst_spares *rst_spares_new(const struct mail_user *user)
{
	pool_t pool = pool_alloconly_create("spares", 512);
	struct rst_spares *spares = p_new(pool, struct rst_spares, 1);

	spares->pool = pool;
	spares->user = user;
	p_array_init(&spares->list, pool, 4);
	return spares;
}

void rst_spares_free(struct rst_spares **spares)
{
	pool_t pool;

	if (*spares == NULL)
		return;
	pool = (*spares)->pool;
	*spares = NULL;
	pool_unref(&pool);
}

static struct spare *find(struct rst_spares *spares, uint32_t uid)
{
	struct spare *spare;

	array_foreach_modifiable(&spares->list, spare)
	{
		if (spare->uid == uid)
			return spare;
	}
	return NULL;
}

void rst_spares_add(struct rst_spares *spares,
		    const struct rst_message *message)
{
	struct spare *spare;

	if (find(spares, message->uid) != NULL)
		return;
	spare = array_append_space(&spares->list);
	spare->id = p_strdup(spares->pool, message->id);
	memcpy(spare->key, message->key, RST_KEY_SIZE);
	spare->uid = message->uid;
	spare->incomplete = message->incomplete;
	spare->damaged = message->damaged;
	spare->octets = message->octets;
	spare->expected = message->expected;
}

void rst_spares_forget(struct rst_spares *spares, uint32_t uid)
{
	struct spare *spare = find(spares, uid);

	if (spare != NULL)
		array_delete(&spares->list,
			     array_ptr_to_idx(&spares->list, spare), 1);
}

#define CAUSES                                                           \
	"Is the disk sound, and does restante-hold load each plugin of " \
	RST_SETTING_HOLD_PLUGINS "?"

static void warn(struct rst_spares *spares, const struct spare *spare)
{
	if (spare->damaged)
		e_error(spares->user->event,
			"Held message is damaged and stays: user=%s id=%s "
			"uid=%u: its octets are not those that were saved. " CAUSES,
			spares->user->username, spare->id, spare->uid);
	else if (spare->incomplete && spare->expected == UOFF_T_MAX)
		e_error(spares->user->event,
			"Held message has no valid envelope and stays: user=%s "
			"id=%s uid=%u. " CAUSES,
			spares->user->username, spare->id, spare->uid);
	else if (spare->incomplete)
		e_warning(spares->user->event,
			  "Held message is incomplete and stays: user=%s id=%s "
			  "uid=%u octets=%" PRIuUOFF_T " expected=%" PRIuUOFF_T,
			  spares->user->username, spare->id, spare->uid,
			  spare->octets, spare->expected);
}

void rst_spares_warn(struct rst_spares *spares)
{
	struct spare *spare;

	array_foreach_modifiable(&spares->list, spare)
	{
		if (!spare->warned)
			warn(spares, spare);
		spare->warned = TRUE;
	}
}

void rst_spares_remove(struct rst_spares *spares, const char *id, uint32_t uid,
		       ARRAY_TYPE(seq_range) * uids)
{
	e_info(spares->user->event, "already have it, removed: id=%s uid=%u",
	       id, uid);
	seq_range_array_add(uids, uid);
	rst_spares_forget(spares, uid);
}

void rst_spares_remove_incomplete(struct rst_spares *spares,
				  const unsigned char key[RST_KEY_SIZE],
				  ARRAY_TYPE(seq_range) * uids)
{
	unsigned int i = array_count(&spares->list);

	while (i-- > 0) {
		const struct spare *spare = array_idx(&spares->list, i);

		if (spare->incomplete &&
		    memcmp(spare->key, key, RST_KEY_SIZE) == 0)
			rst_spares_remove(spares, spare->id, spare->uid, uids);
	}
}

void rst_spares_remove_left(struct rst_spares *spares,
			    const struct rst_held *held,
			    ARRAY_TYPE(seq_range) * uids)
{
	unsigned int i = array_count(&spares->list);

	while (i-- > 0) {
		const struct spare *spare = array_idx(&spares->list, i);

		if (rst_held_key_has_left(held, spare->key))
			rst_spares_remove(spares, spare->id, spare->uid, uids);
	}
}
