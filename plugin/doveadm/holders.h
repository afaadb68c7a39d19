/* SPDX-License-Identifier: MIT */
/** Who holds anything: policyd's due index, so that not all users' holds have
    to be looked at. */
#ifndef RST_DOVEADM_HOLDERS_H
#define RST_DOVEADM_HOLDERS_H

struct istream;

/**
 * Ask policyd.
 *
 * @param path     of its index_socket
 * @param names_r  a name a line; somebody may be in it of whom nothing is held
 *                 any more
 * @param unread_r users of whom it does not know, as their holds could not be
 *                 read
 * @return 0, or -1: error_r
 */
int rst_holders_read(const char *path, struct istream **names_r,
		     uint64_t *unread_r, const char **error_r);

#endif
