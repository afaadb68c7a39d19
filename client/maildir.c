/* SPDX-License-Identifier: MIT */
/*
 * The order at the start: maildir_open(), maildir_lock(), and only then
 * maildir_scan(), which finds messages whose id a crash kept out of the
 * seen-log, and maildir_clean(), which removes those that a crash left in tmp.
 * Without the lock these may be files of another running client.
 */
#include "maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "path.h"
#include "restante/clock.h"

#define ID_LABEL ",restante="
#define HOST_MAX 64
/* Maildir readers skip names that begin with it. */
#define HIDDEN "."
#define TRY_FILE HIDDEN "restante.try"

/* @param id_r empty where the server gave none
   @return false: not a file of ours */
static bool parse_name(const char *name, struct rst_str *id_r, int64_t *time_r)
{
	const char *label = strstr(name, ID_LABEL);
	struct rst_str rest = rst_str(name), seconds;
	uint64_t time;

	if (label == NULL || !rst_str_split(&rest, '.', &seconds) ||
	    !rst_str_to_u64(seconds, &time) || time > INT64_MAX)
		return false;
	rest = rst_str(label + strlen(ID_LABEL));
	if (!rst_str_split(&rest, ':', id_r))
		*id_r = rest;
	*time_r = (int64_t)time;
	return id_r->n == 0 || rst_id_valid(*id_r);
}

static void log_dir_errno(const char *message, const struct maildir *maildir,
			  const char *name)
{
	char *path = path_join(maildir->path, name);

	log_errno(message, "path", path);
	free(path);
}

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int make_dirs(const struct maildir *maildir)
{
	static const char *const names[] = {"tmp", "new", "cur"};
	bool made = false;
	size_t i;

	for (i = 0; i < 3; i++) {
		if (mkdirat(maildir->fd, names[i], 0700) == 0) {
			made = true;
		} else if (errno != EEXIST) {
			log_dir_errno("cannot make directory", maildir,
				      names[i]);
			return -1;
		}
	}
	if (made && path_sync_dir(maildir->fd) < 0) {
		log_dir_errno("cannot sync directory", maildir, "");
		return -1;
	}
	return 0;
}

int maildir_open(struct maildir *maildir, const char *path)
{
	*maildir = (struct maildir){rst_strdup(path), -1, -1, -1, false};
	if (path_make_dir(path) == 0)
		maildir->fd = open_dir(AT_FDCWD, path);
	if (maildir->fd < 0) {
		log_errno("cannot open the Maildir", "path", path);
		return -1;
	}
	if (make_dirs(maildir) < 0)
		return -1;
	maildir->tmp_fd = open_dir(maildir->fd, "tmp");
	maildir->new_fd = open_dir(maildir->fd, "new");
	if (maildir->tmp_fd < 0 || maildir->new_fd < 0) {
		log_errno("cannot open the Maildir", "path", path);
		return -1;
	}
	return 0;
}

void maildir_close(struct maildir *maildir)
{
	const int fds[] = {maildir->fd, maildir->tmp_fd, maildir->new_fd};
	size_t i;

	for (i = 0; i < 3; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(maildir->path);
	*maildir = (struct maildir){NULL, -1, -1, -1, false};
}

int maildir_in_place(const struct maildir *maildir)
{
	if (path_leads_to(AT_FDCWD, maildir->path, maildir->fd) < 0 ||
	    path_leads_to(maildir->fd, "tmp", maildir->tmp_fd) < 0)
		return -1;
	return path_leads_to(maildir->fd, "new", maildir->new_fd);
}

int maildir_work_fd(const struct maildir *maildir)
{
	return maildir->apart ? maildir->new_fd : maildir->tmp_fd;
}

void maildir_work_name(const struct maildir *maildir, const char *name,
		       char name_r[MAILDIR_NAME_SIZE])
{
	(void)snprintf(name_r, MAILDIR_NAME_SIZE, "%s%s",
		       maildir->apart ? HIDDEN : "", name);
}

static int lock_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (fd >= 0 && errno == EWOULDBLOCK)
		log_short(LOG_ERR, "another restante uses this directory",
			  "lock", path);
	else
		log_errno("cannot lock", "lock", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

int maildir_lock(const char *dir)
{
	char *path = path_join(dir, MAILDIR_LOCK_FILE);
	int fd = lock_file(path);

	free(path);
	return fd;
}

int maildir_lock_in_place(const char *dir, int lock_fd)
{
	char *path = path_join(dir, MAILDIR_LOCK_FILE);
	int ret = path_leads_to(AT_FDCWD, path, lock_fd);

	free(path);
	return ret;
}

/* Besides other file systems there are bind mounts, projects with a quota, and
   directories with other keys: only trying tells. */
static bool is_apart(int from_fd, int to_fd)
{
	int fd = openat(from_fd, TRY_FILE,
			O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool apart = false;

	if (fd < 0)
		return false; /* the first message tells why */
	close(fd);
	if (renameat(from_fd, TRY_FILE, to_fd, TRY_FILE) < 0) {
		apart = errno == EXDEV;
		(void)unlinkat(from_fd, TRY_FILE, 0);
	}
	(void)unlinkat(to_fd, TRY_FILE, 0);
	return apart;
}

void maildir_try(struct maildir *maildir)
{
	int cur_fd = open_dir(maildir->fd, "cur");

	maildir->apart = is_apart(maildir->tmp_fd, maildir->new_fd);
	if (maildir->apart)
		log_short(LOG_INFO,
			  "tmp and new are on different file systems: messages "
			  "are written in new, by hidden names, until they are "
			  "whole",
			  "maildir", maildir->path);
	if (cur_fd < 0)
		return;
	if (is_apart(maildir->new_fd, cur_fd))
		log_short(LOG_WARNING,
			  "new and cur are on different file systems: mail "
			  "programs cannot mark a message as seen; put both on "
			  "one",
			  "maildir", maildir->path);
	close(cur_fd);
}

/* Call func for each entry of a directory of the Maildir. */
static int each_file(const struct maildir *maildir, const char *sub,
		     void (*func)(const char *name, void *ctx), void *ctx)
{
	int fd = open_dir(maildir->fd, sub);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int saved;

	if (dir == NULL) {
		log_dir_errno("cannot read directory", maildir, sub);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (errno = 0, (entry = readdir(dir)) != NULL)
		func(entry->d_name, ctx);
	saved = errno;
	closedir(dir);
	errno = saved;
	if (errno != 0)
		log_dir_errno("cannot read directory", maildir, sub);
	return errno == 0 ? 0 : -1;
}

/* A file that is being written is in tmp, or in new by a hidden name. */
static void clean_tmp(const char *name, void *ctx)
{
	const struct maildir *maildir = ctx;
	struct rst_str id;
	int64_t time;

	if (parse_name(name, &id, &time))
		(void)unlinkat(maildir->tmp_fd, name, 0);
}

static void clean_new(const char *name, void *ctx)
{
	const struct maildir *maildir = ctx;
	struct rst_str id;
	int64_t time;

	if (strncmp(name, HIDDEN, strlen(HIDDEN)) == 0 &&
	    parse_name(name + strlen(HIDDEN), &id, &time))
		(void)unlinkat(maildir->new_fd, name, 0);
}

void maildir_clean(struct maildir *maildir)
{
	(void)each_file(maildir, "tmp", clean_tmp, maildir);
	(void)each_file(maildir, "new", clean_new, maildir);
}

struct scan {
	int64_t since;
	maildir_found_func *found;
	void *ctx;
};

static void scan_file(const char *name, void *ctx)
{
	const struct scan *scan = ctx;
	struct rst_str id;
	int64_t time;

	if (parse_name(name, &id, &time) && id.n > 0 && time >= scan->since)
		scan->found(id, time, scan->ctx);
}

int maildir_scan(const struct maildir *maildir, int64_t since,
		 maildir_found_func *found, void *ctx)
{
	struct scan scan = {since, found, ctx};

	/* new first: a file that a reader moves to cur meanwhile is then seen
	   twice; in the other order it might not be seen */
	if (each_file(maildir, "new", scan_file, &scan) < 0)
		return -1;
	return each_file(maildir, "cur", scan_file, &scan);
}

static bool is_host_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* '/' and ':' have to be encoded. So are a comma, which begins our label, a
   backslash, and octets that a file system may refuse in a name. */
char *maildir_host(const char *hostname)
{
	char *host = rst_malloc(HOST_MAX + 1);
	size_t n = 0, need;

	for (; *hostname != '\0'; hostname++) {
		need = is_host_octet(*hostname) ? 1 : 4;
		if (n + need > HOST_MAX)
			break;
		if (need == 1)
			host[n] = *hostname;
		else
			(void)snprintf(host + n, need + 1, "\\%03o",
				       (unsigned int)(unsigned char)*hostname);
		n += need;
	}
	host[n] = '\0';
	return host;
}

void maildir_name(char name_r[MAILDIR_NAME_SIZE], const char *host,
		  struct rst_str id, int64_t secs)
{
	static unsigned int count;
	int64_t now_us = clock_wall_us();

	(void)snprintf(name_r, MAILDIR_NAME_SIZE,
		       "%" PRId64 ".M%dP%dQ%u.%.*s" ID_LABEL "%.*s", secs,
		       (int)(now_us % 1000000), (int)getpid(), ++count,
		       HOST_MAX, host, (int)id.n, id.p);
}
