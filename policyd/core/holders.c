/* SPDX-License-Identifier: MIT */
/*
 * The directory is not kept open: nobody would be told that it was removed, and
 * it could not be unmounted. It is
 *
 *   watched  from open_place() on: inotify is told of it before it is looked
 *            through, so that nothing falls between the two
 *   away     after it was removed, renamed, unmounted, or replaced: made again,
 *            where that is possible, and opened at each tick
 *
 * A look reads some entries at a time, so that Postfix is answered in between.
 * A look that is asked for while another one runs begins after it, with what
 * both want.
 */
#include "holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/clock.h"
#include "restante/holder.h"

#define MODE 01733
#define MODE_ABOVE 0755
/** A hidden file is no entry. */
#define AUDITED ".audited"
/** An entry, when it is removed, is told with IN_DELETE; the directory itself,
    when it is, with IN_DELETE_SELF. */
#define EVENTS                                                  \
	(IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | \
	 IN_MOVED_FROM | IN_ONLYDIR | IN_DELETE_SELF | IN_MOVE_SELF)
#define GONE (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)
/** of events at a stretch: some 40 of them */
#define BUFFER 2048
/** names at a stretch; an entry that is looked at counts as several */
#define NAMES_AT_ONCE 64
#define ENTRY_COST 8
/** removed entries that are remembered until the next tick */
#define MAX_REMOVED 4096
/** A file's time is that of the kernel's last tick: two changes may share it.
 */
#define SETTLED_NS (1000 * 1000 * 1000LL)

enum look {
	LOOK_NONE,
	LOOK_SESSIONS, /* users who are signed in */
	LOOK_NEW,      /* and users of whom no due time is known */
	LOOK_ALL,      /* and the due times of all */
};

struct holders {
	struct event_base *base;
	struct holders_config config;
	int inotify, watch;
	dev_t dev; /* of the directory that is watched */
	ino_t ino;
	bool was_open; /* ever */
	bool complained;
	struct event *readable, *tick, *more;

	DIR *dir; /* NULL: no look runs */
	enum look look, next;

	char **removed; /* names of entries */
	unsigned int removed_count;
	bool removed_many;
};

/* ---- one entry */

/* @return -1: there is none */
static int stat_entry(const struct holders *holders, const char *name,
		      struct stat *st)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", holders->config.path,
			 name);

	if (n < 0 || n >= (int)sizeof(path) || lstat(path, st) < 0 ||
	    !S_ISREG(st->st_mode))
		return -1;
	return 0;
}

/* Whose entry is it? @return empty: nobody's */
static struct rst_str user_of(const char *name, char buf[RST_HOLDER_NAME_MAX])
{
	ssize_t n = rst_holder_user(rst_str(name), buf);

	return (struct rst_str){buf, n < 0 ? 0 : (size_t)n};
}

/* Whoever put the file there may have made a pipe of it meanwhile. */
static ssize_t read_entry(const struct holders *holders, const char *name,
			  char text[RST_HOLDER_TEXT_MAX])
{
	char path[PATH_MAX];
	struct stat st;
	ssize_t n = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", holders->config.path, name);
	fd = open(path,
		  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = read(fd, text, RST_HOLDER_TEXT_MAX);
	(void)close(fd);
	return n;
}

/* time() may be a tick behind the time of a file. */
static bool is_surely_vacant(const struct stat *st)
{
	return rst_holder_is_surely_vacant(st->st_size, st->st_mtim.tv_sec,
					   clock_wall_us() / 1000000,
					   clock_up_secs());
}

/* If no mail comes, a later look has the entry removed. */
static void tell_vacant(struct holders *holders, struct rst_str user,
			const struct stat *st)
{
	holders->config.due(user, st->st_mtim.tv_sec + RST_HOLDER_KEEP_SECS + 1,
			    holders->config.ctx);
}

/* An entry that says nothing is a reason to look into the hold. */
static void tell_due(struct holders *holders, struct rst_str user,
		     const char *name)
{
	const struct holders_config *config = &holders->config;
	char text[RST_HOLDER_TEXT_MAX];
	struct rst_holder holder = {0};
	struct stat st;
	ssize_t n;

	if (stat_entry(holders, name, &st) < 0)
		return;
	if (is_surely_vacant(&st)) {
		tell_vacant(holders, user, &st);
		return;
	}
	n = read_entry(holders, name, text);
	if (n < 0 ||
	    rst_holder_parse((struct rst_str){text, (size_t)n}, &holder) < 0 ||
	    holder.due == 0)
		holder.due = clock_wall_secs();
	config->due(user, holder.due, config->ctx);
	if (holder.full &&
	    st.st_mtim.tv_sec + RST_HOLDER_FULL_SECS > clock_wall_secs())
		config->full(user, true, config->ctx);
}

static int64_t touched_ns(const struct stat *st)
{
	int64_t then = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
	int64_t age = clock_wall_us() * 1000 - then;

	return age >= 0 && age < SETTLED_NS ? 0 : then;
}

static void tell_touched(struct holders *holders, struct rst_str user,
			 const char *name)
{
	const struct holders_config *config = &holders->config;
	struct stat st;

	if (stat_entry(holders, name, &st) == 0 &&
	    !rst_holder_is_vacant(st.st_size))
		config->touched(user, touched_ns(&st), config->ctx);
}

/* ---- a look at the entries */

static void begin_look(struct holders *holders, enum look look);

static void end_look(struct holders *holders)
{
	(void)closedir(holders->dir);
	holders->dir = NULL;
	if (holders->next != LOOK_NONE)
		begin_look(holders, holders->next);
}

/* @return what it cost */
static unsigned int look_at(struct holders *holders, const char *name)
{
	const struct holders_config *config = &holders->config;
	char buf[RST_HOLDER_NAME_MAX];
	struct rst_str user = user_of(name, buf);
	unsigned int wanted, cost = 1;

	if (user.n == 0)
		return cost;
	wanted = config->wanted(user, config->ctx);
	if ((wanted & HOLDERS_SESSION) != 0) {
		tell_touched(holders, user, name);
		cost = ENTRY_COST;
	}
	if (holders->look == LOOK_ALL ||
	    (holders->look == LOOK_NEW && (wanted & HOLDERS_DUE) != 0)) {
		tell_due(holders, user, name);
		cost = ENTRY_COST;
	}
	return cost;
}

/* Since the name was read, a delivery may have made an entry of it: that is not
   removed. With a slash behind it, only a directory is renamed. */
static int clear_away(const char *path, const char *away)
{
	char dir[PATH_MAX + 1];
	struct stat st;

	if (lstat(path, &st) < 0 || S_ISREG(st.st_mode))
		return 0;
	if (!S_ISDIR(st.st_mode))
		return unlink(path) < 0 ? -1 : 1;
	(void)snprintf(dir, sizeof(dir), "%s/", path);
	return rmdir(path) < 0 && rename(dir, away) < 0 ? -1 : 1;
}

/* No entry is a directory, a link or a pipe. The plugin cannot remove one where
   it does not run as root; the owner of the directory can. */
static void clear_junk(const struct holders *holders, const char *name)
{
	char path[PATH_MAX], away[PATH_MAX];
	int ret;

	(void)snprintf(path, sizeof(path), "%s/%s", holders->config.path, name);
	(void)snprintf(away, sizeof(away), "%s/.junk-%lld",
		       holders->config.path, (long long)clock_wall_us());
	ret = clear_away(path, away);
	if (ret < 0)
		log_errno("what is in an entry's place cannot be removed, mail "
			  "of that user may not be held",
			  "path", path);
	else if (ret > 0)
		log_short(LOG_WARNING,
			  "somebody had put something else in an entry's "
			  "place, removed",
			  "path", path);
}

static bool is_junk(const struct dirent *entry)
{
	char buf[RST_HOLDER_NAME_MAX];

	return entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN &&
	       user_of(entry->d_name, buf).n > 0;
}

static void on_more(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once = {0, 0};
	struct holders *holders = arg;
	const struct dirent *entry;
	unsigned int cost = 0;

	(void)fd;
	(void)what;
	while (cost < NAMES_AT_ONCE) {
		entry = readdir(holders->dir);
		if (entry == NULL) {
			end_look(holders);
			return;
		}
		if (is_junk(entry)) {
			clear_junk(holders, entry->d_name);
			cost += ENTRY_COST;
			continue;
		}
		cost += look_at(holders, entry->d_name);
	}
	(void)event_add(holders->more, &at_once);
}

static void begin_look(struct holders *holders, enum look look)
{
	static const struct timeval at_once = {0, 0};

	if (look > holders->next)
		holders->next = look;
	if (holders->dir != NULL)
		return;
	holders->dir = opendir(holders->config.path);
	if (holders->dir == NULL)
		return; /* the next tick tries again */
	holders->look = holders->next;
	holders->next = LOOK_NONE;
	(void)event_add(holders->more, &at_once);
}

void holders_look_through(struct holders *holders)
{
	begin_look(holders, LOOK_ALL);
}

/* ---- the directory */

static bool make_above(const char *path, uid_t uid, gid_t gid)
{
	char *copy = rst_strdup(path), *dir = dirname(copy);
	bool ok = mkdir(dir, MODE_ABOVE) < 0
			  ? errno == EEXIST
			  : uid == geteuid() || chown(dir, uid, gid) == 0;

	free(copy);
	return ok;
}

static void sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	(void)close(fd);
}

/* The directories above are synced by the first entry's fsync, too, on the file
   systems that there are; this is for those that there may be. */
static void sync_above(const char *path)
{
	char *copy = rst_strdup(path), *dir = dirname(copy);

	sync_directory(path);
	sync_directory(dir);
	sync_directory(dirname(dir));
	free(copy);
}

bool holders_make_directory(const char *path, uid_t uid, gid_t gid)
{
	struct stat st;
	mode_t before;
	int ret;

	if (stat(path, &st) == 0) {
		errno = ENOTDIR;
		return S_ISDIR(st.st_mode);
	}
	if (!make_above(path, uid, gid))
		return false;
	before = umask(0);
	ret = mkdir(path, MODE);
	(void)umask(before);
	if (ret < 0)
		return errno == EEXIST;
	if (uid != geteuid() && chown(path, uid, gid) < 0)
		return false;
	sync_above(path);
	return true;
}

static void complain(struct holders *holders, const char *message)
{
	if (!holders->complained)
		log_errno(message, "holders_directory", holders->config.path);
	holders->complained = true;
}

static bool may_list(const char *path)
{
	DIR *dir = opendir(path);

	if (dir == NULL)
		return false;
	(void)closedir(dir);
	return true;
}

/* @return whether the directory is there, and is watched if that is possible */
static bool open_place(struct holders *holders)
{
	const char *path = holders->config.path;
	struct stat st;

	if (!holders_make_directory(path, geteuid(), getegid()) ||
	    !may_list(path) || stat(path, &st) < 0) {
		complain(holders, "no holders directory: nothing can be held, "
				  "and nobody is told of mail");
		return false;
	}
	if (holders->inotify >= 0)
		holders->watch =
			inotify_add_watch(holders->inotify, path, EVENTS);
	if (holders->watch < 0)
		complain(holders, "holders directory not watched, it is looked "
				  "through again and again");
	else if (holders->complained)
		log_short(LOG_NOTICE, "holders directory is there again",
			  "holders_directory", path);
	holders->complained = holders->complained && holders->watch < 0;
	holders->dev = st.st_dev;
	holders->ino = st.st_ino;
	return true;
}

static void leave_place(struct holders *holders)
{
	if (holders->watch >= 0)
		(void)inotify_rm_watch(holders->inotify, holders->watch);
	holders->watch = -1;
	holders->ino = 0;
}

/* Watch the directory anew. */
static void take_place(struct holders *holders)
{
	bool again = holders->was_open;

	leave_place(holders);
	if (!open_place(holders))
		return;
	holders->was_open = true;
	begin_look(holders, LOOK_NEW);
	if (again) {
		log_short(LOG_WARNING,
			  "the holders directory is another one, looking for "
			  "what is held without an entry",
			  "holders_directory", holders->config.path);
		holders->config.lost(holders->config.ctx);
	}
}

static bool is_in_place(const struct holders *holders)
{
	struct stat st;

	return holders->ino != 0 && stat(holders->config.path, &st) == 0 &&
	       st.st_dev == holders->dev && st.st_ino == holders->ino;
}

/* ---- entries that were removed */

/* Mostly because nothing is held any more: then nothing is known to fall due
   for the user, a little later. */
static void removed(struct holders *holders, const char *name)
{
	if (holders->removed_count == MAX_REMOVED) {
		holders->removed_many = true;
		return;
	}
	holders->removed = rst_realloc(holders->removed,
				       (holders->removed_count + 1) *
					       sizeof(*holders->removed));
	holders->removed[holders->removed_count++] = rst_strdup(name);
}

/* Somebody has removed the entry of a user for whom mail may be held. A look
   into the hold makes the entry again. */
static void ask_for(struct holders *holders, const char *name)
{
	const struct holders_config *config = &holders->config;
	char buf[RST_HOLDER_NAME_MAX];
	struct rst_str user = user_of(name, buf);
	struct stat st;

	if ((config->wanted(user, config->ctx) & HOLDERS_DUE) == 0 &&
	    stat_entry(holders, name, &st) < 0)
		config->due(user, clock_wall_secs(), config->ctx);
}

static void forget_removed(struct holders *holders)
{
	while (holders->removed_count > 0)
		free(holders->removed[--holders->removed_count]);
	free(holders->removed);
	holders->removed = NULL;
	holders->removed_many = false;
}

static void ask_for_removed(struct holders *holders)
{
	unsigned int i;

	if (holders->removed_many)
		holders->config.lost(holders->config.ctx);
	else
		for (i = 0; i < holders->removed_count; i++)
			ask_for(holders, holders->removed[i]);
	forget_removed(holders);
}

/* ---- events */

static void touched(struct holders *holders, const char *name)
{
	const struct holders_config *config = &holders->config;
	char buf[RST_HOLDER_NAME_MAX];
	struct rst_str user = user_of(name, buf);
	unsigned int wanted;

	if (user.n == 0)
		return;
	wanted = config->wanted(user, config->ctx);
	if ((wanted & HOLDERS_SESSION) != 0)
		config->held(user, config->ctx);
	if ((wanted & HOLDERS_DUE) != 0)
		tell_due(holders, user, name);
}

/* For a vacant entry the time that is written when mail comes may be sooner
   than the look that removes it, which is known; where nothing is known, the
   touch that follows tells. That there is no room is seen by the size. */
static void written(struct holders *holders, const char *name)
{
	const struct holders_config *config = &holders->config;
	char buf[RST_HOLDER_NAME_MAX];
	struct rst_str user = user_of(name, buf);
	struct stat st;

	if (user.n == 0 || stat_entry(holders, name, &st) < 0)
		return;
	config->full(user, st.st_size == RST_HOLDER_FULL_SIZE, config->ctx);
	if (rst_holder_is_vacant(st.st_size))
		tell_vacant(holders, user, &st);
	else if ((config->wanted(user, config->ctx) & HOLDERS_DUE) == 0)
		tell_due(holders, user, name);
}

static void on_event(struct holders *holders, const struct inotify_event *ev)
{
	if ((ev->mask & IN_Q_OVERFLOW) != 0) {
		log_short(LOG_WARNING,
			  "too many changes of the holders directory at once, "
			  "looking through it",
			  NULL, NULL);
		begin_look(holders, LOOK_NEW);
	} else if (ev->wd != holders->watch) {
		/* of a directory that was left */
	} else if ((ev->mask & GONE) != 0) {
		take_place(holders);
	} else if (ev->len == 0 || ev->name[0] == '.') {
		/* of the directory itself, or no entry */
	} else if ((ev->mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
		removed(holders, ev->name);
	} else if ((ev->mask & IN_CLOSE_WRITE) != 0) {
		written(holders, ev->name);
	} else {
		touched(holders, ev->name);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	char buf[BUFFER] __attribute__((aligned(8)));
	const struct inotify_event *ev;
	struct holders *holders = arg;
	ssize_t n = read(fd, buf, sizeof(buf)), at;

	(void)what;
	for (at = 0; at < n; at += (ssize_t)(sizeof(*ev) + ev->len)) {
		ev = (const struct inotify_event *)(const void *)(buf + at);
		on_event(holders, ev);
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct timeval delay = clock_timeval(HOLDERS_LOOK_MS);
	struct holders *holders = arg;

	(void)fd;
	(void)what;
	(void)event_add(holders->tick, &delay);
	if (!is_in_place(holders)) {
		take_place(holders);
		return;
	}
	ask_for_removed(holders);
	begin_look(holders, holders->watch < 0 ? LOOK_NEW : LOOK_SESSIONS);
}

/* ---- the note of the last walk over all users */

static bool audit_path(const char *path, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/" AUDITED, path);

	return n > 0 && n < PATH_MAX;
}

int64_t holders_audit_age(const char *path)
{
	char file[PATH_MAX];
	struct stat st;
	int64_t age;

	if (!audit_path(path, file) || lstat(file, &st) < 0 ||
	    !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return -1;
	age = clock_wall_secs() - st.st_mtim.tv_sec;
	return age < 0 ? -1 : age;
}

/* Made anew, as it may be somebody else's. */
void holders_audited(const char *path)
{
	char file[PATH_MAX];
	int fd;

	if (!audit_path(path, file))
		return;
	(void)unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd >= 0)
		(void)close(fd);
}

/* ---- beginning and end */

static void start_inotify(struct holders *holders)
{
	holders->watch = -1;
	holders->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (holders->inotify < 0) {
		complain(holders, "inotify not available, the holders "
				  "directory is looked through again and "
				  "again");
		return;
	}
	holders->readable =
		event_new(holders->base, holders->inotify, EV_READ | EV_PERSIST,
			  on_readable, holders);
	if (holders->readable == NULL || event_add(holders->readable, NULL) < 0)
		abort();
}

struct holders *holders_new(struct event_base *base,
			    const struct holders_config *config)
{
	struct holders *holders = rst_calloc(1, sizeof(*holders));

	holders->base = base;
	holders->config = *config;
	start_inotify(holders);
	holders->more = evtimer_new(base, on_more, holders);
	holders->tick = evtimer_new(base, on_tick, holders);
	if (holders->more == NULL || holders->tick == NULL)
		abort();
	event_active(holders->tick, EV_TIMEOUT, 0);
	return holders;
}

void holders_free(struct holders **_holders)
{
	struct holders *holders = *_holders;

	*_holders = NULL;
	if (holders == NULL)
		return;
	if (holders->readable != NULL)
		event_free(holders->readable);
	event_free(holders->more);
	event_free(holders->tick);
	if (holders->dir != NULL)
		(void)closedir(holders->dir);
	if (holders->inotify >= 0)
		(void)close(holders->inotify);
	forget_removed(holders);
	free(holders);
}
