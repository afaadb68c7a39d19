/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "istream.h"
#include "str.h"
#include "holders.h"
#include "restante/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/* Any program on this machine can make an entry for any name. */
static bool is_printable(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (i_iscntrl(name[i]))
			return FALSE;
	return TRUE;
}

/* Of 100,000 users who come each few minutes, all may have such an entry.
   time() may be a tick behind the time of a file. */
static bool is_surely_vacant(DIR *dir, const char *file)
{
	struct timespec now, up;
	struct stat st;

	return clock_gettime(CLOCK_REALTIME, &now) == 0 &&
	       clock_gettime(CLOCK_BOOTTIME, &up) == 0 &&
	       fstatat(dirfd(dir), file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) &&
	       rst_holder_is_surely_vacant(st.st_size, st.st_mtime, now.tv_sec,
					   up.tv_sec);
}

static void add_name(string_t *names, DIR *dir, const char *file)
{
	char user[RST_HOLDER_NAME_MAX];
	ssize_t n = rst_holder_user(rst_str(file), user);

	if (n <= 0 || !is_printable(user, (size_t)n) ||
	    is_surely_vacant(dir, file))
		return;
	str_append_data(names, user, (size_t)n);
	str_append_c(names, '\n');
}

int rst_holders_read(const char *path, struct istream **names_r,
		     const char **error_r)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	string_t *names;
	int error = 0;

	if (dir == NULL) {
		*error_r = t_strdup_printf("opendir(%s) failed: %m", path);
		return -1;
	}
	names = str_new(default_pool, 4096);
	while (errno = 0, (entry = readdir(dir)) != NULL)
		add_name(names, dir, entry->d_name);
	if (errno != 0) {
		error = errno;
		*error_r = t_strdup_printf("readdir(%s) failed: %m", path);
	} else {
		*names_r = i_stream_create_copy_from_string(names);
	}
	str_free(&names);
	(void)closedir(dir);
	return error == 0 ? 0 : -1;
}
