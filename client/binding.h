/* SPDX-License-Identifier: MIT */
/**
 * Binds a seen-log that is kept outside of its Maildir to that Maildir, so that
 * the log of a Maildir that was removed or replaced does not answer for
 * messages that went with it.
 *
 * The lock file of the Maildir has a token; that of the state directory has the
 * same token, and the Maildir's inode number: a copy of a Maildir has the token
 * too. The device is not compared, as its number may change at each boot.
 */
#ifndef CLIENT_BINDING_H
#define CLIENT_BINDING_H

enum binding {
	BINDING_NONE,  /**< the log was never bound: its lines count */
	BINDING_THIS,  /**< the log is this Maildir's */
	BINDING_OTHER, /**< it is another's */
};

/** @param maildir_fd of its directory, as the others are of lock files
    @return a value of enum binding, or -1 with errno */
int binding_find(int maildir_fd, int maildir_lock_fd, int state_lock_fd);
/** Bind the log to this Maildir, durably. A crash leaves it unbound or bound to
    the other one. @return 0, or -1 with errno */
int binding_make(int maildir_fd, int maildir_lock_fd, int state_lock_fd);

#endif
