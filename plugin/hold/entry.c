/* SPDX-License-Identifier: MIT */
/*
 * An entry is made in this order:
 *
 *   1. the file, empty;
 *   2. fsync of the file, and of the directory;
 *   3. its content.
 *
 * So an entry that has octets is durable, whatever became of the process that
 * made it, and one without is brought to its end by the next process that
 * needs it. The content need not be durable: without it policyd looks into the
 * hold.
 *
 * When nothing is held any more the entry becomes vacant, and goes only when no
 * mail came for a while: the mail of a client that is signed in costs no fsync
 * of its entry.
 *
 * An entry is made, vacated and removed under the arrival lock, so that none is
 * removed between the look whether it exists and the save. (One that is missing
 * is also made where held mail was found, without that lock: at worst it is not
 * needed.)
 */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* syncfs() */
#endif
#include "lib.h"
#include "file-lock.h"
#include "guid.h"
#include "ioloop.h"
#include "mail-user.h"
#include "common/root.h"
#include "common/settings.h"
#include "entry.h"
#include "hold.h"
#include "restante/holder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* whatever another user has put there, opening it neither waits nor leads
   elsewhere */
#define OPEN_FLAGS (O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
/* policyd, which did not make it, must be able to read it */
#define MODE 0644
/* each time another process was faster */
#define TRIES_MAX 10

struct entry {
	const char *dir, *path;
	struct stat st;
	int fd;
	int flags; /* of open() */
};

/* ---- with the rights that it takes */

/* @return >= 0, or -1 with errno */
typedef int entry_func(struct entry *entry);

/* The directory may be closed to this process's user. */
static int call(entry_func *func, struct entry *entry)
{
	uid_t uid;
	int ret = func(entry), saved_errno = errno;

	if (ret >= 0 || (errno != EACCES && errno != EPERM))
		return ret;
	if (rst_root_enter(&uid)) {
		ret = func(entry);
		saved_errno = errno;
		rst_root_leave(uid);
	}
	errno = saved_errno;
	return ret;
}

static int call_lstat(struct entry *entry)
{
	return lstat(entry->path, &entry->st);
}

static int call_open(struct entry *entry)
{
	mode_t before = umask(0);

	entry->fd = open(entry->path, entry->flags, MODE);
	(void)umask(before);
	return entry->fd;
}

static int call_open_dir(struct entry *entry)
{
	return open(entry->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int call_unlink(struct entry *entry)
{
	return unlink(entry->path);
}

/* A directory that is not empty gets a hidden name, which is no entry's. */
static int call_clear(struct entry *entry)
{
	guid_128_t guid;

	if (unlink(entry->path) == 0)
		return 0;
	if (errno != EISDIR)
		return -1;
	if (rmdir(entry->path) == 0)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -1;
	guid_128_generate(guid);
	return rename(entry->path, t_strdup_printf("%s/.junk-%s", entry->dir,
						   guid_128_to_string(guid)));
}

static int call_touch(struct entry *entry)
{
	return utimensat(AT_FDCWD, entry->path, NULL, AT_SYMLINK_NOFOLLOW);
}

/* ---- names */

static int find_name(const struct rst_hold *hold, struct entry *entry_r,
		     const char **error_r)
{
	char name[RST_HOLDER_NAME_MAX + 1];

	i_zero(entry_r);
	entry_r->fd = -1;
	entry_r->dir = hold->settings->holders;
	if (*entry_r->dir == '\0') {
		*error_r = "restante_holders is not set";
		return -1;
	}
	if (rst_holder_name(rst_str(hold->user->username), name) < 0) {
		*error_r = "the user's name is too long for a file";
		return -1;
	}
	entry_r->path = t_strdup_printf("%s/%s", entry_r->dir, name);
	return 0;
}

bool rst_entry_has_name(const struct rst_hold *hold)
{
	char name[RST_HOLDER_NAME_MAX + 1];

	return rst_holder_name(rst_str(hold->user->username), name) > 0;
}

bool rst_entry_exists(const struct rst_hold *hold)
{
	struct entry entry;
	const char *error;

	return find_name(hold, &entry, &error) == 0 &&
	       call(call_lstat, &entry) == 0;
}

/* ---- making it */

static int failed(const struct entry *entry, const char *call,
		  const char **error_r)
{
	*error_r = t_strdup_printf("%s(%s) failed: %m", call, entry->path);
	return -1;
}

/* Where nobody but policyd may list the directory, nobody else can open it. */
static int sync_dir(struct entry *entry, const char **error_r)
{
	int fd = call(call_open_dir, entry), ret;

	if (fd == -1 && errno == EACCES) {
		if (syncfs(entry->fd) == 0)
			return 0;
		return failed(entry, "syncfs", error_r);
	}
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", entry->dir);
		return -1;
	}
	ret = fsync(fd);
	if (ret < 0)
		*error_r = t_strdup_printf("fsync(%s) failed: %m", entry->dir);
	i_close_fd(&fd);
	return ret;
}

static int sync_entry(struct entry *entry, const char **error_r)
{
	if (fsync(entry->fd) < 0)
		return failed(entry, "fsync", error_r);
	return sync_dir(entry, error_r);
}

static int write_content(struct entry *entry, time_t due, const char **error_r)
{
	const struct rst_holder holder = {.due = due};
	char text[RST_HOLDER_TEXT_SIZE];

	rst_holder_format(&holder, text);
	if (pwrite(entry->fd, text, sizeof(text), 0) != (ssize_t)sizeof(text))
		return failed(entry, "pwrite", error_r);
	return 0;
}

/* @return 1; 0: look again; -1 */
static int make(struct entry *entry, int flags, bool durable, time_t due,
		const char **error_r)
{
	int ret = 0;

	entry->flags = OPEN_FLAGS | flags;
	if (call(call_open, entry) < 0) {
		if (errno == EEXIST || (errno == ENOENT && flags == 0))
			return 0;
		return failed(entry, "open", error_r);
	}
	if (!durable)
		ret = sync_entry(entry, error_r);
	if (ret == 0)
		ret = write_content(entry, due, error_r);
	i_close_fd(&entry->fd);
	return ret < 0 ? -1 : 1;
}

/* Whoever owns the file could remove it at any time, or make it unreadable. */
static bool is_trusted(const struct entry *entry)
{
	uid_t uid;

	if (!S_ISREG(entry->st.st_mode))
		return FALSE;
	if (entry->st.st_uid == geteuid())
		return TRUE;
	if (entry->st.st_uid != 0 || !rst_root_enter(&uid))
		return FALSE;
	rst_root_leave(uid);
	return TRUE;
}

/* Somebody else has taken the name. @return 0: look again; -1 */
static int clear_name(struct entry *entry, const char **error_r)
{
	if (call(call_clear, entry) == 0 || errno == ENOENT)
		return 0;
	*error_r = t_strdup_printf(
		"%s is not a file of this user, uid %s, and cannot be "
		"removed: %m",
		entry->path, dec2str(geteuid()));
	return -1;
}

/* @return 1; 0: look again; -1 */
static int look_or_make(struct entry *entry, time_t due, const char **error_r)
{
	if (call(call_lstat, entry) < 0) {
		if (errno != ENOENT)
			return failed(entry, "lstat", error_r);
		return make(entry, O_CREAT | O_EXCL, FALSE, due, error_r);
	}
	if (!is_trusted(entry))
		return clear_name(entry, error_r);
	if (entry->st.st_size >= RST_HOLDER_TEXT_SIZE)
		return 1;
	return make(entry, 0, rst_holder_is_vacant(entry->st.st_size), due,
		    error_r);
}

static int ensure(struct entry *entry, time_t due, const char **error_r)
{
	unsigned int tries = 0;
	int ret;

	while ((ret = look_or_make(entry, due, error_r)) == 0) {
		if (++tries == TRIES_MAX) {
			*error_r = t_strdup_printf("%s comes and goes",
						   entry->path);
			return -1;
		}
	}
	return ret < 0 ? -1 : 0;
}

int rst_entry_ensure(const struct rst_hold *hold, time_t due,
		     const char **error_r)
{
	struct entry entry;

	if (find_name(hold, &entry, error_r) < 0)
		return -1;
	return ensure(&entry, due, error_r);
}

/* ---- touching it, retiring it */

int rst_entry_touch(const struct rst_hold *hold, time_t due,
		    const char **error_r)
{
	struct entry entry;
	int ret;

	if (find_name(hold, &entry, error_r) < 0)
		return -1;
	ret = call(call_touch, &entry);
	if (ret < 0 && errno == ENOENT) {
		if (ensure(&entry, due, error_r) < 0)
			return -1;
		ret = call(call_touch, &entry);
	}
	return ret == 0 ? 0 : failed(&entry, "utimensat", error_r);
}

void rst_entry_set_full(const struct rst_hold *hold, bool full)
{
	const off_t at = RST_HOLDER_TEXT_SIZE - 1;
	struct entry entry;
	const char *error;

	if (find_name(hold, &entry, &error) < 0 ||
	    call(call_lstat, &entry) < 0 || !is_trusted(&entry) ||
	    entry.st.st_size < RST_HOLDER_TEXT_SIZE ||
	    (!full && entry.st.st_size == RST_HOLDER_TEXT_SIZE))
		return;
	entry.flags = OPEN_FLAGS;
	if (call(call_open, &entry) < 0)
		return;
	if (full ? pwrite(entry.fd, RST_HOLDER_FULL, strlen(RST_HOLDER_FULL),
			  at) < 0
		 : (pwrite(entry.fd, "\n", 1, at) < 0 ||
		    ftruncate(entry.fd, RST_HOLDER_TEXT_SIZE) < 0))
		e_debug(hold->user->event, "%s cannot be written: %m",
			entry.path);
	i_close_fd(&entry.fd);
}

bool rst_entry_is_full(const struct rst_hold *hold)
{
	struct entry entry;
	const char *error;

	return find_name(hold, &entry, &error) == 0 &&
	       call(call_lstat, &entry) == 0 && is_trusted(&entry) &&
	       entry.st.st_size == RST_HOLDER_FULL_SIZE &&
	       entry.st.st_mtime + RST_HOLDER_FULL_SECS > ioloop_time;
}

/* As the mailbox has it, with what is incomplete or cannot be read. */
static bool is_empty(struct rst_hold *hold)
{
	struct rst_hold_status status;
	const char *error;

	/* an index in memory may know less than there is */
	return rst_hold_renew(hold, &error) == 0 &&
	       rst_hold_size(hold, &status, &error) == 0 &&
	       status.messages == 0;
}

static bool is_recent(const struct entry *entry)
{
	time_t age = ioloop_time - entry->st.st_mtime;

	/* the clock of this process is that of its last event */
	return age > -RST_HOLDER_KEEP_SECS && age < RST_HOLDER_KEEP_SECS;
}

/* Written also where it is vacant already: that tells policyd, which has the
   entry removed in time. */
static bool vacate(struct entry *entry)
{
	static const char text[] = RST_HOLDER_VACANT;
	bool ok;

	entry->flags = OPEN_FLAGS;
	if (call(call_open, entry) < 0)
		return FALSE;
	ok = pwrite(entry->fd, text, sizeof(text) - 1, 0) > 0 &&
	     ftruncate(entry->fd, sizeof(text) - 1) == 0;
	i_close_fd(&entry->fd);
	return ok;
}

static void retire(struct rst_hold *hold, struct entry *entry)
{
	if (is_trusted(entry) && entry->st.st_size > 0 && is_recent(entry) &&
	    vacate(entry))
		return;
	if (call(call_unlink, entry) < 0 && errno != ENOENT)
		e_warning(hold->user->event,
			  "unlink(%s) failed, policyd will look for mail that "
			  "is not there: %m",
			  entry->path);
}

void rst_entry_retire_if_empty(struct rst_hold *hold)
{
	struct file_lock *lock;
	struct entry entry;
	const char *error;

	if (find_name(hold, &entry, &error) < 0 ||
	    call(call_lstat, &entry) < 0 || !is_empty(hold) ||
	    rst_hold_lock(hold, RST_LOCK_ARRIVAL, 0, &lock, &error) <= 0)
		return;
	/* now nobody is putting a message in */
	if (is_empty(hold) && call(call_lstat, &entry) == 0)
		retire(hold, &entry);
	file_lock_free(&lock);
}
