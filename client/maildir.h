/* SPDX-License-Identifier: MIT */
/**
 * A Maildir's directories, its lock, and the names of our files in it:
 *
 *   <seconds>.M<microseconds>P<pid>Q<count>.<host>,restante=<id>
 *
 * The name is unique as the Maildir rules require. The message's id is at its
 * end, or nothing where the server gave none. A reader appends ":2,flags".
 */
#ifndef CLIENT_MAILDIR_H
#define CLIENT_MAILDIR_H

#include "restante/envelope.h"

#define MAILDIR_LOCK_FILE "restante.lock"
#define MAILDIR_NAME_SIZE 256

struct maildir {
	char *path;
	int fd, tmp_fd, new_fd;
};

/**
 * Open a Maildir. Makes the directory (none above it), tmp, new and cur where
 * they are missing.
 * @return 0; -1: logged, and maildir_close() is still to be called
 */
int maildir_open(struct maildir *maildir, const char *path);
void maildir_close(struct maildir *maildir);
/** Remove the files that a crash left in tmp. The caller has the lock. */
void maildir_clean(struct maildir *maildir);

/**
 * Lock a directory for this process, with a file in it.
 * @return descriptor that holds the lock; -1: logged
 */
int maildir_lock(const char *dir);

/** Make a new name.
    @param host as returned by maildir_host()
    @param secs since 1970, not negative */
void maildir_name(char name_r[MAILDIR_NAME_SIZE], const char *host,
		  struct rst_str id, int64_t secs);
/** @return a copy for names, cut at 64, in which octets that are no letter,
   digit, '.', '-' or '_' are encoded as in "\072", the Maildir's convention for
   a colon; free() it */
char *maildir_host(const char *hostname);

typedef void maildir_found_func(struct rst_str id, int64_t time, void *ctx);
/**
 * Call `found` for every id in the names of new and cur that are not older than
 * `since`. @return 0; -1: logged
 */
int maildir_scan(const struct maildir *maildir, int64_t since,
		 maildir_found_func *found, void *ctx);

#endif
