/* SPDX-License-Identifier: MIT */
/**
 * Counts the calls that write to disk as steps. At a chosen step the program
 * ends, or the call fails. Link with
 *   -Wl,--wrap=write,--wrap=pwrite,--wrap=fsync,--wrap=fdatasync
 *   -Wl,--wrap=renameat,--wrap=unlinkat,--wrap=fallocate
 *   -Wl,--wrap=sync_file_range,--wrap=i_my_pwrite
 * Also makes a temporary directory. Only one .c file of a test includes this.
 */
#ifndef FAULT_H
#define FAULT_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-util.h"

static int fault_step, fault_crash_at, fault_fail_at, fault_errno;
static bool fault_for_good; /* all steps after fault_fail_at fail, too */
/* Not counted as steps: each write(), or fallocate(), fails with ENOSPC. */
static bool fault_disk_full, fault_no_reserve;
static int fault_hook_at; /* before this step: */
static void (*fault_hook)(void);
static int fault_write_back; /* errno of each sync_file_range(), no step too */

/* No exit(): no handler runs, no stream is flushed, no leak is looked for. */
static inline void fault_crash(void)
{
	(void)kill(getpid(), SIGKILL);
}

/* @return whether the call has to fail */
static inline bool fault_next(void)
{
	fault_step++;
	if (fault_step == fault_hook_at)
		fault_hook();
	if (fault_step == fault_crash_at)
		fault_crash();
	if (fault_step != fault_fail_at &&
	    !(fault_for_good && fault_step > fault_fail_at))
		return false;
	errno = fault_errno;
	return true;
}

/* From here on: step n, from 1, ends the program, or fails; 0: none does. */
static inline void fault_set(int crash_at, int fail_at, int error)
{
	fault_step = 0;
	fault_crash_at = crash_at;
	fault_fail_at = fail_at;
	fault_errno = error;
	fault_for_good = false;
	fault_hook_at = 0;
}

/* From here on: before step n, from 1, `hook` is called. It may use no call
   that is a step. */
static inline void fault_set_hook(int n, void (*hook)(void))
{
	fault_set(0, 0, 0);
	fault_hook_at = n;
	fault_hook = hook;
}

/* From here on: step n, from 1, and all after it fail. */
static inline void fault_set_for_good(int n, int error)
{
	fault_set(0, n, error);
	fault_for_good = true;
}

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

int __real_sync_file_range(int fd, off_t offset, off_t len, unsigned int flags);
int __wrap_sync_file_range(int fd, off_t offset, off_t len, unsigned int flags);

int __wrap_sync_file_range(int fd, off_t offset, off_t len, unsigned int flags)
{
	if (fault_write_back != 0) {
		errno = fault_write_back;
		return -1;
	}
	return __real_sync_file_range(fd, offset, len, flags);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (fault_no_reserve) {
		errno = ENOSPC;
		return -1;
	}
	return __real_fallocate(fd, mode, offset, len);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	if (fault_disk_full) {
		errno = ENOSPC;
		return -1;
	}
	return fault_next() ? -1 : __real_write(fd, buf, n);
}

/* A write that fails has written its first half. */
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	if (!fault_next())
		return __real_pwrite(fd, buf, n, offset);
	if (__real_pwrite(fd, buf, n / 2, offset) < 0)
		return -1;
	errno = fault_errno;
	return -1;
}

/* the pwrite() of those that include the headers of Dovecot 2.3 */
ssize_t __wrap_i_my_pwrite(int fd, const void *buf, size_t n, off_t offset);

ssize_t __wrap_i_my_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	return __wrap_pwrite(fd, buf, n, offset);
}

int __wrap_fsync(int fd)
{
	return fault_next() ? -1 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
	return fault_next() ? -1 : __real_fdatasync(fd);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return fault_next() ? -1 : __real_renameat(from_fd, from, to_fd, to);
}

int __wrap_unlinkat(int fd, const char *name, int flags)
{
	return fault_next() ? -1 : __real_unlinkat(fd, name, flags);
}

/* ---- a directory */

static char temp_dir[64];

static inline void temp_dir_make(void)
{
	strcpy(temp_dir, "/tmp/restante-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(temp_dir));
}

static inline void temp_dir_remove(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", temp_dir);
	ck_assert_int_eq(system(command), 0);
}

/* @return "temp_dir/name"; the last four results stay valid */
static inline const char *temp_path(const char *name)
{
	static char paths[4][512];
	static unsigned int n;
	char *path = paths[n++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", temp_dir, name);
	return path;
}

static inline void temp_write(const char *name, const char *p, size_t n)
{
	FILE *file = fopen(temp_path(name), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(p, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
}

/* @return the octets of a file, terminated; free() them */
static inline char *temp_read(const char *path, size_t *n_r)
{
	FILE *file = fopen(path, "r");
	char *buf = rst_calloc(1, 1 << 20);

	ck_assert_msg(file != NULL, "no file %s", path);
	*n_r = fread(buf, 1, (1 << 20) - 1, file);
	fclose(file);
	return buf;
}

/* @return the number of files of temp_dir/sub whose names contain `part`;
 *path_r is one of them */
static inline unsigned int temp_count(const char *sub, const char *part,
				      char path_r[1024])
{
	DIR *dir = opendir(temp_path(sub));
	const struct dirent *entry;
	unsigned int count = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    strstr(entry->d_name, part) == NULL)
			continue;
		count++;
		if (path_r != NULL)
			(void)snprintf(path_r, 1024, "%s/%s", temp_path(sub),
				       entry->d_name);
	}
	closedir(dir);
	return count;
}

/* Run `func` in a child that crashes at a step.
   @return whether it did; else it has come to its end */
static inline bool fault_crashes(int step, void (*func)(void))
{
	bool *ended = mmap(NULL, sizeof(*ended), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool crashed;
	int status;
	pid_t pid;

	ck_assert_ptr_ne(ended, MAP_FAILED);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		fault_set(step, 0, 0);
		func();
		*ended = true;
		fault_crash();
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	crashed = !*ended;
	munmap(ended, sizeof(*ended));
	return crashed;
}

#endif
