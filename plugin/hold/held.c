/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "file-lock.h"
#include "hash.h"
#include "ioloop.h"
#include "mail-user.h"
#include "attempts.h"
#include "common/settings.h"
#include "held.h"
#include "hold.h"
#include "key.h"
#include "message.h"
#include "tombstones.h"

struct rst_held {
	const struct rst_hold *hold;
	bool locked; /* by RST_LOCK_DRAIN */
	struct rst_tombstones *tombstones;
	/* NULL: could not be read, so each message counts as attempted */
	struct rst_attempts *attempts;
	pool_t pool;
	/* the uid of the whole message of a K that is held */
	HASH_TABLE(unsigned char *, void *) keys;
};

/* ---- opening */

static int read_attempts(struct rst_held *held, const char **error_r)
{
	rst_attempts_free(&held->attempts);
	return rst_attempts_read(held->hold->dir, &held->attempts, error_r);
}

static int read_all(struct rst_held *held, const char **error_r)
{
	const char *dir = held->hold->dir;
	int ret;

	ret = held->locked
		      ? rst_tombstones_open(dir, &held->tombstones, error_r)
		      : rst_tombstones_read(dir, &held->tombstones, error_r);
	return ret < 0 ? -1 : read_attempts(held, error_r);
}

int rst_held_open(const struct rst_hold *hold, bool locked,
		  struct rst_held **held_r, const char **error_r)
{
	pool_t pool = pool_alloconly_create("held", 1024);
	struct rst_held *held = p_new(pool, struct rst_held, 1);

	held->pool = pool;
	held->hold = hold;
	held->locked = locked;
	hash_table_create(&held->keys, pool, 0, rst_key_hash, rst_key_cmp);
	*held_r = held;
	if (read_all(held, error_r) == 0)
		return 0;
	rst_held_close(held_r);
	return -1;
}

void rst_held_close(struct rst_held **_held)
{
	struct rst_held *held = *_held;

	if (held == NULL)
		return;
	*_held = NULL;
	hash_table_destroy(&held->keys);
	rst_attempts_free(&held->attempts);
	rst_tombstones_close(&held->tombstones);
	pool_unref(&held->pool);
}

/* ---- the rules */

bool rst_held_key_counts(const struct rst_hold *hold,
			 const unsigned char key[RST_KEY_SIZE])
{
	return !hold->settings->test_no_dedup && !rst_key_is_zero(key);
}

/* The holder of the lock has resolved the attempts: an outcome that came after
   that is resolved next time, and until then the message is an attempted one.
 */
bool rst_held_has_left(const struct rst_held *held, const char *id)
{
	return rst_tombstones_has(held->tombstones, id) ||
	       (!held->locked && rst_attempts_state(held->attempts, id) ==
					 RST_ATTEMPT_DELIVERED);
}

bool rst_held_key_has_left(const struct rst_held *held,
			   const unsigned char key[RST_KEY_SIZE])
{
	return rst_held_key_counts(held->hold, key) &&
	       rst_tombstones_has_key(held->tombstones, key);
}

/* Of two messages of one K the first stays. */
static bool is_double(struct rst_held *held, const struct rst_message *message)
{
	unsigned char *key;
	void *uid;

	if (!rst_held_key_counts(held->hold, message->key))
		return FALSE;
	uid = hash_table_lookup(held->keys,
				(const unsigned char *)message->key);
	if (uid != NULL)
		return POINTER_CAST_TO(uid, uint32_t) != message->uid;
	if (message->incomplete)
		return FALSE;
	key = p_memdup(held->pool, message->key, RST_KEY_SIZE);
	hash_table_insert(held->keys, key, POINTER_CAST(message->uid));
	return FALSE;
}

enum rst_held_state rst_held_state(struct rst_held *held,
				   const struct rst_message *message)
{
	if (rst_held_has_left(held, message->id))
		return RST_HELD_LEFT;
	if (rst_held_key_has_left(held, message->key))
		return RST_HELD_KEY_LEFT;
	return is_double(held, message) ? RST_HELD_DOUBLE : RST_HELD_STILL;
}

bool rst_held_is_whole_of(const struct rst_hold *hold, struct mail *mail,
			  const struct rst_message *message,
			  const unsigned char key[RST_KEY_SIZE])
{
	struct rst_message again;
	const char *error;
	bool whole;

	if (memcmp(message->key, key, RST_KEY_SIZE) != 0 ||
	    rst_message_read(mail, hold->user->username, &again, &error) <= 0)
		return FALSE;
	whole = !again.incomplete;
	rst_message_clear(&again);
	return whole;
}

/* ---- attempts at fallback delivery */

int rst_held_open_attempt(const struct rst_held *held,
			  const struct rst_message *message,
			  const char **error_r)
{
	return rst_attempts_write(held->hold->dir, message->id,
				  rst_message_key(message), RST_ATTEMPT_OPEN,
				  FALSE, error_r);
}

struct resolving {
	struct rst_held *held;
	bool has_lock; /* RST_LOCK_RELEASE */
	const char *error;
};

static int resolve_one(const char *id, const unsigned char key[RST_KEY_SIZE],
		       enum rst_attempt_state state, void *context)
{
	struct resolving *r = context;

	if (state == RST_ATTEMPT_DELIVERED)
		rst_held_bury(r->held, id, key);
	if (state != RST_ATTEMPT_OPEN || !r->has_lock)
		return 0;
	/* the process that is about to begin it will read this first */
	return rst_attempts_write(r->held->hold->dir, id, key,
				  RST_ATTEMPT_FAILED, FALSE, &r->error);
}

static bool has_no_tombstone(const char *id, void *context)
{
	const struct rst_held *held = context;

	return !rst_tombstones_has(held->tombstones, id);
}

static int resolve(struct resolving *r)
{
	struct rst_held *held = r->held;

	if (read_attempts(held, &r->error) < 0 ||
	    rst_attempts_each(held->attempts, resolve_one, r) < 0 ||
	    rst_held_commit(held, &r->error) < 0 ||
	    read_attempts(held, &r->error) < 0)
		return -1;
	if (!r->has_lock)
		return 0;
	return rst_attempts_trim(held->attempts, held->hold->dir,
				 has_no_tombstone, held, &r->error);
}

int rst_held_resolve(struct rst_held *held, const char **error_r)
{
	struct resolving r = {.held = held};
	struct file_lock *lock = NULL;
	int ret;

	if (read_attempts(held, error_r) < 0)
		return -1;
	if (!rst_attempts_any(held->attempts))
		return 0;
	ret = rst_hold_lock(held->hold, RST_LOCK_RELEASE, 0, &lock, error_r);
	if (ret < 0)
		return -1;
	/* without it, LMTP is delivering at this moment */
	r.has_lock = ret > 0;
	ret = resolve(&r);
	if (ret < 0)
		*error_r = r.error;
	if (lock != NULL)
		file_lock_free(&lock);
	return ret;
}

bool rst_held_is_attempted(const struct rst_held *held, const char *id)
{
	return held->attempts == NULL ||
	       rst_attempts_state(held->attempts, id) != RST_ATTEMPT_NONE;
}

static int is_open_or_begun(const char *id ATTR_UNUSED,
			    const unsigned char key[RST_KEY_SIZE] ATTR_UNUSED,
			    enum rst_attempt_state state,
			    void *context ATTR_UNUSED)
{
	return state == RST_ATTEMPT_OPEN || state == RST_ATTEMPT_BEGUN ? -1 : 0;
}

bool rst_held_is_unresolved(const struct rst_held *held)
{
	return held->attempts == NULL ||
	       rst_attempts_each(held->attempts, is_open_or_begun, NULL) < 0;
}

/* ---- burying */

void rst_held_bury(struct rst_held *held, const char *id,
		   const unsigned char key[RST_KEY_SIZE])
{
	rst_tombstones_add(held->tombstones, id, key, ioloop_time);
}

int rst_held_commit(struct rst_held *held, const char **error_r)
{
	return rst_tombstones_commit(held->tombstones, error_r);
}

int rst_held_trim(struct rst_held *held, const char **error_r)
{
	const struct rst_settings *settings = held->hold->settings;
	time_t oldest = ioloop_time - (time_t)rst_hold_keep_secs(settings);

	return rst_tombstones_trim(held->tombstones, oldest, error_r);
}
