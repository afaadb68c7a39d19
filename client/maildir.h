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

#include <stdbool.h>

#include "restante/envelope.h"

#define MAILDIR_LOCK_FILE "restante.lock"
#define MAILDIR_NAME_SIZE 256

struct maildir {
	char *path;
	int fd, tmp_fd, new_fd;
	/** new is on another file system than tmp: files are written in new, by
	    a hidden name, which readers skip */
	bool apart;
};

/**
 * Open a Maildir. Makes the directory (none above it), tmp, new and cur where
 * they are missing.
 * @return 0; -1: logged, and maildir_close() is still to be called
 */
int maildir_open(struct maildir *maildir, const char *path);
void maildir_close(struct maildir *maildir);
/** Does the path still lead to these directories? @return 0; -1 with errno,
    which is ESTALE when others are there */
int maildir_in_place(const struct maildir *maildir);
/**
 * Try where a file can be renamed to, and set `apart`. What is unusual is
 * logged. The caller has the lock.
 */
void maildir_try(struct maildir *maildir);
/** @return the directory to write files in, before they are renamed to new */
int maildir_work_fd(const struct maildir *maildir);
/** @param name_r for a name that maildir_name() has made: that of the file
    while it is being written */
void maildir_work_name(const struct maildir *maildir, const char *name,
		       char name_r[MAILDIR_NAME_SIZE]);
/** Remove the files that a crash left unfinished. The caller has the lock. */
void maildir_clean(struct maildir *maildir);

/**
 * Lock a directory for this process, with a file in it.
 * @return descriptor that holds the lock; -1: logged
 */
int maildir_lock(const char *dir);
/** Is the lock's file still there? @return 0, or -1 with errno */
int maildir_lock_in_place(const char *dir, int lock_fd);

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
