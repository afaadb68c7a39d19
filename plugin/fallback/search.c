/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* memmem() */
#endif
#include "lib.h"
#include "istream.h"
#include "mail-namespace.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "mailbox-list-iter.h"
#include "hold/mailbox.h"
#include "search.h"

#include <string.h>

/* The trace field is on top, but Sieve may add fields above it. */
#define HEADER_MAX (64 * 1024)
/* Messages are saved in the order of their uids: after so many older messages
   in a row, the rest are older, too. */
#define OLDER_MAX 500
/* for the clocks of machines that share a storage, and for small steps of a
   clock */
#define SLACK_SECS (24 * 3600)

static int box_failed(struct mailbox *box, const char **error_r)
{
	*error_r = t_strdup_printf("mailbox %s: %s", mailbox_get_vname(box),
				   rst_mailbox_error(box));
	return -1;
}

static bool is_older(struct mail *mail, time_t since)
{
	time_t saved;

	return mail_get_save_date(mail, &saved) > 0 && saved < since;
}

/* @return 1, 0, -1 */
static int is_it(struct mail *mail, const char *needle)
{
	const unsigned char *data;
	struct istream *input;
	size_t size;

	if (mail_get_hdr_stream(mail, NULL, &input) < 0)
		return mail->expunged ? 0 : -1;
	i_stream_set_max_buffer_size(input, HEADER_MAX);
	while (i_stream_read(input) > 0)
		;
	if (input->stream_errno != 0)
		return -1;
	data = i_stream_get_data(input, &size);
	return memmem(data, size, needle, strlen(needle)) != NULL ? 1 : 0;
}

int rst_search_box(struct mailbox *box, const char *needle, time_t since,
		   const char **error_r)
{
	struct mailbox_transaction_context *trans;
	struct mailbox_status status;
	struct mail *mail;
	unsigned int older = 0;
	uint32_t seq;
	int ret = 0;

	if (mailbox_sync(box, 0) < 0)
		return box_failed(box, error_r);
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	trans = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(trans, MAIL_FETCH_SAVE_DATE, NULL);
	/* backwards, as the message is one of the last */
	for (seq = status.messages; ret == 0 && seq > 0 && older < OLDER_MAX;
	     seq--)
		T_BEGIN
		{
			mail_set_seq(mail, seq);
			if (is_older(mail, since - SLACK_SECS)) {
				older++;
			} else {
				older = 0;
				ret = is_it(mail, needle);
			}
		}
	T_END;
	if (ret < 0)
		(void)box_failed(box, error_r);
	mail_free(&mail);
	(void)mailbox_transaction_commit(&trans);
	return ret;
}

static int search_named(struct mail_user *user, const char *name,
			const char *needle, time_t since, const char **error_r)
{
	struct mailbox *box;
	int ret;

	box = mailbox_alloc_for_user(
		user, name, MAILBOX_FLAG_READONLY | MAILBOX_FLAG_IGNORE_ACLS);
	if (mailbox_open(box) == 0) {
		ret = rst_search_box(box, needle, since, error_r);
	} else {
		/* a name without a mailbox has no messages */
		ret = box_failed(box, error_r);
		if (mailbox_get_last_mail_error(box) == MAIL_ERROR_NOTFOUND ||
		    mailbox_get_last_mail_error(box) == MAIL_ERROR_NOTPOSSIBLE)
			ret = 0;
	}
	mailbox_free(&box);
	return ret;
}

int rst_search(struct mail_user *user, const char *needle, time_t since,
	       const char **error_r)
{
	static const char *const all[] = {"*", NULL};
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	int ret = 0;

	iter = mailbox_list_iter_init_namespaces(
		user->namespaces, all,
		MAIL_NAMESPACE_TYPE_PRIVATE | MAIL_NAMESPACE_TYPE_PUBLIC,
		MAILBOX_LIST_ITER_RETURN_NO_FLAGS |
			MAILBOX_LIST_ITER_SKIP_ALIASES);
	while (ret == 0 && (info = mailbox_list_iter_next(iter)) != NULL)
		if ((info->flags & (MAILBOX_NONEXISTENT | MAILBOX_NOSELECT)) ==
		    0)
			ret = search_named(user, info->vname, needle, since,
					   error_r);
	if (mailbox_list_iter_deinit(&iter) < 0 && ret == 0) {
		*error_r = "the user's mailboxes cannot be listed";
		ret = -1;
	}
	return ret;
}
