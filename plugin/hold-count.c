/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-storage.h"
#include "hold-count.h"
#include "hold-message.h"
#include "hold-walk.h"

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
	if (rst_hold_walk(user, set, box, FALSE, add, status_r, error_r) < 0)
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
	return rst_hold_walk(user, set, box, FALSE, add_first, oldest_r,
			     error_r);
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
