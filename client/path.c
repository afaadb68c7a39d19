/* SPDX-License-Identifier: MIT */
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "restante/str.h"

char *path_join(const char *dir, const char *name)
{
	size_t size = strlen(dir) + strlen(name) + 2;
	int saved = errno;
	char *path = rst_malloc(size);

	(void)snprintf(path, size, "%s/%s", dir, name);
	errno = saved;
	return path;
}

int path_sync_dir(int fd)
{
	if (fsync(fd) == 0)
		return 0;
	return errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS ? 0
									 : -1;
}

int path_make_dir(const char *path)
{
	char *above;
	int fd, ret;

	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : -1;
	above = path_join(path, "..");
	fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = fd < 0 ? -1 : path_sync_dir(fd);
	if (fd >= 0)
		close(fd);
	free(above);
	return ret;
}

int path_leads_to(int at, const char *name, int fd)
{
	struct stat named, opened;

	if (fstatat(at, name, &named, 0) < 0 || fstat(fd, &opened) < 0)
		return -1;
	if (named.st_dev == opened.st_dev && named.st_ino == opened.st_ino)
		return 0;
	errno = ESTALE;
	return -1;
}

int path_device(const char *path, dev_t *device_r)
{
	struct stat st;
	int ret = stat(path, &st);
	char *copy;

	if (ret < 0 && errno == ENOENT) {
		copy = rst_strdup(path);
		ret = stat(dirname(copy), &st);
		free(copy);
	}
	if (ret == 0)
		*device_r = st.st_dev;
	return ret;
}
