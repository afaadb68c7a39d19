/* SPDX-License-Identifier: MIT */
/*
 * The mailbox is read through a view: a transaction and one mail in it. No sync
 * may happen while the view is open. So a function that syncs closes the view
 * first, and the next read opens it again, after the uid that it had come to.
 *
 * A drain walks in order of arrival, too, past the large messages, which it
 * puts off: so its first message is there at once, and needs no list of the
 * others.
 *
 * A message leaves in this order: its tombstone is made durable (_bury,
 * _commit), then it is expunged, durably (_expunge). The walk finds messages
 * that have a tombstone and are still in the mailbox; they are expunged with
 * the others.
 */
#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "ioloop.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "seq-range-array.h"
#include "common/settings.h"
#include "dates.h"
#include "entry.h"
#include "held.h"
#include "hold.h"
#include "locked.h"
#include "look.h"
#include "mailbox.h"
#include "order.h"
#include "spares.h"

/* How far a walk has come. */
struct place {
	uint32_t uid;    /* messages up to it have been given out, or put off */
	bool from_start; /* of the hold */
	bool small_first;
};

struct rst_locked {
	struct rst_hold *hold;
	struct file_lock *lock;
	struct rst_held *held;
	struct rst_dates *dates;
	struct rst_spares *spares;

	/* the view; NULL: closed */
	struct mailbox_transaction_context *trans;
	struct mail *mail;
	uint32_t next_seq, last_seq, last_uid;
	struct rst_message message;

	struct place drain, other;
	struct place *place;     /* the current one of these */
	struct rst_order *order; /* what the drain has put off */
	/* the walk has seen all: each message with a tombstone is in buried */
	bool listed_all;
	ARRAY_TYPE(seq_range) fresh;  /* buried, tombstone not committed */
	ARRAY_TYPE(seq_range) buried; /* to be expunged */
};

/* ---- opening */

static int lock_and_open(struct rst_locked *locked, const char **error_r)
{
	int ret;

	ret = rst_hold_lock(locked->hold, RST_LOCK_DRAIN, 0, &locked->lock,
			    error_r);
	if (ret <= 0)
		return ret;
	locked->dates = rst_dates_new(locked->hold->dir);
	if (rst_held_open(locked->hold, TRUE, &locked->held, error_r) < 0 ||
	    rst_held_resolve(locked->held, error_r) < 0)
		return -1;
	return 1;
}

static struct rst_locked *create(struct rst_hold *hold)
{
	struct rst_locked *locked = i_new(struct rst_locked, 1);

	locked->hold = hold;
	locked->drain.small_first = TRUE;
	locked->other.from_start = TRUE;
	locked->place = &locked->other;
	locked->order = rst_order_new();
	locked->spares = rst_spares_new(hold->user);
	i_array_init(&locked->fresh, 16);
	i_array_init(&locked->buried, 64);
	return locked;
}

int rst_locked_open(struct rst_hold *hold, struct rst_locked **locked_r,
		    const char **error_r)
{
	int ret;

	*locked_r = NULL;
	ret = rst_hold_open(hold, hold->settings->enrolled, error_r);
	if (ret <= 0)
		return ret < 0 ? -1 : 1;
	*locked_r = create(hold);
	ret = lock_and_open(*locked_r, error_r);
	if (ret <= 0)
		rst_locked_close(locked_r);
	return ret;
}

const struct rst_hold *rst_locked_hold(const struct rst_locked *locked)
{
	return locked->hold;
}

static void close_view(struct rst_locked *locked)
{
	rst_message_clear(&locked->message);
	if (locked->mail != NULL)
		mail_free(&locked->mail);
	/* nothing was changed in it but the cache and marks */
	if (locked->trans != NULL)
		(void)mailbox_transaction_commit(&locked->trans);
}

/* Old tombstones are of use as long as their messages may be in the mailbox. */
static void trim_logs(struct rst_locked *locked)
{
	const char *error;

	if (!locked->listed_all || array_count(&locked->buried) > 0)
		return;
	rst_dates_clean(locked->dates);
	if (rst_held_trim(locked->held, &error) < 0)
		e_error(locked->hold->user->event, "%s", error);
}

static void retire_entry(struct rst_locked *locked)
{
	/* NULL: the lock, or the logs, were not had */
	if (locked->held != NULL && !rst_held_is_unresolved(locked->held))
		rst_entry_retire_if_empty(locked->hold);
}

void rst_locked_close(struct rst_locked **_locked)
{
	struct rst_locked *locked = *_locked;

	if (locked == NULL)
		return;
	*_locked = NULL;
	close_view(locked);
	trim_logs(locked);
	retire_entry(locked);
	rst_held_close(&locked->held);
	rst_dates_free(&locked->dates);
	rst_spares_free(&locked->spares);
	rst_order_free(&locked->order);
	if (locked->lock != NULL)
		file_lock_free(&locked->lock);
	rst_hold_close(locked->hold);
	array_free(&locked->fresh);
	array_free(&locked->buried);
	i_free(locked);
}

/* ---- reading */

static int open_view(struct rst_locked *locked, const char **error_r)
{
	struct mailbox *box = locked->hold->box;

	rst_message_clear(&locked->message);
	if (locked->mail != NULL)
		return 0;
	if (rst_mailbox_sync(box, 0, error_r) < 0)
		return -1;
	/* 0 where no message has such a uid */
	mailbox_get_seq_range(box, locked->place->uid + 1, (uint32_t)-1,
			      &locked->next_seq, &locked->last_seq);
	locked->trans = mailbox_transaction_begin(box, 0, __func__);
	locked->mail =
		mail_alloc(locked->trans,
			   MAIL_FETCH_STREAM_HEADER | MAIL_FETCH_STREAM_BODY |
				   MAIL_FETCH_RECEIVED_DATE,
			   NULL);
	if (locked->next_seq != 0) {
		mail_set_seq(locked->mail, locked->last_seq);
		locked->last_uid = locked->mail->uid;
	}
	return 0;
}

static void complete_held(struct rst_locked *locked)
{
	struct rst_message *message = &locked->message;

	message->attempted = rst_locked_is_attempted(locked, message->id);
	if (message->incomplete) {
		/* its date may be anything */
		rst_spares_add(locked->spares, message);
		return;
	}
	/* its place in order of arrival is not known in a drain */
	message->received =
		locked->place->small_first
			? rst_dates_seen(locked->dates, message->id,
					 message->received, ioloop_time)
			: rst_dates_arrival(locked->dates, message->id,
					    message->received, ioloop_time);
}

/*
 * A double was saved in spite of all, as when a damaged index was rebuilt and
 * has found what a crash had left. It goes after the other one has left.
 */
static void found_double(struct rst_locked *locked)
{
	const struct rst_message *message = &locked->message;

	if (message->incomplete)
		rst_spares_remove(locked->spares, message->id, message->uid,
				  &locked->buried);
	else
		rst_spares_add(locked->spares, message);
}

/* @return whether it is to be given out */
static bool take_held(struct rst_locked *locked)
{
	const struct rst_message *message = &locked->message;

	switch (rst_held_state(locked->held, message)) {
	case RST_HELD_LEFT:
		seq_range_array_add(&locked->buried, message->uid);
		return FALSE;
	case RST_HELD_KEY_LEFT:
		rst_spares_remove(locked->spares, message->id, message->uid,
				  &locked->buried);
		return FALSE;
	case RST_HELD_DOUBLE:
		found_double(locked);
		return FALSE;
	case RST_HELD_STILL:
		break;
	}
	if (!message->incomplete &&
	    rst_held_key_counts(locked->hold, message->key))
		rst_spares_remove_incomplete(locked->spares, message->key,
					     &locked->buried);
	complete_held(locked);
	return TRUE;
}

/* @return whether it is to be given out */
static bool read_current(struct rst_locked *locked)
{
	struct mail_user *user = locked->hold->user;
	const char *error;
	int ret;

	ret = rst_message_read(locked->mail, user->username, &locked->message,
			       &error);
	if (ret < 0)
		e_error(user->event,
			"Held message uid=%u cannot be read and stays: %s",
			locked->mail->uid, error);
	if (ret <= 0)
		return FALSE;
	rst_message_mark(locked->mail, &locked->message);
	if (take_held(locked))
		return TRUE;
	rst_message_clear(&locked->message);
	return FALSE;
}

/* The size, without a look at the octets; 0 where it cannot be told. */
static uoff_t current_octets(struct rst_locked *locked)
{
	struct mail *mail = locked->mail;
	uoff_t octets;
	int ret;

	/* mostly the cache has had it since the mail was saved */
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NOT_IN_CACHE;
	ret = mail_get_virtual_size(mail, &octets);
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NEVER;
	if (ret < 0)
		ret = mail_get_physical_size(mail, &octets);
	return ret < 0 ? 0 : octets;
}

/* Go to the next message in order of arrival. @return FALSE: there is none */
static bool walk(struct rst_locked *locked)
{
	bool found = FALSE;

	while (!found && locked->next_seq != 0 &&
	       locked->next_seq <= locked->last_seq &&
	       (!locked->place->small_first ||
		rst_order_may_pass(locked->order)))
		T_BEGIN
		{
			mail_set_seq(locked->mail, locked->next_seq++);
			locked->place->uid = locked->mail->uid;
			found = !locked->place->small_first ||
				!rst_order_put_off(locked->order,
						   locked->mail->uid,
						   current_octets(locked),
						   locked->last_uid);
		}
	T_END;
	return found;
}

/* Go to the next message. Messages that were put off also wait for those that
   have come meanwhile. @return 1; 0: there is none; -1 */
static int step(struct rst_locked *locked, const char **error_r)
{
	bool fresh = locked->mail == NULL;
	uint32_t uid;

	for (;;) {
		if (open_view(locked, error_r) < 0)
			return -1;
		if (walk(locked))
			return 1;
		if (!locked->place->small_first)
			return 0;
		if (!fresh && rst_order_waits(locked->order) &&
		    rst_order_may_pass(locked->order)) {
			close_view(locked);
			fresh = TRUE;
		} else if (!rst_order_take(locked->order, &uid)) {
			return 0;
		} else if (mail_set_uid(locked->mail, uid)) {
			return 1;
		}
	}
}

int rst_locked_next(struct rst_locked *locked, struct rst_message **message_r,
		    const char **error_r)
{
	bool found = FALSE;
	int ret;

	rst_message_clear(&locked->message);
	while (!found && (ret = step(locked, error_r)) > 0)
		found = read_current(locked);
	if (!found && ret < 0)
		return -1;
	if (!found && locked->place->from_start)
		locked->listed_all = TRUE;
	if (!found)
		rst_spares_warn(locked->spares);
	*message_r = &locked->message;
	return found ? 1 : 0;
}

int rst_locked_get(struct rst_locked *locked, uint32_t uid,
		   struct rst_message **message_r, const char **error_r)
{
	if (open_view(locked, error_r) < 0)
		return -1;
	*message_r = &locked->message;
	if (!mail_set_uid(locked->mail, uid))
		return 0;
	return rst_message_read(locked->mail, locked->hold->user->username,
				&locked->message, error_r);
}

static void go_to(struct rst_locked *locked, struct place *place)
{
	close_view(locked);
	locked->place = place;
}

void rst_locked_drain(struct rst_locked *locked)
{
	go_to(locked, &locked->drain);
	locked->drain.uid = 0;
	locked->drain.from_start = TRUE;
	rst_order_clear(locked->order);
}

void rst_locked_go_on(struct rst_locked *locked)
{
	go_to(locked, &locked->drain);
}

void rst_locked_rewind(struct rst_locked *locked)
{
	go_to(locked, &locked->other);
	locked->other.uid = 0;
	rst_dates_restart(locked->dates);
}

/* ---- fallback delivery */

int rst_locked_begin_attempt(struct rst_locked *locked,
			     const struct rst_message *message,
			     const char **error_r)
{
	return rst_held_open_attempt(locked->held, message, error_r);
}

int rst_locked_resolve(struct rst_locked *locked, const char **error_r)
{
	return rst_held_resolve(locked->held, error_r);
}

bool rst_locked_is_attempted(const struct rst_locked *locked, const char *id)
{
	return rst_held_is_attempted(locked->held, id);
}

bool rst_locked_is_unresolved(const struct rst_locked *locked)
{
	return rst_held_is_unresolved(locked->held);
}

/* ---- removing */

void rst_locked_bury(struct rst_locked *locked, const char *id,
		     const unsigned char key[RST_KEY_SIZE], uint32_t uid)
{
	rst_held_bury(locked->held, id, key);
	seq_range_array_add(&locked->fresh, uid);
	rst_spares_forget(locked->spares, uid);
}

int rst_locked_commit(struct rst_locked *locked, const char **error_r)
{
	int ret = rst_held_commit(locked->held, error_r);

	if (ret == 0)
		seq_range_array_merge(&locked->buried, &locked->fresh);
	array_clear(&locked->fresh);
	return ret;
}

static int mark_expunged(struct rst_locked *locked, const char **error_r)
{
	struct mailbox *box = locked->hold->box;
	struct mailbox_transaction_context *trans;
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int n = 0;
	uint32_t uid;

	trans = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	seq_range_array_iter_init(&iter, &locked->buried);
	while (seq_range_array_iter_nth(&iter, n++, &uid))
		if (mail_set_uid(mail, uid))
			mail_expunge(mail);
	mail_free(&mail);
	if (mailbox_transaction_commit(&trans) == 0)
		return 0;
	*error_r = rst_mailbox_error(box);
	return -1;
}

static int expunge_uids(struct rst_locked *locked, const char **error_r)
{
	struct rst_hold *hold = locked->hold;
	int ret;

	if (rst_hold_renew(hold, error_r) < 0 ||
	    rst_mailbox_expungeable(hold->box, error_r) < 0 ||
	    mark_expunged(locked, error_r) < 0)
		return -1;
	ret = rst_hold_renew(hold, error_r);
	if (ret > 0)
		*error_r = "the index could not be written";
	if (ret != 0)
		return -1;
	return rst_mailbox_sync(hold->box, 0, error_r);
}

int rst_locked_expunge(struct rst_locked *locked, const char **error_r)
{
	rst_spares_remove_left(locked->spares, locked->held, &locked->buried);
	if (array_count(&locked->buried) == 0)
		return 0;
	close_view(locked);
	if (expunge_uids(locked, error_r) < 0 ||
	    rst_mailbox_fsync(locked->hold->box, error_r) < 0)
		return -1;
	array_clear(&locked->buried);
	rst_entry_set_full(locked->hold, FALSE);
	return 0;
}

bool rst_locked_is_buried(const struct rst_locked *locked, const char *id)
{
	return rst_held_has_left(locked->held, id);
}

/* ---- what is left */

int rst_locked_next_due(struct rst_locked *locked, time_t *due_r,
			const char **error_r)
{
	close_view(locked);
	if (rst_hold_renew(locked->hold, error_r) < 0)
		return -1;
	return rst_look_next_due(locked->hold, due_r, error_r);
}

int rst_locked_count(struct rst_locked *locked,
		     struct rst_hold_status *status_r, const char **error_r)
{
	close_view(locked);
	return rst_look_count(locked->hold, status_r, error_r);
}
