/* SPDX-License-Identifier: MIT */
/**
 * A Maildir's directories, its lock, and the names that our files have there:
 *
 *   <seconds>.M<microseconds>P<pid>Q<count>.<host>,restante=<id>
 *
 * unique as the Maildir rules ask for, with the message's id at the end, or
 * nothing there when the server gave none. A reader adds ":2,flags" to it.
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
 * Open, and make what is missing of the directory (not those above it), tmp,
 * new and cur. Files of ours in tmp are from before a crash, and removed: so
 * take the lock first.
 * @return 0, or -1: logged, and maildir_close() is still to be called
 */
int maildir_open(struct maildir *maildir, const char *path);
void maildir_close(struct maildir *maildir);
/** Remove what a crash left in tmp. Only with the lock. */
void maildir_clean(struct maildir *maildir);

/**
 * Lock a directory for this process, through a file in it.
 * @return descriptor that holds the lock; -1: logged
 */
int maildir_lock(const char *dir);

/** A new name.
    @param host as sanitized by maildir_host()
    @param secs since 1970, not less than 0 */
void maildir_name(char name_r[MAILDIR_NAME_SIZE], const char *host,
		  struct rst_str id, int64_t secs);
/** Other octets than letters, digits, '.', '-' become '_'; cut at 64. */
char *maildir_host(const char *hostname);

typedef void maildir_found_func(struct rst_str id, int64_t time, void *ctx);
/**
 * Tell `found` every id in the names of new and cur whose name is not older
 * than `since`. @return 0, or -1: logged
 */
int maildir_scan(const struct maildir *maildir, int64_t since,
		 maildir_found_func *found, void *ctx);

#endif
