/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "fdatasync-path.h"
#include "mail-storage-private.h"
#include "hold-keys.h"
#include "hold-mailbox.h"
#include "hold-mend.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_NAME "restante.index"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE 36
/* "ID BOOT-ID" LF, of one width, so that one write replaces it */
#define RECORD_SIZE (10 + 1 + BOOT_ID_SIZE + 1)

/* ---- the index that knows all */

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
	return t_strconcat(dir, "/" FILE_NAME, NULL);
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

/* ---- uids that go back */

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

/* ---- */

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

void rst_hold_mend_new(struct mailbox *box)
{
	const char *dir, *error;

	if (rst_hold_mailbox_dir(box, &dir, &error) == 0)
		note(box, dir);
}

int rst_hold_mend(struct mailbox *box, const char **error_r)
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
