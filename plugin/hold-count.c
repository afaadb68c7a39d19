/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "hold-clock.h"
#include "hold-count.h"
#include "hold-message.h"
#include "hold-tombstone.h"
#include "restante-settings.h"

static bool has_left(const struct rst_tombstones *tombstones,
		     const struct rst_settings *set,
		     const struct rst_held *held)
{
	return rst_tombstones_has(tombstones, held->id) ||
	       (!set->test_no_dedup &&
		rst_tombstones_has_key(tombstones, held->key));
}

static void add(struct rst_hold_status *status, struct rst_clock *clock,
		struct mail *mail, const struct rst_held *held)
{
	time_t arrived =
		rst_clock_arrival(clock, held->id, held->received, ioloop_time);
	uoff_t size;

	status->messages++;
	if (mail_get_virtual_size(mail, &size) == 0)
		status->octets += size;
	/* those after it count as later */
	if (status->messages == 1)
		status->oldest = arrived;
}

static int count_each(struct mail_user *user, const struct rst_settings *set,
		      struct mailbox *box,
		      const struct rst_tombstones *tombstones,
		      struct rst_clock *clock, struct rst_hold_status *status_r)
{
	struct mailbox_transaction_context *trans;
	struct mailbox_status status;
	struct rst_held held;
	struct mail *mail;
	const char *error;
	uint32_t seq;

	i_zero(status_r);
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	trans = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(trans,
			  MAIL_FETCH_RECEIVED_DATE | MAIL_FETCH_VIRTUAL_SIZE,
			  NULL);
	for (seq = 1; seq <= status.messages; seq++)
		T_BEGIN
		{
			mail_set_seq(mail, seq);
			if (rst_held_envelope(mail, user->username, &held,
					      &error) > 0) {
				if (!has_left(tombstones, set, &held))
					add(status_r, clock, mail, &held);
				rst_held_clear(&held);
			}
		}
	T_END;
	mail_free(&mail);
	return mailbox_transaction_commit(&trans);
}

int rst_hold_count(struct mail_user *user, const struct rst_settings *set,
		   struct mailbox *box, struct rst_hold_status *status_r,
		   const char **error_r)
{
	struct rst_tombstones *tombstones;
	struct rst_clock *clock;
	const char *dir;
	int ret;

	if (rst_hold_mailbox_status(box, set, status_r, error_r) < 0)
		return -1;
	if (status_r->messages == 0)
		return 0;
	if (rst_hold_mailbox_dir(box, &dir, error_r) < 0 ||
	    rst_tombstones_read(dir, &tombstones, error_r) < 0)
		return -1;
	clock = rst_clock_new(dir);
	ret = count_each(user, set, box, tombstones, clock, status_r);
	rst_clock_free(&clock);
	rst_tombstones_close(&tombstones);
	if (ret < 0) {
		*error_r = t_strdup(mailbox_get_last_internal_error(box, NULL));
		return -1;
	}
	if (status_r->messages > 0)
		status_r->due = rst_hold_due(set, status_r->oldest);
	return 0;
}

int rst_hold_peek(struct mail_user *user, const struct rst_settings *set,
		  struct rst_hold_status *status_r, const char **error_r)
{
	struct mailbox *box;
	int ret;

	i_zero(status_r);
	ret = rst_hold_mailbox_open(user, set, 0, FALSE, &box, error_r);
	if (ret <= 0)
		return ret;
	ret = rst_hold_count(user, set, box, status_r, error_r);
	mailbox_free(&box);
	return ret;
}
