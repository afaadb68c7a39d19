/* SPDX-License-Identifier: MIT */
#include "path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
