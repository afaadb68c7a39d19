/* SPDX-License-Identifier: MIT */
/** Is there room on a disk, and does it write? */
#ifndef CLIENT_ROOM_H
#define CLIENT_ROOM_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Reserve so many octets in a directory, write a few of them, make them
 * durable, and give them back. The file has no name while that is done, so
 * that a crash leaves nothing.
 * @return 0, or -1 with errno
 */
int room_probe(int dir_fd, uint64_t octets);
/** Does this errno say that there is no room? Then less might fit. */
bool room_is_missing(int error);

#endif
