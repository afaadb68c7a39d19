/* SPDX-License-Identifier: MIT */
/*
 * A crash may lose the index of the hold. Where a power cut has torn the end of
 * the index's log, Dovecot throws all of the index away and begins another one,
 * which has none of the messages, although their files are there. Dovecot does
 * not look for them by itself.
 *
 * A durable file beside the mailbox's own holds the id of the index that was
 * seen to know all messages, and the boot id of the system at that time. The
 * hold is searched for message files where the index has another id, after
 * another start of the system, and where the mailbox gives out uids again that
 * the log of keys has already.
 */
#include "lib.h"
#include "fdatasync-path.h"
#include "file-lock.h"
#include "mail-index-alloc-cache.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "claim.h"
#include "hold.h"
#include "keys.h"
#include "mailbox.h"
#include "owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* longer than Postfix keeps a message in its queue */
#define KEEP_SECS (7 * 24 * 3600)

#define MAILBOX "Held"
#define INDEX_FILE "restante.index"
/* messages; each change of that flag costs a write to the index's log */
#define RECENT_MAX 100
/* half a second, once in a hold's life */
#define NOTE_TRIES 50
#define NOTE_USECS 10000
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE 36
/* "ID BOOT-ID" LF, of one width, so that one write replaces it */
#define RECORD_SIZE (10 + 1 + BOOT_ID_SIZE + 1)

/* ---- an index that was lost */

/* @return blanks where the system does not tell its boot id */
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

/* Where the note cannot be written, the next open looks through the hold once
   more. */
static void note(struct mailbox *box, const char *dir)
{
	const char *path = note_path(dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd == -1 || !write_note(box, fd) || fdatasync_path(dir) < 0)
		e_warning(box->event, "Cannot write %s: %m", path);
	i_close_fd(&fd);
}

/* Does the mailbox know nothing of a message that the log of keys knows? */
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
	/* the message may just have come */
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

/* Another process may be making the hold at this moment: it writes the note a
   little after the mailbox. Where none comes, the hold is an earlier version's,
   or that process has died. */
static void wait_for_note(const char *dir)
{
	const char *path = note_path(dir);
	unsigned int tries;

	for (tries = 0; tries < NOTE_TRIES; tries++) {
		if (access(path, F_OK) == 0 || errno != ENOENT)
			return;
		(void)usleep(NOTE_USECS);
	}
}

/* With each sync Dovecot goes through all \Recent messages, and in a hold that
   nobody looks at these are all: so now and then they lose that flag. (In a
   Maildir each one would be renamed.) */
static void drop_recent(struct mailbox *box)
{
	const struct mail_index_header *hdr = mail_index_get_header(box->view);

	if (strcmp(box->storage->name, "maildir") != 0 &&
	    hdr->next_uid - hdr->first_recent_uid > RECENT_MAX)
		box->flags |= MAILBOX_FLAG_DROP_RECENT;
}

static int mend(struct rst_hold *hold, const char **error_r)
{
	int ret;

	if (mail_index_is_in_memory(hold->box->index))
		return 0;
	drop_recent(hold->box);
	/* only a sync finds out that the end of the log is torn */
	if (rst_mailbox_sync(hold->box, 0, error_r) < 0)
		return -1;
	wait_for_note(hold->dir);
	ret = is_noted(hold->box, hold->dir)
		      ? has_gone_back(hold->box, hold->dir, error_r)
		      : 1;
	if (ret <= 0)
		return ret;
	if (look_through(hold->box, hold->dir, error_r) < 0)
		return -1;
	note(hold->box, hold->dir);
	return 0;
}

/* ---- opening */

/* @param made the mailbox is new, and so has an index that knows all */
static int begin(struct rst_hold *hold, bool made, const char **error_r)
{
	const char *dir;

	if (rst_mailbox_dir(hold->box, &dir, error_r) < 0)
		return -1;
	hold->dir = i_strdup(dir);
	if (!made)
		return mend(hold, error_r);
	note(hold->box, hold->dir);
	return 0;
}

int rst_hold_own(struct rst_hold *hold, const char **error_r)
{
	return hold->owner != NULL ? 0
				   : rst_owner_new(hold->user, hold->settings,
						   &hold->owner, error_r);
}

bool rst_hold_has_storage(const struct rst_hold *hold)
{
	struct mailbox_list *list = hold->owner->namespaces->list;
	const char *root;
	struct stat st;

	return !mailbox_list_get_root_path(list, MAILBOX_LIST_PATH_TYPE_MAILBOX,
					   &root) ||
	       stat(root, &st) == 0 || errno != ENOENT;
}

/* @return whether the hold is another user's */
static bool is_others(const struct rst_hold *hold, bool create)
{
	const char *whose = rst_claim(hold, create);

	if (whose == NULL)
		return FALSE;
	e_error(hold->user->event,
		"%s=%s is the same for %s, whose mail is held there: nothing is "
		"held for %s. Let each user have a place of their own, with %s "
		"in it. (If %s was renamed to %s, remove %s/restante.owner)",
		RST_SETTING_HOLD, hold->settings->hold_location, whose,
		hold->user->username, RST_SETTING_HOLD_USER, whose,
		hold->user->username, hold->dir);
	return TRUE;
}

static int open_mended(struct rst_hold *hold, bool create, const char **error_r)
{
	int ret;

	if (rst_hold_own(hold, error_r) < 0)
		return -1;
	ret = !create && !rst_hold_has_storage(hold)
		      ? 0
		      : rst_mailbox_open(hold->owner, MAILBOX, 0, create,
					 &hold->box, error_r);
	if (ret > 0 && begin(hold, ret > 1, error_r) < 0)
		ret = -1;
	if (ret > 0 && is_others(hold, create))
		ret = 0;
	if (ret <= 0)
		rst_hold_close(hold);
	return I_MIN(ret, 1);
}

int rst_hold_open(struct rst_hold *hold, bool create, const char **error_r)
{
	int ret = open_mended(hold, create, error_r);

	if (ret < 0) {
		/* Dovecot gives up an index whose log is torn when the mailbox
		   is opened for the second time, and not while it has the index
		   in memory. */
		mail_index_alloc_cache_destroy_unrefed();
		ret = open_mended(hold, create, error_r);
	}
	if (ret < 0)
		*error_r = t_strdup_printf(RST_SETTING_HOLD "=%s: %s",
					   hold->settings->hold_location,
					   *error_r);
	return ret;
}

void rst_hold_close(struct rst_hold *hold)
{
	i_free(hold->dir);
	if (hold->box != NULL)
		mailbox_free(&hold->box);
	if (hold->owner != NULL)
		mail_user_deinit(&hold->owner);
}

static bool index_is_lost(struct mailbox *box)
{
	const char *path;

	return mail_index_is_in_memory(box->index) &&
	       mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX, &path) >
		       0;
}

int rst_hold_renew(struct rst_hold *hold, const char **error_r)
{
	struct rst_hold renewed = {.user = hold->user,
				   .settings = hold->settings};
	int ret;

	if (!index_is_lost(hold->box))
		return 0;
	ret = rst_hold_open(&renewed, FALSE, error_r);
	if (ret == 0)
		*error_r = "the hold has gone";
	if (ret <= 0)
		return -1;
	rst_hold_close(hold);
	*hold = renewed;
	return 1;
}

/* ---- times and sizes */

time_t rst_hold_due(const struct rst_settings *settings, time_t arrived)
{
	return arrived + (time_t)settings->hold_time_secs;
}

unsigned int rst_hold_keep_secs(const struct rst_settings *settings)
{
	return settings->hold_time_secs + KEEP_SECS;
}

int rst_hold_size(struct rst_hold *hold, struct rst_hold_status *status_r,
		  const char **error_r)
{
	struct mailbox_metadata metadata;
	struct mailbox_status status;

	i_zero(status_r);
	if (rst_mailbox_sync(hold->box, 0, error_r) < 0)
		return -1;
	mailbox_get_open_status(hold->box, STATUS_MESSAGES, &status);
	status_r->messages = status.messages;
	if (status.messages == 0)
		return 0;
	if (mailbox_get_metadata(hold->box, MAILBOX_METADATA_VIRTUAL_SIZE,
				 &metadata) < 0) {
		*error_r = rst_mailbox_error(hold->box);
		return -1;
	}
	status_r->octets = metadata.virtual_size;
	return 0;
}

/* The lock file stays: Dovecot's own way makes and removes several files each
   time, and leaves some behind when the process is killed. */
int rst_hold_lock(const struct rst_hold *hold, const char *name,
		  unsigned int secs, struct file_lock **lock_r,
		  const char **error_r)
{
	const struct file_lock_settings settings = {
		.lock_method = FILE_LOCK_METHOD_FCNTL,
		.close_on_free = TRUE,
	};
	const char *path = t_strconcat(hold->dir, "/", name, NULL);
	int fd, ret;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = file_wait_lock(fd, path, F_WRLCK, &settings, secs, lock_r,
			     error_r);
	if (ret <= 0)
		i_close_fd(&fd);
	return ret;
}
