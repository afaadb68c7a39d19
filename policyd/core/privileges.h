/* SPDX-License-Identifier: MIT */
/** Becoming the user that the daemon runs as, and how urgent it is. */
#ifndef POLICYD_CORE_PRIVILEGES_H
#define POLICYD_CORE_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/**
 * Postfix waits for this process, so it goes before the workers and whatever
 * else keeps the processors busy, where we may ask for that: while still root.
 */
void privileges_be_urgent(void);
/** As before. Async-signal-safe. */
void privileges_be_ordinary(void);
/**
 * For good; does nothing when not root.
 *
 * One right is put aside, and not in force: to read any file. A TLS key is
 * readable by root only, as a rule, and a renewed one has to be read without
 * a restart. It does not pass to a worker: exec() takes it away.
 *
 * @param error one line, when false is returned
 */
bool privileges_drop(const char *user, char *error, size_t error_size);
/** Between these two the right is in force, where it could be put aside. */
void privileges_read_begin(void);
void privileges_read_end(void);

#endif
