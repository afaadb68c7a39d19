/* SPDX-License-Identifier: MIT */
/**
 * The hold mailbox of one user: an ordinary Dovecot mailbox.
 */
#ifndef RST_HOLD_HOLD_H
#define RST_HOLD_HOLD_H

#include "mail-storage.h"

struct file_lock;
struct rst_settings;

struct rst_hold_status {
	unsigned int messages;
	unsigned int incomplete; /**< that stay; not counted otherwise */
	/** messages that the mailbox has though nothing is held; only of
	    rst_hold_estimate() */
	unsigned int leftovers;
	uoff_t octets; /**< with CRLF line ends */
	time_t oldest; /**< arrival of the oldest; 0: nothing is held */
	time_t due;    /**< when that goes to the normal mailbox; 0: never */
};

/**
 * Open the hold of user.
 *
 * @param create make it, durably, where it is missing
 * @param box_r  to be freed with mailbox_free() when 1 was returned
 * @return 1; 0: there is none; -1: error_r
 */
int rst_hold_mailbox_open(struct mail_user *user,
			  const struct rst_settings *set,
			  enum mailbox_flags flags, bool create,
			  struct mailbox **box_r, const char **error_r);

/** The same for another mailbox of ours. @return as above, or 2: it was made */
int rst_mailbox_open(struct mail_user *user, const char *name,
		     enum mailbox_flags flags, bool create,
		     struct mailbox **box_r, const char **error_r);

/**
 * Where an index cannot be written Dovecot goes on with it in memory only. What
 * that says is not durable, and a sync that expunges with it never ends (see
 * below). So open the hold anew, as it is on disk.
 *
 * @param box nothing may be open in it; another one when 1 was returned
 * @return 1: done; 0: its index is as it should be; -1: error_r
 */
int rst_hold_mailbox_renew(struct mail_user *user,
			   const struct rst_settings *set, struct mailbox **box,
			   const char **error_r);

/** @return what last went wrong with box, on the data stack: Dovecot's own text
    is lost with the next failure, or with box */
const char *rst_mailbox_error(struct mailbox *box);

/**
 * Can Dovecot take the lock for the sizes that its index keeps? Where it
 * cannot, as on a full disk, index_storage_expunged_sync_begin() of Dovecot 2.3
 * calls itself until there is no memory left. A sync asks by itself; ask before
 * that what is to be expunged is written down.
 * @return 0: it can; -1: error_r
 */
int rst_mailbox_expungeable(struct mailbox *box, const char **error_r);

/** Bring box up to date; no transaction may be open on it.
    @return 0, or -1: error_r */
int rst_mailbox_sync(struct mailbox *box, enum mailbox_sync_flags flags,
		     const char **error_r);

/**
 * Bring box up to date, and say how many messages and octets it has by its
 * index: also such as have left the hold and were not removed yet. The rest of
 * status_r is 0. No transaction may be open on box.
 * @return 0, or -1: error_r
 */
int rst_hold_mailbox_size(struct mailbox *box, struct rst_hold_status *status_r,
			  const char **error_r);

/** How long must be known what has left the hold? As long as Postfix may try
    again, or a backup may bring it back. */
unsigned int rst_hold_keep_secs(const struct rst_settings *set);

/** When does a message go to the normal mailbox that arrived then? */
time_t rst_hold_due(const struct rst_settings *set, time_t arrived);

/** The lock of the one who empties the hold. Deliveries do not need it. */
#define RST_LOCK_DRAIN "restante.lock"
/** Of the one who puts a message in. */
#define RST_LOCK_ARRIVAL "restante.arrival.lock"
/** Of the one who delivers, or says that nothing will be delivered. */
#define RST_LOCK_RELEASE "restante.release.lock"

/**
 * Take a lock of this hold.
 *
 * @param secs how long to wait for it at most; 0: not at all
 * @param lock_r to be freed with file_lock_free()
 * @return 1; 0: somebody else has it; -1: error_r
 */
int rst_hold_mailbox_lock(struct mailbox *box, const char *name,
			  unsigned int secs, struct file_lock **lock_r,
			  const char **error_r);

/** The directory for files of ours beside the mailbox's own. */
int rst_hold_mailbox_dir(struct mailbox *box, const char **path_r,
			 const char **error_r);

/**
 * Make removals durable: fsync of the directories, which maildir does not do
 * by itself after an expunge.
 * @return 0, or -1: error_r
 */
int rst_hold_mailbox_fsync(struct mailbox *box, const char **error_r);

/**
 * Make durable whatever others have written to the hold, by writing out its
 * whole file system: for rare occasions.
 * @return 0, or -1: error_r
 */
int rst_hold_mailbox_syncfs(struct mailbox *box, const char **error_r);

#endif
