/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-storage.h"
#include "hold-count.h"
#include "hold-message.h"
#include "hold-walk.h"

static void add(const struct rst_held *held, struct mail *mail, void *context)
{
	struct rst_hold_status *status = context;
	uoff_t size;

	if (held->incomplete) {
		status->incomplete++;
		return;
	}
	status->messages++;
	if (mail_get_virtual_size(mail, &size) == 0)
		status->octets += size;
	/* those after it count as later */
	if (status->messages == 1)
		status->oldest = held->received;
}

int rst_hold_count(struct mail_user *user, const struct rst_settings *set,
		   struct mailbox *box, struct rst_hold_status *status_r,
		   const char **error_r)
{
	i_zero(status_r);
	if (rst_hold_walk(user, set, box, FALSE, add, status_r, error_r) < 0)
		return -1;
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
