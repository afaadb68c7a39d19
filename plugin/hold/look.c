/* SPDX-License-Identifier: MIT */
/*
 * The holder of the lock may remove a message at any time, and its file before
 * this process sees that in the index. So a message that cannot be read is
 * looked at again after a sync, which also mends an index that has lost its
 * files.
 */
#include "lib.h"
#include "ioloop.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "dates.h"
#include "held.h"
#include "hold.h"
#include "look.h"
#include "mailbox.h"
#include "message.h"

/* of syncs after the first */
#define RETRIES_MAX 10

struct look {
	struct rst_hold *hold;
	bool whole;
	rst_look_func *func;
	void *context;

	struct rst_held *held;
	struct rst_dates *dates;

	uint32_t done;   /* messages up to this uid have been looked at */
	uint32_t failed; /* the message of this uid could not be read */
	unsigned int retries, unreadable;
	bool ended;
};

/* @return whether to go on */
static bool show(struct look *look, struct rst_message *message,
		 struct mail *mail)
{
	/* a message that cannot be read now is held all the same */
	if (!look->whole &&
	    rst_message_is_whole(mail, look->hold->user->username, message) ==
		    0)
		message->incomplete = TRUE;
	if (rst_held_state(look->held, message) != RST_HELD_STILL)
		return TRUE;
	if (!message->incomplete) /* else its date may be anything */
		message->received =
			rst_dates_arrival(look->dates, message->id,
					  message->received, ioloop_time);
	return look->func(message, mail, look->context);
}

static bool may_try_again(struct look *look, uint32_t uid)
{
	if (look->failed == uid || look->retries == RETRIES_MAX)
		return FALSE;
	look->failed = uid;
	look->retries++;
	return TRUE;
}

/* @return FALSE: sync first */
static bool look_at(struct look *look, struct mail *mail)
{
	struct mail_user *user = look->hold->user;
	struct rst_message message;
	const char *error;
	int ret;

	ret = look->whole
		      ? rst_message_read(mail, user->username, &message, &error)
		      : rst_message_envelope(mail, user->username, &message,
					     &error);
	if (ret < 0 && may_try_again(look, mail->uid))
		return FALSE;
	if (ret < 0) {
		e_error(user->event, "uid=%u cannot be read: %s", mail->uid,
			error);
		look->unreadable++;
	} else if (ret > 0) {
		look->ended = !show(look, &message, mail);
		rst_message_clear(&message);
	}
	look->done = mail->uid;
	return TRUE;
}

/* @return whether it has come to the end */
static bool look_at_rest(struct look *look)
{
	struct mailbox_transaction_context *trans;
	uint32_t seq, last;
	struct mail *mail;
	bool end = TRUE;

	mailbox_get_seq_range(look->hold->box, look->done + 1, (uint32_t)-1,
			      &seq, &last);
	trans = mailbox_transaction_begin(look->hold->box, 0, __func__);
	mail = mail_alloc(trans,
			  MAIL_FETCH_STREAM_HEADER | MAIL_FETCH_RECEIVED_DATE,
			  NULL);
	/* 0: there is none */
	for (; end && !look->ended && seq != 0 && seq <= last; seq++)
		T_BEGIN
		{
			mail_set_seq(mail, seq);
			end = look_at(look, mail);
		}
	T_END;
	mail_free(&mail);
	/* nothing was changed in it but the cache */
	(void)mailbox_transaction_commit(&trans);
	return end;
}

static int look_at_all(struct look *look, const char **error_r)
{
	do {
		if (rst_mailbox_sync(look->hold->box, 0, error_r) < 0)
			return -1;
	} while (!look_at_rest(look));
	return (int)look->unreadable;
}

int rst_look_each(struct rst_hold *hold, bool whole, rst_look_func *func,
		  void *context, const char **error_r)
{
	struct look look = {
		.hold = hold,
		.whole = whole,
		.func = func,
		.context = context,
	};
	int ret;

	if (rst_held_open(hold, FALSE, &look.held, error_r) < 0)
		return -1;
	look.dates = rst_dates_new(hold->dir);
	ret = look_at_all(&look, error_r);
	rst_dates_free(&look.dates);
	rst_held_close(&look.held);
	return ret;
}

/* ---- how much is held */

static bool add(const struct rst_message *message, struct mail *mail,
		void *context)
{
	struct rst_hold_status *status = context;
	uoff_t size;

	if (message->incomplete) {
		status->incomplete++;
		return TRUE;
	}
	status->messages++;
	if (mail_get_virtual_size(mail, &size) == 0)
		status->octets += size;
	/* the dates of those after it count as later */
	if (status->messages == 1)
		status->oldest = message->received;
	return TRUE;
}

int rst_look_count(struct rst_hold *hold, struct rst_hold_status *status_r,
		   const char **error_r)
{
	i_zero(status_r);
	if (rst_look_each(hold, FALSE, add, status_r, error_r) < 0)
		return -1;
	if (status_r->messages > 0)
		status_r->due = rst_hold_due(hold->settings, status_r->oldest);
	return 0;
}

static bool add_first(const struct rst_message *message,
		      struct mail *mail ATTR_UNUSED, void *context)
{
	time_t *oldest = context;

	if (message->incomplete)
		return TRUE;
	*oldest = message->received;
	return FALSE;
}

/* @return how many before it cannot be read, or -1 */
static int find_oldest(struct rst_hold *hold, time_t *oldest_r,
		       const char **error_r)
{
	*oldest_r = 0;
	return rst_look_each(hold, FALSE, add_first, oldest_r, error_r);
}

int rst_look_next_due(struct rst_hold *hold, time_t *due_r,
		      const char **error_r)
{
	struct mailbox_status status;
	time_t oldest;
	int ret;

	*due_r = 0;
	if (rst_mailbox_sync(hold->box, 0, error_r) < 0)
		return -1;
	mailbox_get_open_status(hold->box, STATUS_MESSAGES, &status);
	if (status.messages == 0)
		return 0;
	ret = find_oldest(hold, &oldest, error_r);
	if (ret > 0)
		*error_r = "a held message cannot be read";
	if (ret == 0 && oldest != 0)
		*due_r = rst_hold_due(hold->settings, oldest);
	return ret == 0 ? 0 : -1;
}

static int estimate(struct rst_hold *hold, struct rst_hold_status *status_r,
		    const char **error_r)
{
	unsigned int leftovers;
	time_t oldest;

	if (rst_hold_size(hold, status_r, error_r) < 0 ||
	    find_oldest(hold, &oldest, error_r) < 0)
		return -1;
	if (oldest == 0) {
		leftovers = status_r->messages;
		i_zero(status_r);
		status_r->leftovers = leftovers;
		return 0;
	}
	status_r->oldest = oldest;
	status_r->due = rst_hold_due(hold->settings, oldest);
	return 0;
}

typedef int count_func(struct rst_hold *hold, struct rst_hold_status *status_r,
		       const char **error_r);

static int open_and(count_func *func, struct rst_hold *hold,
		    struct rst_hold_status *status_r, const char **error_r)
{
	int ret;

	i_zero(status_r);
	ret = rst_hold_open(hold, FALSE, error_r);
	if (ret <= 0)
		return ret;
	ret = func(hold, status_r, error_r);
	rst_hold_close(hold);
	return ret;
}

int rst_look_estimate(struct rst_hold *hold, struct rst_hold_status *status_r,
		      const char **error_r)
{
	return open_and(estimate, hold, status_r, error_r);
}

int rst_look_peek(struct rst_hold *hold, struct rst_hold_status *status_r,
		  const char **error_r)
{
	return open_and(rst_look_count, hold, status_r, error_r);
}
