/* SPDX-License-Identifier: MIT */
/*
 * The order that makes a file and its replacement durable:
 *
 *   a new file    create, fdatasync of the directory. A crash between the two
 *                 leaves an empty file, so the directory is synced whenever the
 *                 file is found empty.
 *   append        write, fdatasync
 *   replace       write to NAME.new, fdatasync, rename, fdatasync of the
 *                 directory
 */
#include "lib.h"
#include "log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE 4096

struct rst_log {
	char *dir, *path;
	int fd; /* -1: there is no file, and nothing is written */
	bool durable;
	off_t size; /* of the whole lines that were read and appended */
};

static int failed(const char *what, const char *path, const char **error_r)
{
	*error_r = t_strdup_printf("%s(%s) failed: %m", what, path);
	return -1;
}

/* ---- opening */

static int sync_dir(const struct rst_log *log, const char **error_r)
{
	int fd = open(log->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = 0;

	if (fd == -1)
		return failed("open", log->dir, error_r);
	if (fdatasync(fd) < 0)
		ret = failed("fdatasync", log->dir, error_r);
	i_close_fd(&fd);
	return ret;
}

static int sync_entry(const struct rst_log *log, const char **error_r)
{
	struct stat st;

	if (!log->durable || (fstat(log->fd, &st) == 0 && st.st_size > 0))
		return 0;
	return sync_dir(log, error_r);
}

static struct rst_log *create(const char *dir, const char *name, int flags)
{
	struct rst_log *log = i_new(struct rst_log, 1);

	log->dir = i_strdup(dir);
	log->path = i_strconcat(dir, "/", name, NULL);
	log->fd = open(log->path, flags | O_CLOEXEC, 0600);
	return log;
}

int rst_log_open(const char *dir, const char *name, bool durable,
		 struct rst_log **log_r, const char **error_r)
{
	struct rst_log *log = create(dir, name, O_RDWR | O_APPEND | O_CREAT);
	int ret;

	*log_r = log;
	log->durable = durable;
	ret = log->fd == -1 ? failed("open", log->path, error_r)
			    : sync_entry(log, error_r);
	if (ret < 0)
		rst_log_close(log_r);
	return ret;
}

int rst_log_open_readonly(const char *dir, const char *name,
			  struct rst_log **log_r, const char **error_r)
{
	struct rst_log *log = create(dir, name, O_RDONLY);

	*log_r = log;
	if (log->fd != -1 || errno == ENOENT)
		return 0;
	(void)failed("open", log->path, error_r);
	rst_log_close(log_r);
	return -1;
}

void rst_log_close(struct rst_log **_log)
{
	struct rst_log *log = *_log;

	if (log == NULL)
		return;
	*_log = NULL;
	i_close_fd(&log->fd);
	i_free(log->path);
	i_free(log->dir);
	i_free(log);
}

/* ---- reading */

int rst_log_read(struct rst_log *log, size_t max_size, buffer_t *data,
		 const char **error_r)
{
	struct stat st;
	size_t before, size = READ_SIZE;
	off_t offset = 0;
	ssize_t n;

	if (log->fd == -1)
		return 0;
	/* mostly the file has this size still, and one read gives all of it */
	if (fstat(log->fd, &st) == 0 && st.st_size >= 0 &&
	    (uoff_t)st.st_size < max_size)
		size = (size_t)st.st_size + 1;
	do {
		before = data->used;
		n = pread(log->fd, buffer_append_space_unsafe(data, size), size,
			  offset);
		buffer_set_used_size(data, before + (size_t)I_MAX(n, 0));
		if (n < 0)
			return failed("read", log->path, error_r);
		offset += n;
		size = READ_SIZE;
	} while (n > 0 && data->used <= max_size);
	return 0;
}

ssize_t rst_log_read_at(struct rst_log *log, off_t offset, void *data_r,
			size_t size, const char **error_r)
{
	ssize_t n = log->fd == -1 ? 0 : pread(log->fd, data_r, size, offset);

	return n < 0 ? failed("read", log->path, error_r) : n;
}

bool rst_log_read_tail(struct rst_log *log, void *data_r, size_t size)
{
	struct stat st;

	return log->fd != -1 && fstat(log->fd, &st) == 0 &&
	       st.st_size >= (off_t)size &&
	       pread(log->fd, data_r, size, st.st_size - (off_t)size) ==
		       (ssize_t)size;
}

int rst_log_each_line(struct rst_log *log, rst_log_line_func *func,
		      void *context, const char **error_r)
{
	buffer_t *data = buffer_create_dynamic(default_pool, READ_SIZE);
	char *line, *lf, *end;
	int ret = rst_log_read(log, SIZE_MAX, data, error_r);

	line = buffer_get_modifiable_data(data, NULL);
	end = line + data->used;
	while (ret == 0 && (lf = memchr(line, '\n', end - line)) != NULL) {
		*lf = '\0';
		T_BEGIN
		{
			func(line, context);
		}
		T_END;
		line = lf + 1;
	}
	if (ret == 0)
		log->size = (off_t)data->used - (end - line);
	buffer_free(&data);
	return ret;
}

/* ---- writing */

static int write_all(int fd, const char *path, const void *data, size_t size,
		     const char **error_r)
{
	const char *p = data;
	ssize_t n;

	while (size > 0) {
		n = write(fd, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return failed("write", path, error_r);
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int rst_log_append(struct rst_log *log, const void *data, size_t size,
		   bool durable, const char **error_r)
{
	if (write_all(log->fd, log->path, data, size, error_r) < 0)
		return -1;
	if (durable && fdatasync(log->fd) < 0)
		return failed("fdatasync", log->path, error_r);
	log->size += (off_t)size;
	return 0;
}

int rst_log_cut(struct rst_log *log, const char **error_r)
{
	return ftruncate(log->fd, log->size) < 0
		       ? failed("ftruncate", log->path, error_r)
		       : 0;
}

int rst_log_clear(struct rst_log *log, const char **error_r)
{
	log->size = 0;
	return rst_log_cut(log, error_r);
}

static int write_new(const struct rst_log *log, int fd, const char *path,
		     const void *data, size_t size, const char **error_r)
{
	if (write_all(fd, path, data, size, error_r) < 0)
		return -1;
	if (log->durable && fdatasync(fd) < 0)
		return failed("fdatasync", path, error_r);
	if (rename(path, log->path) < 0)
		return failed("rename", path, error_r);
	return 0;
}

int rst_log_replace(struct rst_log *log, const void *data, size_t size,
		    const char **error_r)
{
	const char *path = t_strconcat(log->path, ".new", NULL);
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0600);

	if (fd == -1)
		return failed("open", path, error_r);
	if (write_new(log, fd, path, data, size, error_r) < 0) {
		i_close_fd(&fd);
		return -1;
	}
	i_close_fd(&log->fd);
	log->fd = fd;
	log->size = (off_t)size;
	return log->durable ? sync_dir(log, error_r) : 0;
}
