/* SPDX-License-Identifier: MIT */
/** What an earlier crash, or an earlier version, has left undone. */
#ifndef RST_SERVICE_MEND_H
#define RST_SERVICE_MEND_H

struct rst_hold;
struct rst_hold_status;

/**
 * Bring in order what rst_look_estimate() has found: where nothing is held, the
 * messages that have left and an entry that a crash has left behind go; where
 * mail is held, the user's entry is made if it is missing, as mail of an
 * earlier version has none, and as it may have been lost with its directory.
 *
 * @param hold not open
 */
void rst_mend(struct rst_hold *hold, const struct rst_hold_status *status);

#endif
