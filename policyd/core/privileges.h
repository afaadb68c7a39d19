/* SPDX-License-Identifier: MIT */
/** The process's user, its one remaining capability, and its priority. */
#ifndef POLICYD_CORE_PRIVILEGES_H
#define POLICYD_CORE_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/**
 * Raise the process's priority, where that is permitted (to root): Postfix
 * waits for the core, so the core goes before the workers and whatever else
 * keeps the processors busy.
 */
void privileges_be_urgent(void);
/** Restore the earlier priority, in a child process. Async-signal-safe. */
void privileges_be_ordinary(void);
/**
 * Become `user` for good; does nothing when not root.
 *
 * One capability stays permitted, but is not effective: CAP_DAC_READ_SEARCH, to
 * read any file. A TLS key is readable by root only, as a rule, and a renewed
 * one has to be read without a restart. A worker does not have the capability:
 * exec() drops it.
 *
 * @param error one line, when false is returned
 */
bool privileges_drop(const char *user, char *error, size_t error_size);
/** Between these two calls the capability is effective, if it could be kept. */
void privileges_read_begin(void);
void privileges_read_end(void);
/** Give up all rights of root but those to read, write and make any file. */
void privileges_keep_files(void);

#endif
