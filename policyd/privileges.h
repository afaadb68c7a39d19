/* SPDX-License-Identifier: MIT */
/** Becoming the user that the daemon runs as. */
#ifndef POLICYD_PRIVILEGES_H
#define POLICYD_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/**
 * For good; does nothing when not root.
 *
 * @param error one line, when false is returned
 */
bool privileges_drop(const char *user, char *error, size_t error_size);

#endif
