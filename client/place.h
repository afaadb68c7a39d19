/* SPDX-License-Identifier: MIT */
/**
 * Where messages are stored: a Maildir and a seen-log, locked, and the look
 * whether the paths still lead there.
 */
#ifndef CLIENT_PLACE_H
#define CLIENT_PLACE_H

#include <sys/types.h>

#include "maildir.h"
#include "seen.h"

struct place {
	struct maildir maildir;
	struct seen *seen;
	char *state_dir;
	int lock_fd;
	int state_lock_fd; /**< -1 where the directory is the Maildir */
	int moved; /**< errno with which place_check() has failed; or 0 */
};

/** On which disks a place is. */
struct place_disks {
	dev_t maildir, state_dir;
};

/**
 * Open and lock; makes what is missing. Finds messages that a crash kept out of
 * the seen-log, and removes what it left unfinished.
 * @return 0; -1: logged, and place_close() is still to be called
 */
int place_open(struct place *place, const char *maildir, const char *state_dir);
void place_close(struct place *place);
/** @return 0, or -1 with errno */
int place_disks(const struct place *place, struct place_disks *disks_r);
/**
 * Test whether a place that was closed can be opened again. A directory that is
 * missing, or a Maildir without its three directories, will do only on the disk
 * where it was: elsewhere it may be the empty place of a disk that is not
 * mounted.
 * @return 0; -1 with errno, which is ENODEV for that
 */
int place_probe(const char *maildir, const char *state_dir,
		const struct place_disks *disks);
/** Is there room for small messages? @return 0, or -1 with errno */
int place_probe_small(const struct place *place);
/**
 * Do the paths still lead to the directories and files that are open? Once they
 * do not, this fails for good.
 * @return 0; -1 with errno, which was logged
 */
int place_check(struct place *place);

#endif
