/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "hash.h"
#include "mail-user.h"
#include "common/settings.h"
#include "fallback/fallback.h"
#include "fallback/lmtp.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/message.h"
#include "marks.h"
#include "restante/hold-server.h"

struct lease {
	char *id;
	uint32_t uid;
	unsigned char key[RST_KEY_SIZE];
};

struct mark {
	char *id;
	char *refused; /* NULL: ACK */
	bool decided;
	char *kept; /* decided: why it stays; NULL: it is gone */
};

struct rst_marks {
	const struct rst_hold *hold;
	struct rst_locked *locked;
	HASH_TABLE(char *, struct lease *) leases;
	ARRAY(struct mark) marks;
	unsigned int pending; /* how many, at the end of marks */
};

struct rst_marks *rst_marks_new(const struct rst_hold *hold,
				struct rst_locked *locked)
{
	struct rst_marks *marks = i_new(struct rst_marks, 1);

	marks->hold = hold;
	marks->locked = locked;
	hash_table_create(&marks->leases, default_pool, 0, str_hash, strcmp);
	i_array_init(&marks->marks, 64);
	return marks;
}

static void lease_free(struct lease *lease)
{
	i_free(lease->id);
	i_free(lease);
}

static void clear_marks(struct rst_marks *marks)
{
	struct mark *mark;

	array_foreach_modifiable(&marks->marks, mark)
	{
		i_free(mark->id);
		i_free(mark->refused);
		i_free(mark->kept);
	}
	array_clear(&marks->marks);
	marks->pending = 0;
}

void rst_marks_free(struct rst_marks **_marks)
{
	struct rst_marks *marks = *_marks;
	struct hash_iterate_context *iter;
	struct lease *lease;
	char *id;

	if (marks == NULL)
		return;
	*_marks = NULL;
	clear_marks(marks);
	array_free(&marks->marks);
	iter = hash_table_iterate_init(marks->leases);
	while (hash_table_iterate(iter, marks->leases, &id, &lease))
		lease_free(lease);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&marks->leases);
	i_free(marks);
}

/* ---- leases */

bool rst_marks_lease(struct rst_marks *marks, const struct rst_message *message)
{
	struct lease *lease = hash_table_lookup(marks->leases, message->id);

	if (lease != NULL)
		return lease->uid == message->uid;
	lease = i_new(struct lease, 1);
	lease->id = i_strdup(message->id);
	lease->uid = message->uid;
	memcpy(lease->key, rst_message_key(message), RST_KEY_SIZE);
	hash_table_insert(marks->leases, lease->id, lease);
	return TRUE;
}

bool rst_marks_is_leased(const char *id, void *context)
{
	struct rst_marks *marks = context;

	return hash_table_lookup(marks->leases, id) != NULL;
}

static void end_lease(struct rst_marks *marks, const char *id)
{
	struct lease *lease = hash_table_lookup(marks->leases, id);

	if (lease == NULL)
		return;
	hash_table_remove(marks->leases, lease->id);
	lease_free(lease);
}

/* ---- marks */

void rst_marks_add(struct rst_marks *marks, struct rst_str id,
		   const struct rst_str *refused)
{
	struct mark mark;

	i_zero(&mark);
	mark.id = i_strndup(id.p, id.n);
	if (refused != NULL)
		mark.refused = i_strndup(refused->p, refused->n);
	array_push_back(&marks->marks, &mark);
	marks->pending++;
}

unsigned int rst_marks_pending(const struct rst_marks *marks)
{
	return marks->pending;
}

static void decide(struct mark *mark, const char *kept)
{
	if (mark->decided)
		return;
	mark->decided = TRUE;
	mark->kept = i_strdup(kept);
}

static struct mark *pending_marks(struct rst_marks *marks, unsigned int *count)
{
	*count = marks->pending;
	if (*count == 0)
		return NULL;
	return array_idx_modifiable(&marks->marks,
				    array_count(&marks->marks) - *count);
}

static void decide_rest(struct rst_marks *marks, const char *kept)
{
	unsigned int count, i;
	struct mark *mark = pending_marks(marks, &count);

	for (i = 0; i < count; i++)
		decide(&mark[i], kept);
}

/* ---- ids that this connection was not given */

/* A dialler that did not hear the answer repeats its ACK on another connection,
   where the message may not have been listed yet. */
static int lease_unlisted(struct rst_marks *marks, const char **error_r)
{
	HASH_TABLE(char *, struct mark *) unlisted;
	unsigned int count, i;
	struct mark *mark = pending_marks(marks, &count);
	struct rst_message *message;
	int ret = 0;

	hash_table_create(&unlisted, default_pool, 0, str_hash, strcmp);
	for (i = 0; i < count; i++)
		if (hash_table_lookup(marks->leases, mark[i].id) == NULL &&
		    !rst_locked_is_buried(marks->locked, mark[i].id))
			hash_table_update(unlisted, mark[i].id, &mark[i]);
	if (hash_table_count(unlisted) > 0) {
		rst_locked_rewind(marks->locked);
		while ((ret = rst_locked_next(marks->locked, &message,
					      error_r)) > 0)
			if (hash_table_lookup(unlisted, message->id) != NULL)
				(void)rst_marks_lease(marks, message);
		rst_locked_go_on(marks->locked);
	}
	hash_table_destroy(&unlisted);
	return ret;
}

/* ---- carrying out */

static void deliver_one(struct rst_marks *marks, struct rst_lmtp *lmtp,
			struct mark *mark, uint32_t uid)
{
	struct rst_message *message;
	const char *reply;
	int ret;

	ret = rst_locked_get(marks->locked, uid, &message, &reply);
	if (ret == 0)
		decide(mark, NULL);
	else if (ret < 0 || !rst_fallback_one(lmtp, marks->locked, message,
					      mark->refused, &reply))
		decide(mark, reply);
	else
		decide(mark, NULL);
}

static void deliver_refused(struct rst_marks *marks)
{
	unsigned int count, i;
	struct mark *mark = pending_marks(marks, &count);
	struct rst_lmtp *lmtp = NULL;

	for (i = 0; i < count; i++)
		T_BEGIN
		{
			struct lease *lease =
				hash_table_lookup(marks->leases, mark[i].id);

			/* the same message may be marked twice */
			if (mark[i].refused != NULL && lease != NULL &&
			    !rst_locked_is_buried(marks->locked, mark[i].id)) {
				if (lmtp == NULL)
					lmtp = rst_lmtp_new(
						marks->hold->user->event,
						marks->hold->settings
							->release_socket);
				deliver_one(marks, lmtp, &mark[i], lease->uid);
			}
		}
	T_END;
	rst_lmtp_free(&lmtp);
}

static int bury_acked(struct rst_marks *marks, const char **error_r)
{
	unsigned int count, i;
	struct mark *mark = pending_marks(marks, &count);

	for (i = 0; i < count; i++) {
		struct lease *lease =
			hash_table_lookup(marks->leases, mark[i].id);

		if (mark[i].refused == NULL && lease != NULL)
			rst_locked_bury(marks->locked, lease->id, lease->key,
					lease->uid);
	}
	return rst_locked_commit(marks->locked, error_r);
}

static int carry_out(struct rst_marks *marks, const char **error_r)
{
	if (lease_unlisted(marks, error_r) < 0)
		return -1;
	deliver_refused(marks);
	if (bury_acked(marks, error_r) < 0)
		return -1;
	return rst_locked_expunge(marks->locked, error_r);
}

void rst_marks_carry_out(struct rst_marks *marks)
{
	unsigned int count, i;
	struct mark *mark = pending_marks(marks, &count);
	const char *error = NULL;

	if (count == 0)
		return;
	if (marks->locked != NULL && carry_out(marks, &error) < 0)
		e_error(marks->hold->user->event,
			"%u held messages could not be removed: %s", count,
			error);
	decide_rest(marks, error);
	for (i = 0; i < count; i++)
		if (mark[i].kept == NULL)
			end_lease(marks, mark[i].id);
	marks->pending = 0;
}

void rst_marks_answer(struct rst_marks *marks, struct rst_hold_server *server)
{
	const struct mark *mark;

	i_assert(marks->pending == 0);
	array_foreach(&marks->marks, mark)
	{
		if (mark->kept == NULL)
			rst_hold_server_gone(server, rst_str(mark->id));
		else
			rst_hold_server_kept(server, rst_str(mark->id),
					     mark->kept);
	}
	clear_marks(marks);
}
