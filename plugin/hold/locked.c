/* SPDX-License-Identifier: MIT */
/*
 * The mailbox is looked at through a view: a transaction and one mail in it.
 * No sync may happen while it is open, so whatever syncs closes it first, and
 * the next read opens it again, after the uid it had come to.
 *
 * A drain walks in order of arrival, too, past the large ones, which it puts
 * off: so its first message is there at once, and needs no list of the others.
 */
#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "hash.h"
#include "ioloop.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "seq-range-array.h"
#include "attempts.h"
#include "common/settings.h"
#include "dates.h"
#include "hold.h"
#include "locked.h"
#include "look.h"
#include "order.h"
#include "tombstones.h"

/* What goes when a whole message of its key is there or has left: itself
   incomplete, or there twice, and then only when the other has left. */
struct spare {
	const char *id;
	unsigned char key[RST_KEY_SIZE];
	uint32_t uid;
	bool incomplete;
	uoff_t octets, expected;
	bool logged;
};

/* How far a walk has come. */
struct place {
	uint32_t uid;    /* up to this one they have been given, or put off */
	bool from_start; /* of the hold */
	bool small_first;
};

struct rst_locked {
	struct mail_user *user;
	const struct rst_settings *set;
	struct mailbox *box;
	struct file_lock *lock;
	struct rst_tombstones *tombstones;
	struct rst_attempts *attempts;
	struct rst_dates *clock;
	const char *dir; /* of their files */
	pool_t pool;
	/* uid of the message of this key that is given out */
	HASH_TABLE(unsigned char *, void *) keys;

	/* the view; NULL: closed */
	struct mailbox_transaction_context *trans;
	struct mail *mail;
	uint32_t next_seq, last_seq, last_uid;
	struct rst_held held;

	struct place drain, other;
	struct place *place;         /* one of these */
	struct rst_order *order;     /* what the drain has put off */
	bool listed_all;             /* whatever has a tombstone is in buried */
	ARRAY_TYPE(seq_range) fresh; /* buried, tombstone not committed */
	ARRAY_TYPE(seq_range) buried; /* to be expunged */
	ARRAY(struct spare) spares;
};

/* ---- opening */

static int open_logs(struct rst_locked *store, const char **error_r)
{
	const char *dir;

	if (rst_hold_mailbox_dir(store->box, &dir, error_r) < 0)
		return -1;
	store->dir = p_strdup(store->pool, dir);
	store->clock = rst_dates_new(dir);
	if (rst_tombstones_open(dir, &store->tombstones, error_r) < 0)
		return -1;
	return rst_locked_settle(store, error_r);
}

static int lock_and_open(struct rst_locked *store, const char **error_r)
{
	int ret;

	ret = rst_hold_mailbox_lock(store->box, RST_LOCK_DRAIN, 0, &store->lock,
				    error_r);
	if (ret > 0 && open_logs(store, error_r) < 0)
		ret = -1;
	return ret;
}

static struct rst_locked *create(struct mail_user *user,
				 const struct rst_settings *set,
				 struct mailbox *box)
{
	struct rst_locked *store = i_new(struct rst_locked, 1);

	store->user = user;
	store->set = set;
	store->box = box;
	store->drain.small_first = TRUE;
	store->other.from_start = TRUE;
	store->place = &store->other;
	store->order = rst_order_new();
	store->pool = pool_alloconly_create("hold store", 1024);
	hash_table_create(&store->keys, store->pool, 0, rst_key_hash,
			  rst_key_cmp);
	i_array_init(&store->fresh, 16);
	i_array_init(&store->buried, 64);
	i_array_init(&store->spares, 4);
	return store;
}

int rst_locked_open(struct mail_user *user, const struct rst_settings *set,
		    struct rst_locked **store_r, const char **error_r)
{
	struct rst_locked *store;
	struct mailbox *box;
	int ret;

	*store_r = NULL;
	ret = rst_hold_mailbox_open(user, set, 0, set->enrolled, &box, error_r);
	if (ret <= 0)
		return ret < 0 ? -1 : 1;
	store = create(user, set, box);
	ret = lock_and_open(store, error_r);
	if (ret <= 0)
		rst_locked_close(&store);
	*store_r = store;
	return ret;
}

static void close_view(struct rst_locked *store)
{
	rst_held_clear(&store->held);
	if (store->mail != NULL)
		mail_free(&store->mail);
	/* nothing was changed in it but the cache */
	if (store->trans != NULL)
		(void)mailbox_transaction_commit(&store->trans);
}

/* Old tombstones are of use as long as their messages may be here. */
static void trim_logs(struct rst_locked *store)
{
	time_t oldest = ioloop_time - (time_t)rst_hold_keep_secs(store->set);
	const char *error;

	if (!store->listed_all || array_count(&store->buried) > 0)
		return;
	rst_dates_clean(store->clock);
	if (rst_tombstones_trim(store->tombstones, oldest, &error) < 0)
		e_error(store->user->event, "%s", error);
}

void rst_locked_close(struct rst_locked **_store)
{
	struct rst_locked *store = *_store;

	if (store == NULL)
		return;
	*_store = NULL;
	close_view(store);
	trim_logs(store);
	rst_tombstones_close(&store->tombstones);
	rst_attempts_free(&store->attempts);
	rst_dates_free(&store->clock);
	rst_order_free(&store->order);
	if (store->lock != NULL)
		file_lock_free(&store->lock);
	mailbox_free(&store->box);
	array_free(&store->fresh);
	array_free(&store->buried);
	array_free(&store->spares);
	hash_table_destroy(&store->keys);
	pool_unref(&store->pool);
	i_free(store);
}

/* ---- reading */

static int open_view(struct rst_locked *store, const char **error_r)
{
	rst_held_clear(&store->held);
	if (store->mail != NULL)
		return 0;
	if (rst_mailbox_sync(store->box, 0, error_r) < 0)
		return -1;
	/* 0 where no message has such a uid */
	mailbox_get_seq_range(store->box, store->place->uid + 1, (uint32_t)-1,
			      &store->next_seq, &store->last_seq);
	store->trans = mailbox_transaction_begin(store->box, 0, __func__);
	store->mail =
		mail_alloc(store->trans,
			   MAIL_FETCH_STREAM_HEADER | MAIL_FETCH_STREAM_BODY |
				   MAIL_FETCH_RECEIVED_DATE,
			   NULL);
	if (store->next_seq != 0) {
		mail_set_seq(store->mail, store->last_seq);
		store->last_uid = store->mail->uid;
	}
	return 0;
}

/* ---- what is incomplete, or there twice */

static struct spare *find_spare(struct rst_locked *store, uint32_t uid)
{
	struct spare *spare;

	array_foreach_modifiable(&store->spares, spare)
	{
		if (spare->uid == uid)
			return spare;
	}
	return NULL;
}

static void add_spare(struct rst_locked *store)
{
	const struct rst_held *held = &store->held;
	struct spare *spare;

	if (find_spare(store, held->uid) != NULL)
		return;
	spare = array_append_space(&store->spares);
	spare->id = p_strdup(store->pool, held->id);
	memcpy(spare->key, held->key, RST_KEY_SIZE);
	spare->uid = held->uid;
	spare->incomplete = held->incomplete;
	spare->octets = held->octets;
	spare->expected = held->expected;
}

static void forget_spare(struct rst_locked *store, uint32_t uid)
{
	struct spare *spare = find_spare(store, uid);

	if (spare != NULL)
		array_delete(&store->spares,
			     array_ptr_to_idx(&store->spares, spare), 1);
}

static void bury_spare(struct rst_locked *store, const char *id, uint32_t uid)
{
	e_info(store->user->event, "already have it, removed: id=%s uid=%u", id,
	       uid);
	seq_range_array_add(&store->buried, uid);
	forget_spare(store, uid);
}

/* There is a whole message of this key. */
static void bury_incomplete(struct rst_locked *store, const unsigned char *key)
{
	unsigned int i = array_count(&store->spares);

	while (i-- > 0) {
		const struct spare *spare = array_idx(&store->spares, i);

		if (spare->incomplete &&
		    memcmp(spare->key, key, RST_KEY_SIZE) == 0)
			bury_spare(store, spare->id, spare->uid);
	}
}

/* Those whose key has got a tombstone since they were seen. */
static void bury_spares(struct rst_locked *store)
{
	unsigned int i = array_count(&store->spares);

	while (!store->set->test_no_dedup && i-- > 0) {
		const struct spare *spare = array_idx(&store->spares, i);

		if (rst_tombstones_has_key(store->tombstones, spare->key))
			bury_spare(store, spare->id, spare->uid);
	}
}

static void log_incomplete(struct rst_locked *store)
{
	struct spare *spare;

	array_foreach_modifiable(&store->spares, spare)
	{
		if (spare->incomplete && !spare->logged)
			e_warning(store->user->event,
				  "Held message is incomplete and stays: id=%s "
				  "uid=%u octets=%" PRIuUOFF_T " expected=%s",
				  spare->id, spare->uid, spare->octets,
				  spare->expected == UOFF_T_MAX
					  ? "?"
					  : dec2str(spare->expected));
		spare->logged = TRUE;
	}
}

/*
 * A message of the same key is the same message, under another id: it was
 * saved twice in spite of all, as when a damaged index was rebuilt and has
 * found what a crash had left. The other one has left, or it is still here and
 * this one goes after it.
 */
static bool is_double(struct rst_locked *store)
{
	const struct rst_held *held = &store->held;
	unsigned char *key;
	void *uid;

	if (store->set->test_no_dedup || rst_key_is_zero(held->key))
		return FALSE;
	if (rst_tombstones_has_key(store->tombstones, held->key)) {
		bury_spare(store, held->id, held->uid);
		return TRUE;
	}
	uid = hash_table_lookup(store->keys, (const unsigned char *)held->key);
	if (uid != NULL && POINTER_CAST_TO(uid, uint32_t) == held->uid)
		return FALSE;
	if (uid != NULL && held->incomplete)
		bury_spare(store, held->id, held->uid);
	else if (uid != NULL)
		add_spare(store);
	if (uid != NULL)
		return TRUE;
	if (held->incomplete)
		return FALSE;
	bury_incomplete(store, held->key);
	key = p_memdup(store->pool, held->key, RST_KEY_SIZE);
	hash_table_insert(store->keys, key, POINTER_CAST(held->uid));
	return FALSE;
}

static void complete_held(struct rst_locked *store)
{
	struct rst_held *held = &store->held;

	held->attempted = rst_locked_is_attempted(store, held->id);
	if (held->incomplete) {
		/* its own date may be anything */
		add_spare(store);
		return;
	}
	/* its place in order of arrival is not known in a drain */
	held->received =
		store->place->small_first
			? rst_dates_seen(store->clock, held->id, held->received,
					 ioloop_time)
			: rst_dates_arrival(store->clock, held->id,
					    held->received, ioloop_time);
}

/* @return whether it is to be given out */
static bool read_current(struct rst_locked *store)
{
	const char *error;
	int ret;

	ret = rst_held_read(store->mail, store->user->username, &store->held,
			    &error);
	if (ret < 0)
		e_error(store->user->event,
			"Held message uid=%u cannot be read and stays: %s",
			store->mail->uid, error);
	if (ret <= 0)
		return FALSE;
	if (rst_tombstones_has(store->tombstones, store->held.id)) {
		seq_range_array_add(&store->buried, store->held.uid);
	} else if (!is_double(store)) {
		complete_held(store);
		return TRUE;
	}
	rst_held_clear(&store->held);
	return FALSE;
}

/* Without a look at its octets. What has no size that can be read is small. */
static uoff_t current_octets(struct rst_locked *store)
{
	struct mail *mail = store->mail;
	uoff_t octets;
	int ret;

	/* the cache has it since the mail was saved, mostly */
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NOT_IN_CACHE;
	ret = mail_get_virtual_size(mail, &octets);
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NEVER;
	if (ret < 0)
		ret = mail_get_physical_size(mail, &octets);
	return ret < 0 ? 0 : octets;
}

/* To the next message in order of arrival. @return FALSE: there is none */
static bool walk(struct rst_locked *store)
{
	bool found = FALSE;

	while (!found && store->next_seq != 0 &&
	       store->next_seq <= store->last_seq &&
	       (!store->place->small_first || rst_order_may_pass(store->order)))
		T_BEGIN
		{
			mail_set_seq(store->mail, store->next_seq++);
			store->place->uid = store->mail->uid;
			found = !store->place->small_first ||
				!rst_order_put_off(
					store->order, store->mail->uid,
					current_octets(store), store->last_uid);
		}
	T_END;
	return found;
}

/* To the next message. What was put off waits for what has come meanwhile,
   too. @return 1; 0: there is none; -1 */
static int step(struct rst_locked *store, const char **error_r)
{
	bool fresh = store->mail == NULL;
	uint32_t uid;

	for (;;) {
		if (open_view(store, error_r) < 0)
			return -1;
		if (walk(store))
			return 1;
		if (!store->place->small_first)
			return 0;
		if (!fresh && rst_order_waits(store->order) &&
		    rst_order_may_pass(store->order)) {
			close_view(store);
			fresh = TRUE;
		} else if (!rst_order_take(store->order, &uid)) {
			return 0;
		} else if (mail_set_uid(store->mail, uid)) {
			return 1;
		}
	}
}

int rst_locked_next(struct rst_locked *store, struct rst_held **held_r,
		    const char **error_r)
{
	bool found = FALSE;
	int ret;

	rst_held_clear(&store->held);
	while (!found && (ret = step(store, error_r)) > 0)
		found = read_current(store);
	if (!found && ret < 0)
		return -1;
	if (!found && store->place->from_start)
		store->listed_all = TRUE;
	if (!found)
		log_incomplete(store);
	*held_r = &store->held;
	return found ? 1 : 0;
}

int rst_locked_get(struct rst_locked *store, uint32_t uid,
		   struct rst_held **held_r, const char **error_r)
{
	if (open_view(store, error_r) < 0)
		return -1;
	*held_r = &store->held;
	if (!mail_set_uid(store->mail, uid))
		return 0;
	return rst_held_read(store->mail, store->user->username, &store->held,
			     error_r);
}

static void go_to(struct rst_locked *store, struct place *place)
{
	close_view(store);
	store->place = place;
}

void rst_locked_drain(struct rst_locked *store)
{
	go_to(store, &store->drain);
	store->drain.uid = 0;
	store->drain.from_start = TRUE;
	rst_order_clear(store->order);
}

void rst_locked_go_on(struct rst_locked *store)
{
	go_to(store, &store->drain);
}

void rst_locked_rewind(struct rst_locked *store)
{
	go_to(store, &store->other);
	store->other.uid = 0;
	rst_dates_restart(store->clock);
}

/* ---- fallback delivery */

int rst_locked_begin_attempt(struct rst_locked *store,
			     const struct rst_held *held, const char **error_r)
{
	return rst_attempt_write(store->dir, held->id, rst_held_key(held),
				 RST_ATTEMPT_OPEN, FALSE, error_r);
}

struct settling {
	struct rst_locked *store;
	bool locked;
	const char *error;
};

static int settle_one(const char *id, const unsigned char key[RST_KEY_SIZE],
		      enum rst_attempt state, void *context)
{
	struct settling *s = context;

	if (state == RST_ATTEMPT_DELIVERED)
		rst_tombstones_add(s->store->tombstones, id, key, ioloop_time);
	if (state != RST_ATTEMPT_OPEN || !s->locked)
		return 0;
	/* whoever begins it now will see this first */
	return rst_attempt_write(s->store->dir, id, key, RST_ATTEMPT_FAILED,
				 FALSE, &s->error);
}

static bool is_held_still(const char *id, void *context)
{
	struct rst_locked *store = context;

	return !rst_tombstones_has(store->tombstones, id);
}

static int read_attempts(struct rst_locked *store, const char **error_r)
{
	rst_attempts_free(&store->attempts);
	return rst_attempts_read(store->dir, &store->attempts, error_r);
}

static int settle(struct settling *s)
{
	struct rst_locked *store = s->store;

	if (read_attempts(store, &s->error) < 0 ||
	    rst_attempts_each(store->attempts, settle_one, s) < 0 ||
	    rst_tombstones_commit(store->tombstones, &s->error) < 0 ||
	    read_attempts(store, &s->error) < 0)
		return -1;
	return !s->locked ? 0
			  : rst_attempts_trim(store->attempts, store->dir,
					      is_held_still, store, &s->error);
}

int rst_locked_settle(struct rst_locked *store, const char **error_r)
{
	struct settling s = {.store = store};
	struct file_lock *lock = NULL;
	int ret;

	if (read_attempts(store, error_r) < 0)
		return -1;
	if (!rst_attempts_any(store->attempts))
		return 0;
	ret = rst_hold_mailbox_lock(store->box, RST_LOCK_RELEASE, 0, &lock,
				    error_r);
	if (ret < 0)
		return -1;
	/* else LMTP is at it at this moment: its outcome is seen next time */
	s.locked = ret > 0;
	ret = settle(&s);
	if (ret < 0)
		*error_r = s.error;
	if (lock != NULL)
		file_lock_free(&lock);
	return ret;
}

static int is_open_or_begun(const char *id ATTR_UNUSED,
			    const unsigned char key[RST_KEY_SIZE] ATTR_UNUSED,
			    enum rst_attempt state, void *context ATTR_UNUSED)
{
	return state == RST_ATTEMPT_OPEN || state == RST_ATTEMPT_BEGUN ? -1 : 0;
}

bool rst_locked_is_attempted(const struct rst_locked *store, const char *id)
{
	return rst_attempts_state(store->attempts, id) != RST_ATTEMPT_NONE;
}

bool rst_locked_is_unsettled(const struct rst_locked *store)
{
	return rst_attempts_each(store->attempts, is_open_or_begun, NULL) < 0;
}

/* ---- removing */

void rst_locked_bury(struct rst_locked *store, const char *id,
		     const unsigned char key[RST_KEY_SIZE], uint32_t uid)
{
	rst_tombstones_add(store->tombstones, id, key, ioloop_time);
	seq_range_array_add(&store->fresh, uid);
	forget_spare(store, uid);
}

int rst_locked_commit(struct rst_locked *store, const char **error_r)
{
	int ret = rst_tombstones_commit(store->tombstones, error_r);

	if (ret == 0)
		seq_range_array_merge(&store->buried, &store->fresh);
	array_clear(&store->fresh);
	return ret;
}

static int mark_expunged(struct rst_locked *store, const char **error_r)
{
	struct mailbox_transaction_context *trans;
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int n = 0;
	uint32_t uid;

	trans = mailbox_transaction_begin(store->box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	seq_range_array_iter_init(&iter, &store->buried);
	while (seq_range_array_iter_nth(&iter, n++, &uid))
		if (mail_set_uid(mail, uid))
			mail_expunge(mail);
	mail_free(&mail);
	if (mailbox_transaction_commit(&trans) == 0)
		return 0;
	*error_r = rst_mailbox_error(store->box);
	return -1;
}

static int renew(struct rst_locked *store, const char **error_r)
{
	return rst_hold_mailbox_renew(store->user, store->set, &store->box,
				      error_r);
}

static int expunge_uids(struct rst_locked *store, const char **error_r)
{
	int ret;

	if (renew(store, error_r) < 0 ||
	    rst_mailbox_expungeable(store->box, error_r) < 0 ||
	    mark_expunged(store, error_r) < 0)
		return -1;
	ret = renew(store, error_r);
	if (ret > 0)
		*error_r = "the index could not be written";
	if (ret != 0)
		return -1;
	return rst_mailbox_sync(store->box, 0, error_r);
}

int rst_locked_expunge(struct rst_locked *store, const char **error_r)
{
	bury_spares(store);
	if (array_count(&store->buried) == 0)
		return 0;
	close_view(store);
	if (expunge_uids(store, error_r) < 0 ||
	    rst_hold_mailbox_fsync(store->box, error_r) < 0)
		return -1;
	array_clear(&store->buried);
	return 0;
}

bool rst_locked_is_buried(const struct rst_locked *store, const char *id)
{
	return rst_tombstones_has(store->tombstones, id);
}

int rst_locked_due(struct rst_locked *store, time_t *due_r,
		   const char **error_r)
{
	close_view(store);
	if (renew(store, error_r) < 0)
		return -1;
	return rst_hold_next_due(store->user, store->set, store->box, due_r,
				 error_r);
}

int rst_locked_status(struct rst_locked *store,
		      struct rst_hold_status *status_r, const char **error_r)
{
	close_view(store);
	return rst_hold_count(store->user, store->set, store->box, status_r,
			      error_r);
}
