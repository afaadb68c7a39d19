/* SPDX-License-Identifier: MIT */
/*
 * Whoever has the lock may remove a message at any time, and its file before
 * this process sees it in the index: so what cannot be read is looked at again
 * after a sync, which also mends an index that has lost its files.
 */
#include "lib.h"
#include "hash.h"
#include "ioloop.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "attempts.h"
#include "common/settings.h"
#include "dates.h"
#include "hold.h"
#include "look.h"
#include "message.h"
#include "tombstones.h"

/* of syncs after the first */
#define RETRIES_MAX 10

struct walk {
	struct mail_user *user;
	const struct rst_settings *set;
	struct mailbox *box;
	bool whole;
	rst_look_func *func;
	void *context;

	pool_t pool;
	struct rst_tombstones *tombstones;
	struct rst_attempts *attempts;
	struct rst_dates *clock;
	HASH_TABLE(unsigned char *, void *) keys; /* of what is held */

	uint32_t done;   /* uids up to this one have been looked at */
	uint32_t failed; /* this one could not be read */
	unsigned int retries, unreadable;
	bool ended;
};

/* One that is incomplete makes no other a double. */
static bool is_double(struct walk *walk, const struct rst_held *held)
{
	unsigned char *key;

	if (walk->set->test_no_dedup || rst_key_is_zero(held->key))
		return FALSE;
	if (rst_tombstones_has_key(walk->tombstones, held->key) ||
	    hash_table_lookup(walk->keys, (const unsigned char *)held->key) !=
		    NULL)
		return TRUE;
	if (held->incomplete)
		return FALSE;
	key = p_memdup(walk->pool, held->key, RST_KEY_SIZE);
	hash_table_insert(walk->keys, key, POINTER_CAST(1));
	return FALSE;
}

static bool has_left(struct walk *walk, const struct rst_held *held)
{
	return rst_tombstones_has(walk->tombstones, held->id) ||
	       rst_attempts_state(walk->attempts, held->id) ==
		       RST_ATTEMPT_DELIVERED ||
	       is_double(walk, held);
}

/* @return whether to go on */
static bool show(struct walk *walk, struct rst_held *held, struct mail *mail)
{
	/* what cannot be read now is held all the same */
	if (!walk->whole &&
	    rst_held_is_whole(mail, walk->user->username, held) == 0)
		held->incomplete = TRUE;
	if (has_left(walk, held))
		return TRUE;
	if (!held->incomplete) /* else its date may be anything */
		held->received = rst_dates_arrival(walk->clock, held->id,
						   held->received, ioloop_time);
	return walk->func(held, mail, walk->context);
}

static bool may_try_again(struct walk *walk, uint32_t uid)
{
	if (walk->failed == uid || walk->retries == RETRIES_MAX)
		return FALSE;
	walk->failed = uid;
	walk->retries++;
	return TRUE;
}

/* @return FALSE: sync first */
static bool look_at(struct walk *walk, struct mail *mail)
{
	struct rst_held held;
	const char *error;
	int ret;

	ret = walk->whole
		      ? rst_held_read(mail, walk->user->username, &held, &error)
		      : rst_held_envelope(mail, walk->user->username, &held,
					  &error);
	if (ret < 0 && may_try_again(walk, mail->uid))
		return FALSE;
	if (ret < 0) {
		e_error(walk->user->event, "uid=%u cannot be read: %s",
			mail->uid, error);
		walk->unreadable++;
	} else if (ret > 0) {
		walk->ended = !show(walk, &held, mail);
		rst_held_clear(&held);
	}
	walk->done = mail->uid;
	return TRUE;
}

/* @return whether it has come to the end */
static bool look_at_rest(struct walk *walk)
{
	struct mailbox_transaction_context *trans;
	uint32_t seq, last;
	struct mail *mail;
	bool end = TRUE;

	mailbox_get_seq_range(walk->box, walk->done + 1, (uint32_t)-1, &seq,
			      &last);
	trans = mailbox_transaction_begin(walk->box, 0, __func__);
	mail = mail_alloc(trans,
			  MAIL_FETCH_STREAM_HEADER | MAIL_FETCH_RECEIVED_DATE,
			  NULL);
	/* 0: there is none */
	for (; end && !walk->ended && seq != 0 && seq <= last; seq++)
		T_BEGIN
		{
			mail_set_seq(mail, seq);
			end = look_at(walk, mail);
		}
	T_END;
	mail_free(&mail);
	/* nothing was changed in it but the cache */
	(void)mailbox_transaction_commit(&trans);
	return end;
}

static int look_at_all(struct walk *walk, const char **error_r)
{
	do {
		if (rst_mailbox_sync(walk->box, 0, error_r) < 0)
			return -1;
	} while (!look_at_rest(walk));
	return (int)walk->unreadable;
}

static int read_logs(struct walk *walk, const char **error_r)
{
	const char *dir;

	if (rst_hold_mailbox_dir(walk->box, &dir, error_r) < 0 ||
	    rst_tombstones_read(dir, &walk->tombstones, error_r) < 0 ||
	    rst_attempts_read(dir, &walk->attempts, error_r) < 0)
		return -1;
	walk->clock = rst_dates_new(dir);
	return 0;
}

int rst_look(struct mail_user *user, const struct rst_settings *set,
	     struct mailbox *box, bool whole, rst_look_func *func,
	     void *context, const char **error_r)
{
	struct walk walk = {
		.user = user,
		.set = set,
		.box = box,
		.whole = whole,
		.func = func,
		.context = context,
		.pool = pool_alloconly_create("hold walk", 1024),
	};
	int ret;

	hash_table_create(&walk.keys, walk.pool, 0, rst_key_hash, rst_key_cmp);
	ret = read_logs(&walk, error_r);
	if (ret == 0)
		ret = look_at_all(&walk, error_r);
	rst_dates_free(&walk.clock);
	rst_attempts_free(&walk.attempts);
	rst_tombstones_close(&walk.tombstones);
	hash_table_destroy(&walk.keys);
	pool_unref(&walk.pool);
	return ret;
}

/* ---- how much is held */

static bool add(const struct rst_held *held, struct mail *mail, void *context)
{
	struct rst_hold_status *status = context;
	uoff_t size;

	if (held->incomplete) {
		status->incomplete++;
		return TRUE;
	}
	status->messages++;
	if (mail_get_virtual_size(mail, &size) == 0)
		status->octets += size;
	/* those after it count as later */
	if (status->messages == 1)
		status->oldest = held->received;
	return TRUE;
}

int rst_hold_count(struct mail_user *user, const struct rst_settings *set,
		   struct mailbox *box, struct rst_hold_status *status_r,
		   const char **error_r)
{
	i_zero(status_r);
	if (rst_look(user, set, box, FALSE, add, status_r, error_r) < 0)
		return -1;
	if (status_r->messages > 0)
		status_r->due = rst_hold_due(set, status_r->oldest);
	return 0;
}

static bool add_first(const struct rst_held *held,
		      struct mail *mail ATTR_UNUSED, void *context)
{
	time_t *oldest = context;

	if (held->incomplete)
		return TRUE;
	*oldest = held->received;
	return FALSE;
}

/* @return how many before it cannot be read, or -1 */
static int find_oldest(struct mail_user *user, const struct rst_settings *set,
		       struct mailbox *box, time_t *oldest_r,
		       const char **error_r)
{
	*oldest_r = 0;
	return rst_look(user, set, box, FALSE, add_first, oldest_r, error_r);
}

int rst_hold_next_due(struct mail_user *user, const struct rst_settings *set,
		      struct mailbox *box, time_t *due_r, const char **error_r)
{
	struct mailbox_status status;
	time_t oldest;
	int ret;

	*due_r = 0;
	if (rst_mailbox_sync(box, 0, error_r) < 0)
		return -1;
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	if (status.messages == 0)
		return 0;
	ret = find_oldest(user, set, box, &oldest, error_r);
	if (ret > 0)
		*error_r = "a held message cannot be read";
	if (ret == 0 && oldest != 0)
		*due_r = rst_hold_due(set, oldest);
	return ret == 0 ? 0 : -1;
}

static int estimate(struct mail_user *user, const struct rst_settings *set,
		    struct mailbox *box, struct rst_hold_status *status_r,
		    const char **error_r)
{
	unsigned int leftovers;
	time_t oldest;

	if (rst_hold_mailbox_size(box, status_r, error_r) < 0 ||
	    find_oldest(user, set, box, &oldest, error_r) < 0)
		return -1;
	if (oldest == 0) {
		leftovers = status_r->messages;
		i_zero(status_r);
		status_r->leftovers = leftovers;
		return 0;
	}
	status_r->oldest = oldest;
	status_r->due = rst_hold_due(set, oldest);
	return 0;
}

typedef int count_func(struct mail_user *user, const struct rst_settings *set,
		       struct mailbox *box, struct rst_hold_status *status_r,
		       const char **error_r);

static int open_and(count_func *func, struct mail_user *user,
		    const struct rst_settings *set,
		    struct rst_hold_status *status_r, const char **error_r)
{
	struct mailbox *box;
	int ret;

	i_zero(status_r);
	ret = rst_hold_mailbox_open(user, set, 0, FALSE, &box, error_r);
	if (ret <= 0)
		return ret;
	ret = func(user, set, box, status_r, error_r);
	mailbox_free(&box);
	return ret;
}

int rst_hold_estimate(struct mail_user *user, const struct rst_settings *set,
		      struct rst_hold_status *status_r, const char **error_r)
{
	return open_and(estimate, user, set, status_r, error_r);
}

int rst_hold_peek(struct mail_user *user, const struct rst_settings *set,
		  struct rst_hold_status *status_r, const char **error_r)
{
	return open_and(rst_hold_count, user, set, status_r, error_r);
}
