/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "room.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "path.h"

/* Hidden: the directory may be the new of a Maildir. */
#define PROBE_FILE ".restante.probe"
#define PROBE_WRITE 4096

bool room_is_missing(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* Costs nothing, unlike reserving. Does not see quotas. */
static bool is_free(int fd, uint64_t octets)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0 || fs.f_frsize == 0 || fs.f_blocks == 0)
		return true; /* not known */
	return octets / fs.f_frsize < fs.f_bavail;
}

static int reserve(int fd, uint64_t octets)
{
	if (octets > INT64_MAX) {
		errno = EFBIG;
		return -1;
	}
	if (octets == 0 || fallocate(fd, 0, 0, (off_t)octets) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR ? 0
									: -1;
}

static int write_probe(int fd, uint64_t octets)
{
	static const char nothing[PROBE_WRITE];
	ssize_t n;

	if (reserve(fd, octets) < 0)
		return -1;
	n = write(fd, nothing, sizeof(nothing));
	if (n < 0)
		return -1;
	if ((size_t)n < sizeof(nothing)) {
		errno = ENOSPC;
		return -1;
	}
	return fsync(fd);
}

int room_probe(int dir_fd, uint64_t octets)
{
	int fd, ret, saved;

	if (!is_free(dir_fd, octets)) {
		errno = ENOSPC;
		return -1;
	}
	fd = openat(dir_fd, PROBE_FILE,
		    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -1;
	ret = unlinkat(dir_fd, PROBE_FILE, 0);
	if (ret == 0)
		ret = write_probe(fd, octets);
	if (ret == 0)
		ret = path_sync_dir(dir_fd);
	saved = errno;
	close(fd);
	errno = saved;
	return ret;
}
