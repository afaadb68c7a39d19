/* SPDX-License-Identifier: MIT */
/** Finds out whether a disk has room and can be written to. */
#ifndef CLIENT_ROOM_H
#define CLIENT_ROOM_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Reserve octets in a directory, write a few, make them durable, and free them.
 * The file has no name meanwhile, so a crash leaves nothing.
 * @return 0, or -1 with errno
 */
int room_probe(int dir_fd, uint64_t octets);
/** Does this errno mean that there is no room? A smaller file might fit. */
bool room_is_missing(int error);

#endif
