/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "hash.h"
#include "mail-user.h"
#include "attempts.h"
#include "common/settings.h"
#include "held.h"
#include "hold.h"
#include "message.h"
#include "tombstones.h"

/* The uid of the whole message of a K that is held. */
struct rst_holdings_keys {
	pool_t pool;
	HASH_TABLE(unsigned char *, void *) uids;
};

static struct rst_holdings_keys *keys_new(void)
{
	pool_t pool = pool_alloconly_create("holdings", 1024);
	struct rst_holdings_keys *keys =
		p_new(pool, struct rst_holdings_keys, 1);

	keys->pool = pool;
	hash_table_create(&keys->uids, pool, 0, rst_key_hash, rst_key_cmp);
	return keys;
}

static void keys_free(struct rst_holdings_keys **_keys)
{
	struct rst_holdings_keys *keys = *_keys;

	if (keys == NULL)
		return;
	*_keys = NULL;
	hash_table_destroy(&keys->uids);
	pool_unref(&keys->pool);
}

static int read_all(struct rst_holdings *holdings, const char **error_r)
{
	const char *dir = holdings->hold->dir;
	int ret;

	ret = holdings->locked
		      ? rst_tombstones_open(dir, &holdings->tombstones, error_r)
		      : rst_tombstones_read(dir, &holdings->tombstones,
					    error_r);
	return ret < 0 ? -1 : rst_holdings_read_attempts(holdings, error_r);
}

int rst_holdings_open(struct rst_holdings *holdings,
		      const struct rst_hold *hold, bool locked,
		      const char **error_r)
{
	i_zero(holdings);
	holdings->hold = hold;
	holdings->locked = locked;
	holdings->keys = keys_new();
	if (read_all(holdings, error_r) == 0)
		return 0;
	rst_holdings_close(holdings);
	return -1;
}

void rst_holdings_close(struct rst_holdings *holdings)
{
	keys_free(&holdings->keys);
	rst_attempts_free(&holdings->attempts);
	rst_tombstones_close(&holdings->tombstones);
}

int rst_holdings_read_attempts(struct rst_holdings *holdings,
			       const char **error_r)
{
	rst_attempts_free(&holdings->attempts);
	return rst_attempts_read(holdings->hold->dir, &holdings->attempts,
				 error_r);
}

/* ---- the rules */

bool rst_held_key_counts(const struct rst_hold *hold,
			 const unsigned char key[RST_KEY_SIZE])
{
	return !hold->settings->test_no_dedup && !rst_key_is_zero(key);
}

bool rst_holdings_has_left(const struct rst_holdings *holdings, const char *id)
{
	return rst_tombstones_has(holdings->tombstones, id) ||
	       (!holdings->locked &&
		rst_attempts_state(holdings->attempts, id) ==
			RST_ATTEMPT_DELIVERED);
}

bool rst_holdings_key_has_left(const struct rst_holdings *holdings,
			       const unsigned char key[RST_KEY_SIZE])
{
	return rst_held_key_counts(holdings->hold, key) &&
	       rst_tombstones_has_key(holdings->tombstones, key);
}

/* Of two messages of one K the first stays. */
static bool is_double(struct rst_holdings *holdings,
		      const struct rst_held *held)
{
	struct rst_holdings_keys *keys = holdings->keys;
	const unsigned char *key = held->key;
	void *uid;

	if (!rst_held_key_counts(holdings->hold, key))
		return FALSE;
	uid = hash_table_lookup(keys->uids, key);
	if (uid != NULL)
		return POINTER_CAST_TO(uid, uint32_t) != held->uid;
	if (!held->incomplete)
		hash_table_insert(keys->uids,
				  (unsigned char *)p_memdup(keys->pool, key,
							    RST_KEY_SIZE),
				  POINTER_CAST(held->uid));
	return FALSE;
}

enum rst_held_state rst_holdings_state(struct rst_holdings *holdings,
				       const struct rst_held *held)
{
	if (rst_holdings_has_left(holdings, held->id))
		return RST_HELD_LEFT;
	if (rst_holdings_key_has_left(holdings, held->key))
		return RST_HELD_KEY_LEFT;
	return is_double(holdings, held) ? RST_HELD_DOUBLE : RST_HELD_STILL;
}

bool rst_held_is_whole_of(const struct rst_hold *hold, struct mail *mail,
			  const struct rst_held *held,
			  const unsigned char key[RST_KEY_SIZE])
{
	struct rst_held again;
	const char *error;
	bool whole;

	if (memcmp(held->key, key, RST_KEY_SIZE) != 0 ||
	    rst_held_read(mail, hold->user->username, &again, &error) <= 0)
		return FALSE;
	whole = !again.incomplete;
	rst_held_clear(&again);
	return whole;
}
