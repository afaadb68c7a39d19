/* SPDX-License-Identifier: MIT */
/** Names of files. */
#ifndef CLIENT_PATH_H
#define CLIENT_PATH_H

/** "dir/name", to be freed with free(). Keeps errno. */
char *path_join(const char *dir, const char *name);

#endif
