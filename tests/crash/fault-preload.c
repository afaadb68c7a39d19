/* SPDX-License-Identifier: MIT */
/*
 * LD_PRELOAD object for steps.py: counts the calls that change a disk below
 * either of two directories, in programs of given names, and makes one of these
 * calls fail.
 *
 * The orders are in a file that RESTANTE_FAULT names and every program maps, so
 * that they can be changed while Dovecot runs. They have the form of `struct
 * orders`, which steps.py writes with Python's struct module. Calls that stdio
 * makes by itself (fflush) are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum kind {
	KIND_COUNT, /* nothing fails */
	KIND_KILL,  /* SIGKILL before the call */
	KIND_TORN,  /* SIGKILL when half of it is written */
	KIND_EIO,
	KIND_ENOSPC, /* half is written, the next write fails */
	KIND_FULL    /* ENOSPC from then on, for whatever needs room */
};

struct orders {
	int32_t at; /* the call that fails, from 1; 0: do not even count */
	int32_t kind;
	int32_t count;
	int32_t hit;     /* `at` has been reached */
	int32_t pending; /* a process whose next write fails */
	int32_t reserved;
	char call[32]; /* what it was */
	char path[256];
	char names[64]; /* of programs, with a blank after each */
	char prefix[256], also[256];
};

static struct orders *orders;
static char own_name[32]; /* with a blank */

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("RESTANTE_FAULT");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, 0);
	close(fd);
	snprintf(own_name, sizeof(own_name), "%.29s ",
		 program_invocation_short_name);
	if (map != MAP_FAILED)
		orders = map;
}

static bool concerned(void)
{
	return orders != NULL && orders->at != 0 &&
	       strstr(orders->names, own_name) != NULL;
}

static bool below_prefix(const char *path)
{
	return strncmp(path, orders->prefix, strlen(orders->prefix)) == 0 ||
	       strncmp(path, orders->also, strlen(orders->also)) == 0;
}

static bool fd_path(int fd, char path[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return true;
}

/* What `path` means, as far as openat() and the like go. */
static bool whole_path(int dir_fd, const char *path, char out[PATH_MAX])
{
	char dir[PATH_MAX];

	if (*path == '/')
		return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
	if (dir_fd == AT_FDCWD ? getcwd(dir, sizeof(dir)) == NULL
			       : !fd_path(dir_fd, dir))
		return false;
	return snprintf(out, PATH_MAX, "%s/%s", dir, path) < PATH_MAX;
}

enum verdict {
	GO_ON,
	FAIL,
	HALF_THEN_DIE,
	HALF
};

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static enum verdict carry_out(bool writes, bool needs_room)
{
	switch (orders->kind) {
	case KIND_KILL:
		die();
		break;
	case KIND_TORN:
		if (writes)
			return HALF_THEN_DIE;
		die();
		break;
	case KIND_EIO:
		errno = EIO;
		return FAIL;
	case KIND_ENOSPC:
		orders->pending = getpid();
		if (writes)
			return HALF;
		errno = ENOSPC;
		return FAIL;
	case KIND_FULL:
		if (needs_room) {
			errno = ENOSPC;
			return FAIL;
		}
	}
	return GO_ON;
}

static enum verdict later(bool writes, bool needs_room)
{
	if (orders->kind == KIND_FULL && needs_room) {
		errno = ENOSPC;
		return FAIL;
	}
	if (writes && orders->pending == getpid()) {
		orders->pending = 0;
		errno = ENOSPC;
		return FAIL;
	}
	return GO_ON;
}

/* One call more. */
static enum verdict step(const char *call, const char *path, bool writes,
			 bool needs_room)
{
	int n;

	if (!below_prefix(path))
		return GO_ON;
	n = __atomic_add_fetch(&orders->count, 1, __ATOMIC_SEQ_CST);
	if (n < orders->at || orders->kind == KIND_COUNT)
		return GO_ON;
	if (n > orders->at)
		return later(writes, needs_room);
	snprintf(orders->call, sizeof(orders->call), "%s", call);
	snprintf(orders->path, sizeof(orders->path), "%.255s", path);
	__atomic_store_n(&orders->hit, 1, __ATOMIC_SEQ_CST);
	return carry_out(writes, needs_room);
}

static enum verdict step_fd(const char *call, int fd, bool writes,
			    bool needs_room)
{
	char path[PATH_MAX];
	int saved = errno;
	enum verdict verdict = GO_ON;
	struct stat st;

	if (concerned() && fstat(fd, &st) == 0 &&
	    (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) && fd_path(fd, path))
		verdict = step(call, path, writes, needs_room);
	if (verdict != FAIL)
		errno = saved;
	return verdict;
}

static enum verdict step_path(const char *call, int dir_fd, const char *name,
			      bool needs_room)
{
	char path[PATH_MAX];
	int saved = errno;
	enum verdict verdict = GO_ON;

	if (concerned() && whole_path(dir_fd, name, path))
		verdict = step(call, path, false, needs_room);
	if (verdict != FAIL)
		errno = saved;
	return verdict == FAIL ? FAIL : GO_ON;
}

#define REAL(name)                 \
	static typeof(name) *real; \
	if (real == NULL)          \
	real = (typeof(name) *)dlsym(RTLD_NEXT, #name)

/* ---- writing */

/* One octet cannot be halved: it is not written. */
static ssize_t half_done(enum verdict verdict, ssize_t ret)
{
	if (verdict == HALF_THEN_DIE)
		die();
	if (ret > 0)
		return ret;
	errno = ENOSPC;
	return -1;
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	enum verdict verdict;

	REAL(write);
	verdict = step_fd("write", fd, true, true);
	if (verdict == FAIL)
		return -1;
	if (verdict == GO_ON)
		return real(fd, buf, n);
	return half_done(verdict, n / 2 == 0 ? 0 : real(fd, buf, n / 2));
}

#define PWRITE(name, off_type)                                                \
	EXPORT ssize_t name(int fd, const void *buf, size_t n, off_type off)  \
	{                                                                     \
		enum verdict verdict;                                         \
                                                                              \
		REAL(name);                                                   \
		verdict = step_fd("pwrite", fd, true, true);                  \
		if (verdict == FAIL)                                          \
			return -1;                                            \
		if (verdict == GO_ON)                                         \
			return real(fd, buf, n, off);                         \
		return half_done(verdict,                                     \
				 n / 2 == 0 ? 0 : real(fd, buf, n / 2, off)); \
	}

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* Of several pieces the first half goes out. */
EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	enum verdict verdict;

	REAL(writev);
	verdict = step_fd("writev", fd, true, true);
	if (verdict == FAIL)
		return -1;
	if (verdict == GO_ON)
		return real(fd, iov, count);
	if (count / 2 == 0)
		return half_done(verdict,
				 write(fd, iov->iov_base, iov->iov_len / 2));
	return half_done(verdict, real(fd, iov, count / 2));
}

#define PWRITEV(name, off_type)                                              \
	EXPORT ssize_t name(int fd, const struct iovec *iov, int count,      \
			    off_type off)                                    \
	{                                                                    \
		enum verdict verdict;                                        \
                                                                             \
		REAL(name);                                                  \
		verdict = step_fd("pwritev", fd, true, true);                \
		if (verdict == FAIL)                                         \
			return -1;                                           \
		if (verdict == GO_ON)                                        \
			return real(fd, iov, count, off);                    \
		return half_done(                                            \
			verdict,                                             \
			count / 2 == 0 ? 0 : real(fd, iov, count / 2, off)); \
	}

PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t n)
{
	enum verdict verdict;

	REAL(sendfile);
	verdict = step_fd("sendfile", out, true, true);
	if (verdict == FAIL)
		return -1;
	if (verdict == GO_ON)
		return real(out, in, off, n);
	return half_done(verdict, n / 2 == 0 ? 0 : real(out, in, off, n / 2));
}

/* ---- calls with a descriptor */

#define FD_CALL(name, needs_room, params, ...)                     \
	EXPORT int name params                                     \
	{                                                          \
		REAL(name);                                        \
		if (step_fd(#name, fd, false, needs_room) == FAIL) \
			return -1;                                 \
		return real(__VA_ARGS__);                          \
	}

FD_CALL(fsync, false, (int fd), fd)
FD_CALL(fdatasync, false, (int fd), fd)
FD_CALL(ftruncate, false, (int fd, off_t size), fd, size)
FD_CALL(ftruncate64, false, (int fd, off64_t size), fd, size)
FD_CALL(fallocate, true, (int fd, int mode, off_t off, off_t size), fd, mode,
	off, size)
FD_CALL(fallocate64, true, (int fd, int mode, off64_t off, off64_t size), fd,
	mode, off, size)

#define POSIX_FALLOCATE(name, off_type)                      \
	EXPORT int name(int fd, off_type off, off_type size) \
	{                                                    \
		REAL(name);                                  \
		if (step_fd(#name, fd, false, true) == FAIL) \
			return errno;                        \
		return real(fd, off, size);                  \
	}

POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

/* ---- calls with a path */

#define PATH_CALL(name, needs_room, dir_fd, path, params, ...)          \
	EXPORT int name params                                          \
	{                                                               \
		REAL(name);                                             \
		if (step_path(#name, dir_fd, path, needs_room) == FAIL) \
			return -1;                                      \
		return real(__VA_ARGS__);                               \
	}

PATH_CALL(rename, false, AT_FDCWD, to, (const char *from, const char *to), from,
	  to)
PATH_CALL(renameat, false, to_fd, to,
	  (int from_fd, const char *from, int to_fd, const char *to), from_fd,
	  from, to_fd, to)
PATH_CALL(renameat2, false, to_fd, to,
	  (int from_fd, const char *from, int to_fd, const char *to,
	   unsigned int flags),
	  from_fd, from, to_fd, to, flags)
PATH_CALL(link, true, AT_FDCWD, to, (const char *from, const char *to), from,
	  to)
PATH_CALL(linkat, true, to_fd, to,
	  (int from_fd, const char *from, int to_fd, const char *to, int flags),
	  from_fd, from, to_fd, to, flags)
PATH_CALL(symlink, true, AT_FDCWD, to, (const char *from, const char *to), from,
	  to)
PATH_CALL(unlink, false, AT_FDCWD, path, (const char *path), path)
PATH_CALL(unlinkat, false, dir_fd, path,
	  (int dir_fd, const char *path, int flags), dir_fd, path, flags)
PATH_CALL(rmdir, false, AT_FDCWD, path, (const char *path), path)
PATH_CALL(mkdir, true, AT_FDCWD, path, (const char *path, mode_t mode), path,
	  mode)
PATH_CALL(mkdirat, true, dir_fd, path,
	  (int dir_fd, const char *path, mode_t mode), dir_fd, path, mode)
PATH_CALL(utimensat, false, dir_fd, path,
	  (int dir_fd, const char *path, const struct timespec times[2],
	   int flags),
	  dir_fd, path, times, flags)

/* ---- files that are made */

static bool makes_file(int dir_fd, const char *path, int flags)
{
	return (flags & O_CREAT) != 0 && concerned() &&
	       faccessat(dir_fd, path, F_OK, 0) < 0;
}

static mode_t mode_of(int flags, va_list args)
{
	if ((flags & (O_CREAT | O_TMPFILE)) == 0)
		return 0;
	return va_arg(args, mode_t);
}

#define OPEN(name)                                                   \
	EXPORT int name(const char *path, int flags, ...)            \
	{                                                            \
		va_list args;                                        \
		mode_t mode;                                         \
                                                                     \
		REAL(name);                                          \
		va_start(args, flags);                               \
		mode = mode_of(flags, args);                         \
		va_end(args);                                        \
		if (makes_file(AT_FDCWD, path, flags) &&             \
		    step_path("open", AT_FDCWD, path, true) == FAIL) \
			return -1;                                   \
		return real(path, flags, mode);                      \
	}

#define OPENAT(name)                                                  \
	EXPORT int name(int dir_fd, const char *path, int flags, ...) \
	{                                                             \
		va_list args;                                         \
		mode_t mode;                                          \
                                                                      \
		REAL(name);                                           \
		va_start(args, flags);                                \
		mode = mode_of(flags, args);                          \
		va_end(args);                                         \
		if (makes_file(dir_fd, path, flags) &&                \
		    step_path("openat", dir_fd, path, true) == FAIL)  \
			return -1;                                    \
		return real(dir_fd, path, flags, mode);               \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
