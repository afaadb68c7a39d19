/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* syncfs() */
#endif
#include "lib.h"
#include "fdatasync-path.h"
#include "file-lock.h"
#include "fsync-mode.h"
#include "ioloop.h"
#include "mail-index-alloc-cache.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-private.h"
#include "hold-mailbox.h"
#include "hold-mend.h"
#include "restante-settings.h"

#include <fcntl.h>
#include <unistd.h>

/* longer than Postfix keeps a message in its queue */
#define KEEP_SECS (7 * 24 * 3600)

/** Dovecot's own, and how long that waits for it. */
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

static bool never_fsync(struct mailbox *box)
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
	return never_fsync(box) ? 0 : fsync_parents(box, error_r);
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

static int open_mended(struct mail_user *user, const struct rst_settings *set,
		       enum mailbox_flags flags, bool create,
		       struct mailbox **box_r, const char **error_r)
{
	int ret;

	ret = rst_mailbox_open(user, set->hold_mailbox, flags, create, box_r,
			       error_r);
	if (ret > 1) {
		rst_hold_mend_new(*box_r);
	} else if (ret > 0 && rst_hold_mend(*box_r, error_r) < 0) {
		mailbox_free(box_r);
		return -1;
	}
	return I_MIN(ret, 1);
}

int rst_hold_mailbox_open(struct mail_user *user,
			  const struct rst_settings *set,
			  enum mailbox_flags flags, bool create,
			  struct mailbox **box_r, const char **error_r)
{
	int ret = open_mended(user, set, flags, create, box_r, error_r);

	if (ret < 0) {
		/* An index whose log is torn is given up by who opens it for
		   the second time, and not as it is in memory. */
		mail_index_alloc_cache_destroy_unrefed();
		ret = open_mended(user, set, flags, create, box_r, error_r);
	}
	return ret;
}

static bool index_is_lost(struct mailbox *box)
{
	const char *path;

	return mail_index_is_in_memory(box->index) &&
	       mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX, &path) >
		       0;
}

int rst_hold_mailbox_renew(struct mail_user *user,
			   const struct rst_settings *set, struct mailbox **box,
			   const char **error_r)
{
	struct mailbox *renewed;
	int ret;

	if (!index_is_lost(*box))
		return 0;
	ret = rst_hold_mailbox_open(user, set, 0, FALSE, &renewed, error_r);
	if (ret == 0)
		*error_r = "the hold has gone";
	if (ret <= 0)
		return -1;
	mailbox_free(box);
	*box = renewed;
	return 1;
}

time_t rst_hold_due(const struct rst_settings *set, time_t arrived)
{
	return arrived + (time_t)set->hold_time_secs;
}

unsigned int rst_hold_keep_secs(const struct rst_settings *set)
{
	return set->hold_time_secs + KEEP_SECS;
}

int rst_hold_mailbox_size(struct mailbox *box, struct rst_hold_status *status_r,
			  const char **error_r)
{
	struct mailbox_metadata metadata;
	struct mailbox_status status;

	i_zero(status_r);
	if (rst_mailbox_sync(box, 0, error_r) < 0)
		return -1;
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	status_r->messages = status.messages;
	if (status.messages == 0)
		return 0;
	if (mailbox_get_metadata(box, MAILBOX_METADATA_VIRTUAL_SIZE,
				 &metadata) < 0) {
		*error_r = rst_mailbox_error(box);
		return -1;
	}
	status_r->octets = metadata.virtual_size;
	return 0;
}

int rst_hold_mailbox_dir(struct mailbox *box, const char **path_r,
			 const char **error_r)
{
	if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_CONTROL, path_r) >
	    0)
		return 0;
	*error_r = "the hold mailbox has no directory of its own";
	return -1;
}

/* A file that stays: Dovecot's own way makes and removes several each time, and
   leaves some behind when it is killed. */
int rst_hold_mailbox_lock(struct mailbox *box, const char *name,
			  unsigned int secs, struct file_lock **lock_r,
			  const char **error_r)
{
	const struct file_lock_settings set = {
		.lock_method = FILE_LOCK_METHOD_FCNTL,
		.close_on_free = TRUE,
	};
	const char *path;
	int fd, ret;

	if (rst_hold_mailbox_dir(box, &path, error_r) < 0)
		return -1;
	path = t_strconcat(path, "/", name, NULL);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = file_wait_lock(fd, path, F_WRLCK, &set, secs, lock_r, error_r);
	if (ret <= 0)
		i_close_fd(&fd);
	return ret;
}

static int fsync_dir(const char *path, const char **error_r)
{
	if (fdatasync_path(path) == 0 || errno == ENOENT)
		return 0;
	*error_r = t_strdup_printf("fdatasync(%s): %m", path);
	return -1;
}

int rst_hold_mailbox_syncfs(struct mailbox *box, const char **error_r)
{
	const char *path;
	int fd, ret;

	if (rst_hold_mailbox_dir(box, &path, error_r) < 0)
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

int rst_hold_mailbox_fsync(struct mailbox *box, const char **error_r)
{
	const char *path;

	if (never_fsync(box) ||
	    mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_MAILBOX, &path) <=
		    0)
		return 0;
	if (strcmp(box->storage->name, "maildir") != 0)
		return fsync_dir(path, error_r);
	if (fsync_dir(t_strconcat(path, "/cur", NULL), error_r) < 0)
		return -1;
	return fsync_dir(t_strconcat(path, "/new", NULL), error_r);
}
