/* SPDX-License-Identifier: MIT */
/** The users for whom mail is held, from the holders directory: so that not all
    users' holds have to be looked at. */
#ifndef RST_DOVEADM_HOLDERS_H
#define RST_DOVEADM_HOLDERS_H

struct istream;

/**
 * Read the names of all entries, but those that surely say that nothing is
 * held.
 *
 * @param path    of the directory
 * @param names_r one name a line; nothing may be held for a user that is named,
 *        and there may be no such user
 * @return 0, or -1: error_r
 */
int rst_holders_read(const char *path, struct istream **names_r,
		     const char **error_r);

#endif
