/* SPDX-License-Identifier: MIT */
/*
 * An id:
 *
 *   unknown --note--> NOTED --flush--> LOGGED --forget--> FORGOTTEN --> unknown
 *             ^         |                                  SEEN_KEEP_SECS later
 *             `--unnote-'
 *
 * A flush writes the lines at the end of the whole lines, and syncs the file.
 * If one of that fails, the lines do not count, and the next flush writes over
 * them. Writing anew (compact) has the order: copy, sync, rename, sync of the
 * directory. Until that last sync is done no line is appended (dir_dirty): a
 * power cut would bring back the old file, without the new lines.
 */
#include "restante-config.h"

#include "seen.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "path.h"

/* A log of fewer lines is not worth writing anew. */
#define COMPACT_MIN 256
#define LINE_MAX_OCTETS (RST_ID_MAX + 32)
/* Octets reserved beyond those asked for, so that not every call reserves. */
#define RESERVE_MORE 16384
#define COPY_FILE SEEN_FILE ".new"

struct seen_entry {
	TAILQ_ENTRY(seen_entry) link;  /* in the order of the log */
	TAILQ_ENTRY(seen_entry) fresh; /* while its line is not durable */
	bool logged;
	bool forgotten; /* only a logged one can be */
	int64_t time;
	char id[RST_ID_MAX + 1];
};

TAILQ_HEAD(entry_list, seen_entry);

struct seen {
	char *dir;
	int dir_fd, fd;
	void *tree; /* by id; balanced: no choice of ids makes it slow */
	struct entry_list entries, fresh;
	size_t lines;      /* in the file, dead ones too */
	size_t compact_at; /* with fewer lines it is not tried */
	off_t size;        /* of the whole lines; the next one goes here */
	off_t reserved;    /* the file has room up to here */
	int64_t newest;    /* the newest time in a line */
	bool damaged;
	bool dir_dirty; /* the file's name is not durable yet */
};

static int entry_cmp(const void *a, const void *b)
{
	const struct seen_entry *left = a, *right = b;

	return strcmp(left->id, right->id);
}

static void entry_set_id(struct seen_entry *entry, struct rst_str id)
{
	memcpy(entry->id, id.p, id.n);
	entry->id[id.n] = '\0';
}

static struct seen_entry *find(const struct seen *seen, struct rst_str id)
{
	struct seen_entry probe, **node;

	if (!rst_id_valid(id))
		return NULL;
	entry_set_id(&probe, id);
	node = tfind(&probe, &seen->tree, entry_cmp);
	return node == NULL ? NULL : *node;
}

static struct seen_entry *add(struct seen *seen, struct rst_str id,
			      int64_t time)
{
	struct seen_entry *entry = rst_calloc(1, sizeof(*entry));

	entry_set_id(entry, id);
	if (tsearch(entry, &seen->tree, entry_cmp) == NULL)
		abort(); /* out of memory */
	TAILQ_INSERT_TAIL(&seen->entries, entry, link);
	entry->time = time;
	return entry;
}

static void drop(struct seen *seen, struct seen_entry *entry)
{
	tdelete(entry, &seen->tree, entry_cmp);
	TAILQ_REMOVE(&seen->entries, entry, link);
	if (!entry->logged)
		TAILQ_REMOVE(&seen->fresh, entry, fresh);
	free(entry);
}

/* SEEN_KEEP_SECS counts from now, and the newest line tells what time it is. */
static void set_forgotten(struct seen *seen, struct seen_entry *entry)
{
	entry->forgotten = true;
	if (entry->time < seen->newest)
		entry->time = seen->newest;
}

/* @param line without its LF. @return false: it is damaged */
static bool load_line(struct seen *seen, struct rst_str line)
{
	struct seen_entry *entry;
	struct rst_str id;
	uint64_t time;

	if (!rst_str_split(&line, '\t', &id) || !rst_id_valid(id))
		return false;
	entry = find(seen, id);
	if (rst_str_eq(line, RST_STR("-"))) {
		if (entry != NULL)
			set_forgotten(seen, entry);
		return true;
	}
	if (!rst_str_to_u64(line, &time) || time > SEEN_TIME_MAX)
		return false;
	if (entry == NULL)
		entry = add(seen, id, (int64_t)time);
	entry->logged = true;
	if ((int64_t)time > seen->newest)
		seen->newest = (int64_t)time;
	return true;
}

static void report_bad_line(const struct seen *seen)
{
	struct rst_logline line;

	rst_logline_begin(&line, "seen-log has a line that is none, skipped");
	rst_logline_cstr(&line, "dir", seen->dir);
	rst_logline_u64(&line, "line", seen->lines);
	log_line(LOG_WARNING, &line);
}

static int load(struct seen *seen, FILE *file)
{
	char *buf = NULL;
	size_t alloc = 0;
	ssize_t n;

	while ((n = getline(&buf, &alloc, file)) > 0) {
		if (buf[n - 1] != '\n') {
			log_short(LOG_INFO, "seen-log had a torn last line",
				  "dir", seen->dir);
			break;
		}
		seen->lines++;
		seen->size += n;
		if (load_line(seen, (struct rst_str){buf, (size_t)n - 1}))
			continue;
		report_bad_line(seen);
		seen->damaged = true;
	}
	free(buf);
	return ferror(file) ? -1 : 0;
}

static int load_file(struct seen *seen)
{
	int fd = openat(seen->dir_fd, SEEN_FILE, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	int ret;

	if (file == NULL) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT ? 0 : -1;
	}
	ret = load(seen, file);
	fclose(file);
	return ret;
}

static int open_files(struct seen *seen)
{
	seen->dir_fd = open(seen->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (seen->dir_fd < 0 || load_file(seen) < 0)
		return -1;
	seen->fd = openat(seen->dir_fd, SEEN_FILE,
			  O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (seen->fd < 0 || ftruncate(seen->fd, seen->size) < 0)
		return -1;
	return path_sync_dir(seen->dir_fd);
}

struct seen *seen_open(const char *dir)
{
	struct seen *seen = rst_calloc(1, sizeof(*seen));

	seen->dir = rst_strdup(dir);
	seen->dir_fd = seen->fd = -1;
	seen->compact_at = COMPACT_MIN;
	TAILQ_INIT(&seen->entries);
	TAILQ_INIT(&seen->fresh);
	if (open_files(seen) < 0) {
		log_errno("cannot open the seen-log", "dir", dir);
		seen_free(&seen);
	}
	return seen;
}

void seen_free(struct seen **_seen)
{
	struct seen *seen = *_seen;

	*_seen = NULL;
	if (seen == NULL)
		return;
	while (!TAILQ_EMPTY(&seen->entries))
		drop(seen, TAILQ_FIRST(&seen->entries));
	if (seen->fd >= 0)
		close(seen->fd);
	if (seen->dir_fd >= 0)
		close(seen->dir_fd);
	free(seen->dir);
	free(seen);
}

int seen_remove(const char *dir)
{
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret, saved;

	if (dir_fd < 0)
		return -1;
	ret = unlinkat(dir_fd, SEEN_FILE, 0);
	if (ret < 0 && errno == ENOENT)
		ret = 0;
	if (ret == 0)
		ret = path_sync_dir(dir_fd);
	saved = errno;
	close(dir_fd);
	errno = saved;
	return ret;
}

int seen_in_place(const struct seen *seen)
{
	if (path_leads_to(AT_FDCWD, seen->dir, seen->dir_fd) < 0)
		return -1;
	return path_leads_to(seen->dir_fd, SEEN_FILE, seen->fd);
}

int seen_dir_fd(const struct seen *seen)
{
	return seen->dir_fd;
}

enum seen_state seen_find(const struct seen *seen, struct rst_str id)
{
	const struct seen_entry *entry = find(seen, id);

	if (entry == NULL)
		return SEEN_UNKNOWN;
	if (entry->forgotten)
		return SEEN_FORGOTTEN;
	return entry->logged ? SEEN_LOGGED : SEEN_NOTED;
}

void seen_note(struct seen *seen, struct rst_str id, int64_t time)
{
	struct seen_entry *entry = find(seen, id);

	if (!rst_id_valid(id) || entry != NULL)
		return;
	entry = add(seen, id, time < 0 ? 0 : time);
	entry->logged = false;
	TAILQ_INSERT_TAIL(&seen->fresh, entry, fresh);
}

void seen_unnote(struct seen *seen, struct rst_str id)
{
	struct seen_entry *entry = find(seen, id);

	if (entry != NULL && !entry->logged)
		drop(seen, entry);
}

static void print_entry(FILE *file, const struct seen_entry *entry)
{
	fprintf(file, "%s\t%" PRId64 "\n", entry->id, entry->time);
}

/* Write at the end of the whole lines, over what a failed write left there.
   O_APPEND would join that with the next line. */
static int write_end(struct seen *seen, const char *buf, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pwrite(seen->fd, buf + done, len - done,
			   seen->size + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static void set_logged(struct seen *seen)
{
	struct seen_entry *entry;

	while ((entry = TAILQ_FIRST(&seen->fresh)) != NULL) {
		TAILQ_REMOVE(&seen->fresh, entry, fresh);
		entry->logged = true;
		seen->lines++;
		if (entry->time > seen->newest)
			seen->newest = entry->time;
	}
}

int seen_reserve(struct seen *seen, size_t lines)
{
	off_t n = (off_t)(lines * LINE_MAX_OCTETS);

	if (seen->size + n <= seen->reserved)
		return 0;
	n += RESERVE_MORE;
	if (fallocate(seen->fd, FALLOC_FL_KEEP_SIZE, seen->size, n) < 0)
		return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -1;
	seen->reserved = seen->size + n;
	return 0;
}

int seen_flush(struct seen *seen)
{
	const struct seen_entry *entry;
	char *buf = NULL;
	size_t len = 0;
	FILE *file;
	int ret;

	if (TAILQ_EMPTY(&seen->fresh))
		return 0;
	if (seen->dir_dirty && path_sync_dir(seen->dir_fd) < 0)
		return -1;
	seen->dir_dirty = false;
	file = open_memstream(&buf, &len);
	if (file == NULL)
		return -1;
	TAILQ_FOREACH(entry, &seen->fresh, fresh)
	print_entry(file, entry);
	if (fclose(file) != 0)
		abort(); /* out of memory */
	ret = write_end(seen, buf, len);
	free(buf);
	if (ret < 0 || fdatasync(seen->fd) < 0)
		return -1;
	seen->size += (off_t)len;
	set_logged(seen);
	return 0;
}

/* @return lines that an entry needs in a new file */
static unsigned int lines_needed(const struct seen *seen,
				 const struct seen_entry *entry)
{
	if (!entry->logged)
		return 0;
	if (!entry->forgotten)
		return 1;
	return entry->time < seen->newest - SEEN_KEEP_SECS ? 0 : 2;
}

static size_t all_lines_needed(const struct seen *seen)
{
	const struct seen_entry *entry;
	size_t lines = 0;

	TAILQ_FOREACH(entry, &seen->entries, link)
	lines += lines_needed(seen, entry);
	return lines;
}

/* Write a log without dead lines, and close fd. @return its size, or -1 */
static off_t write_copy(const struct seen *seen, int fd)
{
	FILE *file = fdopen(fd, "w");
	const struct seen_entry *entry;
	off_t size = -1;

	if (file == NULL) {
		close(fd);
		return -1;
	}
	TAILQ_FOREACH(entry, &seen->entries, link)
	{
		unsigned int lines = lines_needed(seen, entry);

		if (lines > 0)
			print_entry(file, entry);
		if (lines > 1)
			fprintf(file, "%s\t-\n", entry->id);
	}
	if (fflush(file) == 0 && fsync(fd) == 0)
		size = ftello(file);
	if (fclose(file) != 0)
		size = -1;
	return size;
}

static void drop_dead(struct seen *seen)
{
	struct seen_entry *entry, *next;

	for (entry = TAILQ_FIRST(&seen->entries); entry != NULL; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (entry->logged && lines_needed(seen, entry) == 0)
			drop(seen, entry);
	}
}

/* @return descriptor of the copy, for writing; -1: failed */
static int make_copy(struct seen *seen, off_t *size_r)
{
	int fd = openat(seen->dir_fd, COPY_FILE,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	*size_r = write_copy(seen, fd);
	if (*size_r < 0)
		return -1;
	return openat(seen->dir_fd, COPY_FILE, O_WRONLY | O_CLOEXEC);
}

static int compact(struct seen *seen)
{
	off_t size;
	int fd = make_copy(seen, &size), saved;

	if (fd < 0 ||
	    renameat(seen->dir_fd, COPY_FILE, seen->dir_fd, SEEN_FILE) < 0) {
		saved = errno;
		if (fd >= 0)
			close(fd);
		/* a full disk needs the room */
		(void)unlinkat(seen->dir_fd, COPY_FILE, 0);
		errno = saved;
		return -1;
	}
	close(seen->fd);
	seen->fd = fd;
	seen->size = size;
	seen->reserved = 0;
	drop_dead(seen);
	seen->lines = all_lines_needed(seen);
	/* seen_flush() tries it again */
	seen->dir_dirty = path_sync_dir(seen->dir_fd) < 0;
	return seen->dir_dirty ? -1 : 0;
}

/* Counting costs a walk: the log grows by half before the next one. */
static void compact_if_worth(struct seen *seen)
{
	if (seen->lines < seen->compact_at)
		return;
	if (all_lines_needed(seen) * 2 < seen->lines && compact(seen) < 0)
		log_errno("cannot compact the seen-log", "dir", seen->dir);
	seen->compact_at = seen->lines + seen->lines / 2;
	if (seen->compact_at < COMPACT_MIN)
		seen->compact_at = COMPACT_MIN;
}

void seen_forget(struct seen *seen, struct rst_str id)
{
	struct seen_entry *entry = find(seen, id);
	char line[LINE_MAX_OCTETS];
	int n;

	if (entry == NULL || entry->forgotten || !entry->logged)
		return;
	/* Not synced: if the line gets lost, the log keeps an id that never
	   comes again, which does no harm. */
	n = snprintf(line, sizeof(line), "%s\t-\n", entry->id);
	if (write_end(seen, line, (size_t)n) == 0) {
		seen->size += n;
		seen->lines++;
	}
	set_forgotten(seen, entry);
	compact_if_worth(seen);
}

int64_t seen_newest(const struct seen *seen)
{
	return seen->newest;
}

bool seen_damaged(const struct seen *seen)
{
	return seen->damaged;
}

void seen_retract(struct seen *seen, struct rst_str id)
{
	struct seen_entry *entry = find(seen, id);

	if (entry != NULL && !entry->forgotten)
		drop(seen, entry);
}

void seen_mend(struct seen *seen)
{
	if (compact(seen) < 0)
		log_errno("cannot write the seen-log anew", "dir", seen->dir);
	else
		seen->damaged = false;
}
