/* SPDX-License-Identifier: MIT */
/**
 * Whose hold is it? A restante_hold_location that is the same for two users
 * would give the mail of one to the other. So a file beside the mailbox names
 * the user whose mail came last.
 */
#ifndef RST_HOLD_CLAIM_H
#define RST_HOLD_CLAIM_H

struct rst_hold;

/**
 * @param hold open, and synced
 * @param claim a hold that is nobody's, or another user's and empty, becomes
 *        this user's
 * @return the user whose hold it is, where that is another one; NULL: it is
 *         this user's, or nobody's
 */
const char *rst_claim(const struct rst_hold *hold, bool claim);

#endif
