/* SPDX-License-Identifier: MIT */
/**
 * The hold of one user: an ordinary Dovecot mailbox in a storage of its own,
 * and files of ours beside the mailbox's own.
 */
#ifndef RST_HOLD_HOLD_H
#define RST_HOLD_HOLD_H

#include "mail-storage.h"

struct file_lock;
struct rst_settings;

/** A caller sets user and settings, which outlive the hold; the rest is zero
    until rst_hold_open(). */
struct rst_hold {
	struct mail_user *user;
	const struct rst_settings *settings;
	struct mail_user *owner; /**< of the storage; see rst_hold_own() */
	struct mailbox *box;     /**< NULL: not open */
	char *dir;               /**< of our files */
};

struct rst_hold_status {
	unsigned int messages;
	/** incomplete messages, which stay; not counted elsewhere */
	unsigned int incomplete;
	/** messages that the mailbox has though nothing is held; only set by
	    rst_look_estimate() */
	unsigned int leftovers;
	uoff_t octets; /**< with CRLF line ends */
	time_t oldest; /**< arrival of the oldest; 0: nothing is held */
	time_t due;    /**< when that goes to the normal mailbox; 0: never */
};

/**
 * Open the hold, and see to it that its index knows all of its messages.
 *
 * @param create make it, durably, where it is missing
 * @return 1: to be closed with rst_hold_close(); 0: there is none, or it is
 * that of another user (claim.h), which was logged; -1: error_r
 */
int rst_hold_open(struct rst_hold *hold, bool create, const char **error_r);
/**
 * See to it that hold->owner is there, for another mailbox in the hold's
 * storage. rst_hold_open() does it, and rst_hold_close() frees it.
 * @return 0, or -1: error_r
 */
int rst_hold_own(struct rst_hold *hold, const char **error_r);
/** Is the storage there? Where Dovecot looks for a mailbox it makes a directory
    for its list of mailboxes, which a user who holds nothing shall not have.
    @param hold it has its owner */
bool rst_hold_has_storage(const struct rst_hold *hold);
/** No transaction may be open on its mailbox. A hold that is not open may be
    closed, too; a closed one may be opened again. */
void rst_hold_close(struct rst_hold *hold);

/**
 * Open the hold anew, as it is on disk, where its index is in memory only:
 * Dovecot falls back to that when it cannot write the one on disk. Such an
 * index is not durable, and a sync that expunges with it never ends (see
 * rst_mailbox_expungeable()).
 *
 * @param hold nothing may be open in its mailbox
 * @return 1: hold->box is another one now; 0: its index is as it should be;
 *         -1: error_r
 */
int rst_hold_renew(struct rst_hold *hold, const char **error_r);

/**
 * Bring the hold up to date, and say how many messages and octets its mailbox
 * has by its index: also messages that have left the hold and were not removed
 * yet. The rest of status_r is 0. No transaction may be open on the mailbox.
 * @return 0, or -1: error_r
 */
int rst_hold_size(struct rst_hold *hold, struct rst_hold_status *status_r,
		  const char **error_r);

/** How long tombstones and keys are kept: as long as Postfix may try again, or
   a backup may bring a message back. */
unsigned int rst_hold_keep_secs(const struct rst_settings *settings);

/** When does a message that arrived then go to the normal mailbox? */
time_t rst_hold_due(const struct rst_settings *settings, time_t arrived);

/** The lock of the process that empties the hold. Deliveries do not need it. */
#define RST_LOCK_DRAIN "restante.lock"
/** The lock of the process that puts a message in. */
#define RST_LOCK_ARRIVAL "restante.arrival.lock"
/** The lock of the process that makes a fallback delivery, or says that there
    will be none. */
#define RST_LOCK_RELEASE "restante.release.lock"

/**
 * Take a lock of this hold.
 *
 * @param secs how long to wait for it at most; 0: not at all
 * @param lock_r to be freed with file_lock_free()
 * @return 1; 0: another process has it; -1: error_r
 */
int rst_hold_lock(const struct rst_hold *hold, const char *name,
		  unsigned int secs, struct file_lock **lock_r,
		  const char **error_r);

#endif
