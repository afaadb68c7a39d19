/* SPDX-License-Identifier: MIT */
/*
 * Under the arrival lock, in this order:
 *
 *   1. messages that were saved and did not get into the log of keys are added
 *      to it;
 *   2. K is looked up in the log;
 *   3. where the log knows K, it is looked up in the hold, and then among the
 *      tombstones: these are the truth;
 *   4. the user's entry in the holders directory is made, where it is missing;
 *   5. the message is saved;
 *   6. its K is added to the log;
 *   7. the entry is touched, which tells policyd.
 *
 * A crash between any two of these is mended by the first step of the next
 * arrival. A message that is held already has its entry touched as well: the
 * process that saved it may have died before.
 *
 * The order of step 3 matters: a message that leaves the hold between the two
 * looks has a tombstone by the second one.
 */
#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "arrival.h"
#include "common/settings.h"
#include "hold/claim.h"
#include "hold/entry.h"
#include "hold/held.h"
#include "hold/hold.h"
#include "hold/keys.h"
#include "hold/mailbox.h"
#include "hold/message.h"
#include "hold/tombstones.h"

#include <fcntl.h>
#include <unistd.h>

/* a longer wait is left to Postfix, which tries again */
#define LOCK_SECS 30

struct arrival {
	struct rst_hold *hold;
	const struct rst_delivery *delivery;
	struct file_lock *lock;
	struct rst_keys *keys;
	uint32_t uid_next;
	bool first; /* the mailbox is empty */
	const char *error;
};

static int sync_box(struct arrival *a, struct mailbox_status *status_r)
{
	if (rst_mailbox_sync(a->hold->box, 0, &a->error) < 0)
		return -1;
	mailbox_get_open_status(a->hold->box,
				STATUS_UIDNEXT | STATUS_UIDVALIDITY |
					STATUS_MESSAGES,
				status_r);
	return 0;
}

/* ---- looking into the hold */

/* @return whether to go on */
typedef bool look_func(struct arrival *a, struct mail *mail,
		       const struct rst_message *message, void *context);

/* Call func for the messages from uid on. A message that cannot be read is
   passed over. @return 0, or -1 */
static int look(struct arrival *a, uint32_t uid, look_func *func, void *context)
{
	struct mailbox_transaction_context *trans;
	struct mail *mail;
	struct rst_message message;
	uint32_t seq, last;
	const char *error;
	bool more = TRUE;

	mailbox_get_seq_range(a->hold->box, uid, (uint32_t)-1, &seq, &last);
	trans = mailbox_transaction_begin(a->hold->box, 0, __func__);
	mail = mail_alloc(trans, MAIL_FETCH_STREAM_HEADER, NULL);
	for (; more && seq != 0 && seq <= last; seq++)
		T_BEGIN
		{
			mail_set_seq(mail, seq);
			if (rst_message_envelope(mail, a->hold->user->username,
						 &message, &error) > 0) {
				more = func(a, mail, &message, context);
				rst_message_clear(&message);
			}
		}
	T_END;
	mail_free(&mail);
	if (mailbox_transaction_commit(&trans) < 0) {
		a->error = rst_mailbox_error(a->hold->box);
		return -1;
	}
	return 0;
}

struct match {
	const char *id; /* NULL: search by K */
	char *found;    /* the id of the message that was found */
};

static bool is_match(struct arrival *a, struct mail *mail,
		     const struct rst_message *message, void *context)
{
	struct match *match = context;
	bool same;

	if (match->id != NULL)
		same = strcmp(match->id, message->id) == 0;
	else
		same = rst_held_is_whole_of(a->hold, mail, message,
					    a->delivery->key);
	if (same)
		match->found = i_strdup(message->id);
	return !same;
}

/* ---- the log of keys */

static bool add_held(struct arrival *a, struct mail *mail ATTR_UNUSED,
		     const struct rst_message *message,
		     void *context ATTR_UNUSED)
{
	rst_keys_add(a->keys, message->key, message->uid, ioloop_time);
	return TRUE;
}

static void add_buried(const unsigned char *key, void *context)
{
	struct arrival *a = context;

	rst_keys_add_missing(a->keys, key, ioloop_time);
}

/* A message that was saved and did not get into the log may have left since: so
   the keys of the tombstones are added, too. */
static int catch_up(struct arrival *a)
{
	static const unsigned char none[RST_KEY_SIZE];
	uint32_t last = rst_keys_last_uid(a->keys);
	struct rst_tombstones *tombstones;

	if (last + 1 >= a->uid_next)
		return 0;
	if (look(a, last + 1, add_held, NULL) < 0 ||
	    rst_tombstones_read(a->hold->dir, &tombstones, &a->error) < 0)
		return -1;
	rst_tombstones_each_key(tombstones, add_buried, a);
	rst_tombstones_close(&tombstones);
	/* the log has come up to this uid, also if its message is gone */
	rst_keys_add(a->keys, none, a->uid_next - 1, ioloop_time);
	return 0;
}

static int open_keys(struct arrival *a)
{
	struct mailbox_status status;
	time_t oldest;

	if (sync_box(a, &status) < 0 ||
	    rst_keys_open(a->hold->dir, status.uidvalidity, a->delivery->key,
			  &a->keys, &a->error) < 0)
		return -1;
	a->uid_next = status.uidnext;
	a->first = status.messages == 0;
	oldest = ioloop_time - (time_t)rst_hold_keep_secs(a->hold->settings);
	if (rst_keys_trim(a->keys, oldest, &a->error) < 0)
		return -1;
	return catch_up(a);
}

/* ---- looking for the message */

/* @return 1, 0, -1 */
static int find_held(struct arrival *a, uint32_t uid, struct match *match)
{
	/* first from the uid under which it was saved, and then everywhere: it
	   may have another uid by now */
	if (look(a, I_MAX(uid, 1), is_match, match) < 0)
		return -1;
	if (match->found == NULL && uid > 1 && look(a, 1, is_match, match) < 0)
		return -1;
	return match->found != NULL ? 1 : 0;
}

static int has_left(struct arrival *a)
{
	struct rst_held *held;
	bool left;

	if (rst_held_open(a->hold, FALSE, &held, &a->error) < 0)
		return -1;
	left = rst_held_key_has_left(held, a->delivery->key);
	rst_held_close(&held);
	return left ? 1 : 0;
}

/* The process that saved it may have died before it was on disk. */
static int make_durable(struct arrival *a)
{
	if (rst_mailbox_never_fsync(a->hold->box))
		return 0;
	return rst_mailbox_syncfs(a->hold->box, &a->error);
}

/* ---- the entry */

/* Where other messages are held, one of them falls due first. */
static time_t entry_due(const struct arrival *a)
{
	return a->first ? rst_hold_due(a->hold->settings,
				       a->delivery->arrived.tv_sec)
			: 0;
}

static int ensure_entry(struct arrival *a)
{
	return rst_entry_ensure(a->hold, entry_due(a), &a->error);
}

/*
 * The message is held, and falls due as any other. But nobody tells the user's
 * client of it, if that is signed in. There is no ordinary reason for such a
 * failure, right after the entry was found or made: so it is a warning.
 */
static void touch_entry(struct arrival *a)
{
	const char *error;

	if (rst_entry_touch(a->hold, entry_due(a), &error) < 0)
		e_warning(a->hold->user->event,
			  "policyd is not told of a held message, a client "
			  "that is signed in now may not get it before it "
			  "signs in again: %s",
			  error);
}

/* @return 1, -1 */
static int held_before(struct arrival *a)
{
	/* an earlier version made no entry */
	if (make_durable(a) < 0 || ensure_entry(a) < 0)
		return -1;
	touch_entry(a);
	return 1;
}

/* ---- is it known? */

/* @return 1, 0, -1 */
static int is_known(struct arrival *a, struct rst_saved *saved_r)
{
	struct match match = {.id = NULL};
	uint32_t uid;
	int ret;

	if (!rst_held_key_counts(a->hold, a->delivery->key) ||
	    !rst_keys_find(a->keys, &uid))
		return 0;
	ret = find_held(a, uid, &match);
	if (ret > 0) {
		saved_r->id = t_strdup(match.found);
		i_free(match.found);
		return held_before(a);
	}
	return ret < 0 ? -1 : has_left(a);
}

/* ---- saving */

/* @return 1: full; 0: there is room for it; -1 */
static int is_full(struct arrival *a)
{
	struct rst_hold_status status;
	uoff_t size = 0;

	if (a->hold->settings->hold_quota == 0)
		return 0;
	if (rst_hold_size(a->hold, &status, &a->error) < 0)
		return -1;
	(void)i_stream_get_size(a->delivery->input, TRUE, &size);
	return status.octets + size > a->hold->settings->hold_quota ? 1 : 0;
}

/* Saving failed, perhaps in its very last step: is the message there? */
static enum rst_arrival after_failure(struct arrival *a, const char *id)
{
	enum mail_error code = mailbox_get_last_mail_error(a->hold->box);
	struct mailbox_status status;
	struct match match = {.id = id};
	const char *error = a->error;
	enum rst_arrival result = RST_ARRIVAL_UNSURE;

	if (sync_box(a, &status) == 0 &&
	    look(a, a->uid_next, is_match, &match) >= 0 && match.found == NULL)
		result = code == MAIL_ERROR_NOQUOTA ? RST_ARRIVAL_FULL
						    : RST_ARRIVAL_FAILED;
	i_free(match.found);
	a->error = error;
	return result;
}

static enum rst_arrival save(struct arrival *a, struct rst_saved *saved_r)
{
	int ret = is_full(a);

	if (ret != 0)
		return ret < 0 ? RST_ARRIVAL_FAILED : RST_ARRIVAL_FULL;
	if (ensure_entry(a) < 0)
		return RST_ARRIVAL_FAILED;
	if (rst_hold_save(a->hold, a->delivery, saved_r, &a->error) < 0)
		return after_failure(a, saved_r->id);
	/* sdbox ignores an error of this fsync */
	if (rst_mailbox_fsync(a->hold->box, &a->error) < 0)
		return RST_ARRIVAL_UNSURE;
	rst_keys_add(a->keys, a->delivery->key, saved_r->uid, ioloop_time);
	touch_entry(a);
	return RST_ARRIVAL_HELD;
}

static enum rst_arrival arrive_locked(struct arrival *a,
				      struct rst_saved *saved_r)
{
	int ret;

	if (open_keys(a) < 0)
		return RST_ARRIVAL_FAILED;
	/* two users may have opened the hold at the same time */
	if (rst_claim(a->hold, TRUE) != NULL)
		return RST_ARRIVAL_OTHERS;
	ret = is_known(a, saved_r);
	if (ret != 0)
		return ret < 0 ? RST_ARRIVAL_UNSURE : RST_ARRIVAL_KNOWN;
	return save(a, saved_r);
}

/* Nobody saves anything there. 2.3 does not even open the mailbox; 2.4 does. */
static bool is_read_only(const struct rst_hold *hold)
{
	return faccessat(AT_FDCWD, hold->dir, W_OK, AT_EACCESS) < 0 &&
	       errno == EROFS;
}

enum rst_arrival rst_arrive(struct rst_hold *hold,
			    const struct rst_delivery *delivery,
			    struct rst_saved *saved_r, const char **error_r)
{
	struct arrival a = {.hold = hold, .delivery = delivery};
	enum rst_arrival result;
	int ret;

	i_zero(saved_r);
	ret = rst_hold_open(hold, TRUE, error_r);
	if (ret <= 0)
		return ret < 0 ? RST_ARRIVAL_FAILED : RST_ARRIVAL_OTHERS;
	ret = rst_hold_lock(hold, RST_LOCK_ARRIVAL, LOCK_SECS, &a.lock,
			    error_r);
	if (ret > 0) {
		result = arrive_locked(&a, saved_r);
		*error_r = a.error;
	} else if (ret < 0 && is_read_only(hold)) {
		result = RST_ARRIVAL_FAILED;
	} else {
		/* another process may be saving this same message */
		result = RST_ARRIVAL_UNSURE;
		if (ret == 0)
			*error_r = "another delivery to this hold takes too "
				   "long";
	}
	rst_keys_close(&a.keys);
	if (a.lock != NULL)
		file_lock_free(&a.lock);
	rst_hold_close(hold);
	return result;
}
