/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "common/settings.h"
#include "fallback.h"
#include "hold/attempts.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/message.h"
#include "lmtp.h"
#include "overflow.h"

/* tombstones are durable one by one; files go in batches */
#define EXPUNGE_BATCH 100

static bool attempt(struct mail_user *user, struct rst_lmtp *lmtp,
		    struct rst_locked *store, struct rst_held *held,
		    const char *refused, const char **reply_r)
{
	const struct rst_lmtp_mail mail = {
		.mail_from = held->mail_from,
		.rcpt_to = held->rcpt_to,
		.input = held->input,
		.trace = rst_attempt_field(
			held->id,
			mail_user_set_get_storage_set(user)->hostname),
		.refused = refused,
	};
	const char *error;

	if (rst_locked_begin_attempt(store, held, reply_r) < 0)
		return FALSE;
	if (rst_lmtp_deliver(lmtp, &mail, reply_r))
		return TRUE;
	/* it may go another way now, if it has not begun */
	if (rst_locked_settle(store, &error) < 0)
		*reply_r = t_strdup_printf("%s; %s", *reply_r, error);
	return rst_locked_is_buried(store, held->id);
}

/* It has failed too long. Not while it may have been delivered all the same. */
static bool overflow(struct mail_user *user, const struct rst_settings *set,
		     struct rst_locked *store, struct rst_held *held,
		     const char **reply_r)
{
	const char *error, *reply = *reply_r;
	time_t received = held->received;

	if (!rst_overflow_is_due(set, held) ||
	    rst_locked_is_attempted(store, held->id))
		return FALSE;
	/* LMTP has read some of it */
	if (rst_locked_get(store, held->uid, &held, &error) <= 0)
		return FALSE;
	held->received = received;
	if (rst_overflow_save(user, set, held, &error) < 0) {
		*reply_r = t_strdup_printf("%s; and not into %s: %s", reply,
					   set->overflow_mailbox, error);
		return FALSE;
	}
	e_warning(user->event,
		  "Fallback delivery failed too long, moved to %s: id=%s "
		  "uid=%u: %s",
		  set->overflow_mailbox, held->id, held->uid, reply);
	return TRUE;
}

bool rst_fallback_one(struct mail_user *user, const struct rst_settings *set,
		      struct rst_lmtp *lmtp, struct rst_locked *store,
		      struct rst_held *held, const char *refused,
		      const char **reply_r)
{
	bool delivered = attempt(user, lmtp, store, held, refused, reply_r);

	if (!delivered && !overflow(user, set, store, held, reply_r)) {
		e_error(user->event,
			"Fallback delivery failed, still held: id=%s uid=%u: "
			"%s",
			held->id, held->uid, *reply_r);
		return FALSE;
	}
	rst_locked_bury(store, held->id, rst_held_key(held), held->uid);
	if (rst_locked_commit(store, reply_r) < 0) {
		e_error(user->event,
			"Delivered to the mailbox, but still held: id=%s "
			"uid=%u: %s",
			held->id, held->uid, *reply_r);
		return FALSE;
	}
	if (delivered)
		e_info(user->event, "delivered to the mailbox: id=%s uid=%u",
		       held->id, held->uid);
	return TRUE;
}

static bool is_wanted(const struct rst_fallback *release,
		      const struct rst_held *held)
{
	/* wherever it goes else, it might get there twice */
	if (held->attempted)
		return TRUE;
	if (release->leased != NULL &&
	    release->leased(held->id, release->context))
		return FALSE;
	if (held->incomplete && release->what != RST_RELEASE_ONE)
		return FALSE;
	switch (release->what) {
	case RST_RELEASE_ALL:
		return TRUE;
	case RST_RELEASE_EXPIRED:
		return rst_hold_due(release->set, held->received) <=
		       ioloop_time;
	case RST_RELEASE_ONE:
		return strcmp(held->id, release->id) == 0;
	case RST_RELEASE_BEGUN:
		return FALSE;
	}
	i_unreached();
}

static int expunge_batch(struct rst_locked *store, unsigned int *pending,
			 const char **error_r)
{
	if (++*pending < EXPUNGE_BATCH)
		return 0;
	*pending = 0;
	if (rst_locked_expunge(store, error_r) < 0)
		return -1;
	/* keeps the log of hand-overs short */
	return rst_locked_settle(store, error_r);
}

static int release_each(struct rst_fallback *release, struct rst_lmtp *lmtp,
			struct rst_locked *store, const char **error_r)
{
	unsigned int pending = 0;
	struct rst_held *held;
	const char *reply;
	bool ok;
	int ret;

	while ((ret = rst_locked_next(store, &held, error_r)) > 0) {

		if (!is_wanted(release, held))
			continue;
		T_BEGIN
		{
			ok = rst_fallback_one(release->user, release->set, lmtp,
					      store, held, NULL, &reply);
		}
		T_END;
		if (!ok) {
			release->failed++;
			/* then the others will not fare better */
			if (!rst_lmtp_is_up(lmtp))
				break;
			continue;
		}
		release->delivered++;
		if (expunge_batch(store, &pending, error_r) < 0)
			return -1;
	}
	if (ret < 0 || rst_locked_expunge(store, error_r) < 0)
		return -1;
	return release->delivered == 0 ? 0 : rst_locked_settle(store, error_r);
}

int rst_fallback_run(struct rst_fallback *release, struct rst_locked *store,
		     const char **error_r)
{
	struct rst_lmtp *lmtp;
	int ret;

	io_loop_time_refresh();
	lmtp = rst_lmtp_new(release->user->event, release->set->release_socket);
	rst_locked_rewind(store);
	ret = release_each(release, lmtp, store, error_r);
	rst_locked_go_on(store);
	rst_lmtp_free(&lmtp);
	return ret;
}
