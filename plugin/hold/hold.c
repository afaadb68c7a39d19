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
#include "common/settings.h"
#include "hold.h"
#include "keys.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* longer than Postfix keeps a message in its queue */
#define KEEP_SECS (7 * 24 * 3600)

/** Dovecot's own, and how long that waits for it. */
#define SIZES_LOCK "dovecot-vsize.lock"
#define SIZES_LOCK_SECS 10

#define INDEX_FILE "restante.index"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE 36
/* "ID BOOT-ID" LF, of one width, so that one write replaces it */
#define RECORD_SIZE (10 + 1 + BOOT_ID_SIZE + 1)

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

/* ---- an index that was lost */

/*
 * An index of the hold that was lost with a crash. What is torn at the end of
 * its log makes Dovecot throw all of it away (a power cut in the middle of a
 * write), and begin another index that has none of the messages, although
 * their files are there. By itself it does not look for them.
 *
 * A file beside the mailbox's own, durable, holds the id of the index that was
 * seen to know all messages, and since when the system has been running. With
 * another id, after another start of the system, or with uids that go back,
 * the hold is looked through.
 */
/* @return blanks where the system does not tell */
static const char *boot_id(void)
{
	static char id[BOOT_ID_SIZE + 1];
	int fd;

	if (id[0] != '\0')
		return id;
	memset(id, ' ', BOOT_ID_SIZE);
	fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	if (fd != -1) {
		if (read(fd, id, BOOT_ID_SIZE) != BOOT_ID_SIZE)
			memset(id, ' ', BOOT_ID_SIZE);
		i_close_fd(&fd);
	}
	return id;
}

static void format(struct mailbox *box, char record_r[RECORD_SIZE + 1])
{
	(void)snprintf(record_r, RECORD_SIZE + 1, "%010u %s\n",
		       mail_index_get_header(box->view)->indexid, boot_id());
}

static const char *note_path(const char *dir)
{
	return t_strconcat(dir, "/" INDEX_FILE, NULL);
}

static bool is_noted(struct mailbox *box, const char *dir)
{
	char wanted[RECORD_SIZE + 1], found[RECORD_SIZE + 1];
	int fd = open(note_path(dir), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd == -1)
		return FALSE;
	n = read(fd, found, sizeof(found));
	i_close_fd(&fd);
	format(box, wanted);
	return n == RECORD_SIZE && memcmp(found, wanted, RECORD_SIZE) == 0;
}

static bool write_note(struct mailbox *box, int fd)
{
	char record[RECORD_SIZE + 1];

	format(box, record);
	return pwrite(fd, record, RECORD_SIZE, 0) == RECORD_SIZE &&
	       ftruncate(fd, RECORD_SIZE) == 0 && fdatasync(fd) == 0;
}

/* Where that fails, the hold is looked through once more. */
static void note(struct mailbox *box, const char *dir)
{
	const char *path = note_path(dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd == -1 || !write_note(box, fd) || fdatasync_path(dir) < 0)
		e_warning(box->event, "Cannot write %s: %m", path);
	i_close_fd(&fd);
}

/* Does the mailbox know nothing of a message that has come into it? */
static bool is_unknown(struct mailbox *box, uint32_t uid_validity, uint32_t uid)
{
	struct mailbox_status status;

	mailbox_get_open_status(box, STATUS_UIDNEXT | STATUS_UIDVALIDITY,
				&status);
	return uid_validity != status.uidvalidity || uid >= status.uidnext;
}

/* @return 1, 0, -1 */
static int has_gone_back(struct mailbox *box, const char *dir,
			 const char **error_r)
{
	uint32_t uid_validity, uid;

	if (!rst_keys_tail(dir, &uid_validity, &uid) ||
	    !is_unknown(box, uid_validity, uid))
		return 0;
	/* it may just have come */
	if (rst_mailbox_sync(box, 0, error_r) < 0)
		return -1;
	return is_unknown(box, uid_validity, uid) ? 1 : 0;
}

static int look_through(struct mailbox *box, const char *dir,
			const char **error_r)
{
	struct mailbox_status before, after;

	mailbox_get_open_status(box, STATUS_MESSAGES, &before);
	if (rst_mailbox_sync(box, MAILBOX_SYNC_FLAG_FORCE_RESYNC, error_r) < 0)
		return -1;
	mailbox_get_open_status(box, STATUS_UIDVALIDITY | STATUS_MESSAGES,
				&after);
	rst_keys_restart(dir, after.uidvalidity);
	if (after.messages > before.messages)
		e_warning(box->event,
			  "The index of the hold had lost messages: "
			  "there were %u, and now there are %u",
			  before.messages, after.messages);
	return 0;
}

static void mend_new(struct mailbox *box)
{
	const char *dir, *error;

	if (rst_hold_mailbox_dir(box, &dir, &error) == 0)
		note(box, dir);
}

static int mend(struct mailbox *box, const char **error_r)
{
	const char *dir;
	int ret;

	if (mail_index_is_in_memory(box->index))
		return 0;
	if (rst_hold_mailbox_dir(box, &dir, error_r) < 0)
		return -1;
	/* only this finds out that the end of the log is torn */
	if (rst_mailbox_sync(box, 0, error_r) < 0)
		return -1;
	ret = is_noted(box, dir) ? has_gone_back(box, dir, error_r) : 1;
	if (ret <= 0)
		return ret;
	if (look_through(box, dir, error_r) < 0)
		return -1;
	note(box, dir);
	return 0;
}

/* ---- the hold */

static int open_mended(struct mail_user *user, const struct rst_settings *set,
		       enum mailbox_flags flags, bool create,
		       struct mailbox **box_r, const char **error_r)
{
	int ret;

	ret = rst_mailbox_open(user, set->hold_mailbox, flags, create, box_r,
			       error_r);
	if (ret > 1) {
		mend_new(*box_r);
	} else if (ret > 0 && mend(*box_r, error_r) < 0) {
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
