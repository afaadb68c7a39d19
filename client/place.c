/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "binding.h"
#include "log.h"
#include "path.h"
#include "room.h"

/* With less room the disk counts as full, although small messages might fit. */
#define ROOM_MIN (1024 * 1024)
/* The times in a name and in its line of the log are read separately. */
#define NAME_SLACK_SECS 86400

/* ---- opening */

static int lock_dirs(struct place *place)
{
	struct stat maildir, state;

	place->lock_fd = maildir_lock(place->maildir.path);
	if (place->lock_fd < 0)
		return -1;
	if (path_make_dir(place->state_dir) < 0) {
		log_errno("cannot make directory", "path", place->state_dir);
		return -1;
	}
	if (fstat(place->maildir.fd, &maildir) < 0 ||
	    stat(place->state_dir, &state) < 0) {
		log_errno("cannot stat", "path", place->state_dir);
		return -1;
	}
	if (maildir.st_dev == state.st_dev && maildir.st_ino == state.st_ino)
		return 0;
	place->state_lock_fd = maildir_lock(place->state_dir);
	return place->state_lock_fd < 0 ? -1 : 0;
}

static void note_found(struct rst_str id, int64_t time, void *ctx)
{
	if (seen_find(ctx, id) == SEEN_UNKNOWN)
		seen_note(ctx, id, time);
}

/*
 * Note the messages that were renamed just before a crash and are not in the
 * log. Their names are not older than the log's last line, whatever the clock
 * did: see stamp(). Without a log, or with a damaged one, every name counts.
 */
static int find_unlogged(struct place *place)
{
	bool damaged = seen_damaged(place->seen);
	int64_t since =
		damaged ? 0 : seen_newest(place->seen) - NAME_SLACK_SECS;

	if (maildir_scan(&place->maildir, since, note_found, place->seen) < 0)
		return -1;
	/* a failure does no harm: the noted ids are known, and the next flush
	   tries again */
	if (path_sync_dir(place->maildir.new_fd) < 0 ||
	    seen_flush(place->seen) < 0)
		log_errno("cannot write the seen-log", "dir", place->state_dir);
	else if (damaged)
		seen_mend(place->seen);
	return 0;
}

static bool has_state_dir(const struct place *place)
{
	return place->state_lock_fd >= 0;
}

/* A log of its own directory may be another Maildir's: of the one that was at
   this path before, for example. Then only the names of files tell which
   messages are here. */
static int find_binding(struct place *place, bool *bound_r)
{
	int binding = BINDING_THIS;

	if (has_state_dir(place))
		binding = binding_find(place->maildir.fd, place->lock_fd,
				       place->state_lock_fd);
	*bound_r = binding == BINDING_THIS;
	if (binding == BINDING_OTHER) {
		log_short(LOG_WARNING,
			  "the seen-log is another Maildir's, it is begun anew",
			  "dir", place->state_dir);
		if (seen_remove(place->state_dir) == 0)
			return 0;
	} else if (binding >= 0) {
		return 0;
	}
	log_errno("cannot begin the seen-log anew", "dir", place->state_dir);
	return -1;
}

/* Not fatal: the disk may be full, and an unbound log counts. */
static void bind_log(const struct place *place)
{
	if (binding_make(place->maildir.fd, place->lock_fd,
			 place->state_lock_fd) < 0)
		log_errno("cannot bind the seen-log to the Maildir", "dir",
			  place->state_dir);
}

int place_open(struct place *place, const char *maildir, const char *state_dir)
{
	bool bound;

	*place = (struct place){.state_dir = rst_strdup(state_dir),
				.lock_fd = -1,
				.state_lock_fd = -1};
	if (maildir_open(&place->maildir, maildir) < 0 ||
	    lock_dirs(place) < 0 || find_binding(place, &bound) < 0 ||
	    (place->seen = seen_open(place->state_dir)) == NULL ||
	    place_check(place) < 0)
		return -1;
	maildir_try(&place->maildir);
	if (find_unlogged(place) < 0)
		return -1;
	if (!bound)
		bind_log(place);
	maildir_clean(&place->maildir);
	return 0;
}

void place_close(struct place *place)
{
	seen_free(&place->seen);
	maildir_close(&place->maildir);
	if (place->lock_fd >= 0)
		close(place->lock_fd);
	if (place->state_lock_fd >= 0)
		close(place->state_lock_fd);
	free(place->state_dir);
	place->state_dir = NULL;
	place->lock_fd = place->state_lock_fd = -1;
}

/* ---- is it usable? */

int place_disks(const struct place *place, struct place_disks *disks_r)
{
	struct stat maildir, state;

	if (fstat(place->maildir.fd, &maildir) < 0 ||
	    fstat(seen_dir_fd(place->seen), &state) < 0)
		return -1;
	disks_r->maildir = maildir.st_dev;
	disks_r->state_dir = state.st_dev;
	return 0;
}

static int open_dir(const char *path, const char *name)
{
	char *joined = path_join(path, name);
	int fd = open(joined, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	free(joined);
	return fd;
}

static int probe_dir(int dir_fd)
{
	int ret = dir_fd < 0 ? -1 : room_probe(dir_fd, ROOM_MIN), saved = errno;

	if (dir_fd >= 0)
		close(dir_fd);
	errno = saved;
	return ret;
}

static bool is_dir(const char *path, const char *name)
{
	char *joined = path_join(path, name);
	struct stat st;
	bool yes = stat(joined, &st) == 0 && S_ISDIR(st.st_mode);

	free(joined);
	return yes;
}

static int check_disk(const char *path, dev_t disk)
{
	dev_t device;

	if (path_device(path, &device) < 0)
		return -1;
	if (device == disk)
		return 0;
	errno = ENODEV;
	return -1;
}

static int probe_maildir(const char *path, const struct place_disks *disks)
{
	if (!is_dir(path, "tmp") || !is_dir(path, "new") ||
	    !is_dir(path, "cur"))
		return check_disk(path, disks->maildir);
	if (probe_dir(open_dir(path, "tmp")) < 0)
		return -1;
	return probe_dir(open_dir(path, "new"));
}

static int probe_state_dir(const char *path, const char *maildir,
			   const struct place_disks *disks)
{
	char *log = path_join(path, SEEN_FILE);
	int ret = access(log, W_OK);

	free(log);
	if (ret < 0 && errno != ENOENT)
		return -1;
	if (ret < 0 && strcmp(path, maildir) != 0 &&
	    check_disk(path, disks->state_dir) < 0)
		return -1;
	return is_dir(path, ".") ? probe_dir(open_dir(path, ".")) : 0;
}

int place_probe(const char *maildir, const char *state_dir,
		const struct place_disks *disks)
{
	if (probe_maildir(maildir, disks) < 0)
		return -1;
	return probe_state_dir(state_dir, maildir, disks);
}

int place_probe_small(const struct place *place)
{
	if (probe_dir(dup(maildir_work_fd(&place->maildir))) < 0)
		return -1;
	return probe_dir(dup(seen_dir_fd(place->seen)));
}

/* ---- where the paths lead to */

static int find_moved(const struct place *place)
{
	if (maildir_in_place(&place->maildir) < 0 ||
	    maildir_lock_in_place(place->maildir.path, place->lock_fd) < 0 ||
	    seen_in_place(place->seen) < 0)
		return -1;
	return has_state_dir(place)
		       ? maildir_lock_in_place(place->state_dir,
					       place->state_lock_fd)
		       : 0;
}

int place_check(struct place *place)
{
	struct rst_logline line;

	if (place->moved == 0) {
		if (find_moved(place) == 0)
			return 0;
		place->moved = errno;
		rst_logline_begin(&line, "the Maildir or the seen-log was "
					 "removed, moved or replaced");
		rst_logline_cstr(&line, "maildir", place->maildir.path);
		rst_logline_cstr(&line, "state_dir", place->state_dir);
		rst_logline_cstr(&line, "error", strerror(place->moved));
		log_line(LOG_WARNING, &line);
	}
	errno = place->moved;
	return -1;
}
