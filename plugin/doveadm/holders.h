/* SPDX-License-Identifier: MIT */
/** The users for whom mail is held, from policyd's due index: so that not all
    users' holds have to be looked at. */
#ifndef RST_DOVEADM_HOLDERS_H
#define RST_DOVEADM_HOLDERS_H

struct istream;

/**
 * Ask policyd.
 *
 * @param path     of its index_socket
 * @param names_r  one name a line; the mail of a user that is named may all
 *         have left since
 * @param unread_r number of users whose hold policyd could not read
 * @return 0, or -1: error_r
 */
int rst_holders_read(const char *path, struct istream **names_r,
		     uint64_t *unread_r, const char **error_r);

#endif
