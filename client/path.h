/* SPDX-License-Identifier: MIT */
/** Paths, and directories made durable. */
#ifndef CLIENT_PATH_H
#define CLIENT_PATH_H

#include <sys/types.h>

/** @return "dir/name"; free() it. Keeps errno. */
char *path_join(const char *dir, const char *name);
/**
 * Make the names in a directory durable. Where the file system does not support
 * that (some in user space) this does nothing.
 * @return 0, or -1 with errno
 */
int path_sync_dir(int fd);
/**
 * Make a missing directory, but none above it, and make its name durable.
 * @return 0, or -1 with errno
 */
int path_make_dir(const char *path);
/**
 * Does a name still lead to what a descriptor has open?
 * @param at as in openat(2)
 * @return 0; -1 with errno, which is ESTALE when it leads to something else
 */
int path_leads_to(int at, const char *name, int fd);
/**
 * The device of a directory, or, if it is missing, of the one above it.
 * @return 0, or -1 with errno
 */
int path_device(const char *path, dev_t *device_r);

#endif
