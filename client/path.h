/* SPDX-License-Identifier: MIT */
/** Names of files, and the directories that they stand in. */
#ifndef CLIENT_PATH_H
#define CLIENT_PATH_H

/** "dir/name", to be freed with free(). Keeps errno. */
char *path_join(const char *dir, const char *name);
/**
 * Make the names in a directory durable. A file system that knows no such
 * thing (some in user space) is taken as one that needs none.
 * @return 0, or -1 with errno
 */
int path_sync_dir(int fd);
/**
 * Make a directory that is missing, but none above it, and make its name
 * durable. @return 0, or -1 with errno
 */
int path_make_dir(const char *path);

#endif
