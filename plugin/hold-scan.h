/* SPDX-License-Identifier: MIT */
/** The walk over all users: who has something in their hold? */
#ifndef HOLD_SCAN_H
#define HOLD_SCAN_H

struct hold_scan;
struct mail_storage_service_ctx;

/** List the users. @return 0, or -1: error_r: the userdb cannot say */
int hold_scan_start(struct mail_storage_service_ctx *storage,
		    struct hold_scan **scan_r, const char **error_r);
void hold_scan_free(struct hold_scan **scan);
/**
 * Look at the next user, and append a line if anything is held. A user that
 * cannot be looked at is logged.
 * @return FALSE: that was the last, and END has been appended
 */
bool hold_scan_next(struct hold_scan *scan, string_t *lines);

#endif
