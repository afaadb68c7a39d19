/* SPDX-License-Identifier: MIT */
/**
 * Adds to Dovecot's calls what a mailbox needs whose messages must survive a
 * crash: the hold, and the overflow mailbox beside it.
 */
#ifndef RST_HOLD_MAILBOX_H
#define RST_HOLD_MAILBOX_H

#include "mail-storage.h"

/**
 * Open a mailbox of user.
 *
 * @param create make it, durably, where it is missing
 * @param box_r  to be freed with mailbox_free() when 1 or 2 was returned
 * @return 1; 2: it was made; 0: there is none; -1: error_r
 */
int rst_mailbox_open(struct mail_user *user, const char *name,
		     enum mailbox_flags flags, bool create,
		     struct mailbox **box_r, const char **error_r);

/** @return the last error of box, on the data stack: Dovecot's own text is lost
    with the next failure, or with box */
const char *rst_mailbox_error(struct mailbox *box);

/**
 * Can Dovecot take the lock for the sizes that its index keeps? Where it
 * cannot, as on a full disk, index_storage_expunged_sync_begin() of Dovecot 2.3
 * calls itself until there is no memory left. rst_mailbox_sync() asks by
 * itself; a caller that writes down what it is about to expunge asks before.
 * @return 0: it can; -1: error_r
 */
int rst_mailbox_expungeable(struct mailbox *box, const char **error_r);

/** Bring box up to date; no transaction may be open on it.
    @return 0, or -1: error_r */
int rst_mailbox_sync(struct mailbox *box, enum mailbox_sync_flags flags,
		     const char **error_r);

/**
 * Save what input gives, as it is. When 0 is returned the message is as durable
 * as mail_fsync asks; it is not there at all otherwise.
 *
 * @param box     no transaction may be open on it
 * @param arrived the message's date in the mailbox
 * @return 0, or -1: error_r
 */
int rst_mailbox_save(struct mailbox *box, struct istream *input, time_t arrived,
		     uint32_t *uid_r, const char **error_r);

/** Does the configuration say mail_fsync=never, so that nothing is durable? */
bool rst_mailbox_never_fsync(struct mailbox *box);

/**
 * Make saves and removals durable: fsync of the directories, which maildir
 * does not do by itself after an expunge.
 * @return 0, or -1: error_r
 */
int rst_mailbox_fsync(struct mailbox *box, const char **error_r);

/**
 * Make durable whatever other processes have written to box, by writing out
 * its whole file system: for rare occasions.
 * @return 0, or -1: error_r
 */
int rst_mailbox_syncfs(struct mailbox *box, const char **error_r);

/** The directory of the mailbox's control files, where our files stand, too.
    @param path_r lives as long as box. @return 0, or -1: error_r */
int rst_mailbox_dir(struct mailbox *box, const char **path_r,
		    const char **error_r);

#endif
