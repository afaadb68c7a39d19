/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* syncfs() */
#endif
#include "lib.h"
#include "array.h"
#include "fdatasync-path.h"
#include "file-lock.h"
#include "fsync-mode.h"
#include "istream.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-private.h"
#include "mailbox.h"

#include <fcntl.h>
#include <unistd.h>

/** Dovecot's own, and how long Dovecot waits for it. */
#define SIZES_LOCK "dovecot-vsize.lock"
#define SIZES_LOCK_SECS 10

const char *rst_mailbox_error(struct mailbox *box)
{
	return t_strdup(mailbox_get_last_internal_error(box, NULL));
}

int rst_mailbox_expungeable(struct mailbox *box, const char **error_r)
{
	struct file_lock *lock = NULL;
	int ret;

	if (mail_index_is_in_memory(box->index))
		return 0;
	ret = mailbox_lock_file_create(box, SIZES_LOCK, SIZES_LOCK_SECS, &lock,
				       error_r);
	if (lock != NULL)
		file_lock_free(&lock);
	return ret > 0 ? 0 : -1;
}

int rst_mailbox_sync(struct mailbox *box, enum mailbox_sync_flags flags,
		     const char **error_r)
{
	if (mail_index_sync_have_any_expunges(box->index) &&
	    rst_mailbox_expungeable(box, error_r) < 0)
		return -1;
	if (mailbox_sync(box, flags) == 0)
		return 0;
	*error_r = rst_mailbox_error(box);
	return -1;
}

static bool is_home(struct mail_user *user, const char *path)
{
	const char *home;

	return mail_user_get_home(user, &home) > 0 && strcmp(home, path) == 0;
}

/*
 * Dovecot makes a message and its mailbox's own directory durable, not the
 * entries of that directory's parents, which may be new as well.
 */
static int fsync_parents(struct mailbox *box, const char **error_r)
{
	const char *path, *slash;

	if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_MAILBOX, &path) <=
	    0)
		return 0;
	while (!is_home(box->list->ns->user, path) &&
	       (slash = strrchr(path, '/')) != NULL && slash != path) {
		path = t_strdup_until(path, slash);
		/* above the home it need not be readable, nor ours */
		if (fdatasync_path(path) < 0) {
			if (errno == EACCES)
				return 0;
			*error_r = t_strdup_printf("fdatasync(%s): %m", path);
			return -1;
		}
	}
	return 0;
}

bool rst_mailbox_never_fsync(struct mailbox *box)
{
	return box->storage->set->parsed_fsync_mode == FSYNC_MODE_NEVER;
}

/* Debian's Dovecot has no MAILBOX_FLAG_AUTO_CREATE any more. */
static int create_box(struct mailbox *box, const char **error_r)
{
	if (mailbox_create(box, NULL, FALSE) < 0 &&
	    mailbox_get_last_mail_error(box) != MAIL_ERROR_EXISTS) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	if (mailbox_open(box) < 0) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	return rst_mailbox_never_fsync(box) ? 0 : fsync_parents(box, error_r);
}

/* @return 2: made, 1: it was there, 0: missing, -1 */
static int open_box(struct mailbox *box, bool create, const char **error_r)
{
	if (mailbox_open(box) == 0)
		return 1;
	if (mailbox_get_last_mail_error(box) != MAIL_ERROR_NOTFOUND) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	if (!create)
		return 0;
	return create_box(box, error_r) < 0 ? -1 : 2;
}

int rst_mailbox_open(struct mail_user *user, const char *name,
		     enum mailbox_flags flags, bool create,
		     struct mailbox **box_r, const char **error_r)
{
	struct mailbox *box;
	int ret;

	box = mailbox_alloc_for_user(user, name,
				     flags | MAILBOX_FLAG_IGNORE_ACLS);
	ret = open_box(box, create, error_r);
	if (ret <= 0)
		mailbox_free(&box);
	*box_r = box;
	return ret;
}

int rst_mailbox_dir(struct mailbox *box, const char **path_r,
		    const char **error_r)
{
	if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_CONTROL, path_r) >
	    0)
		return 0;
	*error_r = "the hold mailbox has no directory of its own";
	return -1;
}

static int fsync_dir(const char *path, const char **error_r)
{
	if (fdatasync_path(path) == 0 || errno == ENOENT)
		return 0;
	*error_r = t_strdup_printf("fdatasync(%s): %m", path);
	return -1;
}

int rst_mailbox_syncfs(struct mailbox *box, const char **error_r)
{
	const char *path;
	int fd, ret;

	if (rst_mailbox_dir(box, &path, error_r) < 0)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = syncfs(fd);
	if (ret < 0)
		*error_r = t_strdup_printf("syncfs(%s) failed: %m", path);
	i_close_fd(&fd);
	return ret;
}

int rst_mailbox_fsync(struct mailbox *box, const char **error_r)
{
	const char *path;

	if (rst_mailbox_never_fsync(box) ||
	    mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_MAILBOX, &path) <=
		    0)
		return 0;
	if (strcmp(box->storage->name, "maildir") != 0)
		return fsync_dir(path, error_r);
	if (fsync_dir(t_strconcat(path, "/cur", NULL), error_r) < 0)
		return -1;
	return fsync_dir(t_strconcat(path, "/new", NULL), error_r);
}

/* ---- saving */

static int save_stream(struct mailbox_transaction_context *trans,
		       struct istream *input, time_t arrived,
		       const char **error_r)
{
	struct mail_save_context *ctx = mailbox_save_alloc(trans);
	struct mailbox *box = mailbox_transaction_get_mailbox(trans);
	int ret = 0;

	mailbox_save_set_received_date(ctx, arrived, 0);
	if (mailbox_save_begin(&ctx, input) < 0) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	do {
		if (mailbox_save_continue(ctx) < 0)
			ret = -1;
	} while (ret == 0 && i_stream_read(input) != -1);
	if (ret == 0 && input->stream_errno != 0) {
		mailbox_save_cancel(&ctx);
		*error_r = t_strdup_printf("read(%s) failed: %s",
					   i_stream_get_name(input),
					   i_stream_get_error(input));
		return -1;
	}
	if (ret < 0)
		mailbox_save_cancel(&ctx);
	else
		ret = mailbox_save_finish(&ctx);
	if (ret < 0)
		*error_r = rst_mailbox_error(box);
	return ret;
}

static int commit(struct mailbox *box,
		  struct mailbox_transaction_context **trans, uint32_t *uid_r,
		  const char **error_r)
{
	struct mail_transaction_commit_changes changes;
	const struct seq_range *range;

	if (mailbox_transaction_commit_get_changes(trans, &changes) < 0) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	*uid_r = 0;
	if (array_count(&changes.saved_uids) > 0) {
		range = array_front(&changes.saved_uids);
		*uid_r = range->seq1;
	}
	pool_unref(&changes.pool);
	return 0;
}

int rst_mailbox_save(struct mailbox *box, struct istream *input, time_t arrived,
		     uint32_t *uid_r, const char **error_r)
{
	struct mailbox_transaction_context *trans;

	trans = mailbox_transaction_begin(
		box,
		MAILBOX_TRANSACTION_FLAG_EXTERNAL |
			MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS,
		__func__);
	if (save_stream(trans, input, arrived, error_r) < 0) {
		mailbox_transaction_rollback(&trans);
		return -1;
	}
	return commit(box, &trans, uid_r, error_r);
}
