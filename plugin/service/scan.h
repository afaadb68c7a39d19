/* SPDX-License-Identifier: MIT */
/** The walk over all users: who has something in their hold? */
#ifndef RST_SERVICE_SCAN_H
#define RST_SERVICE_SCAN_H

struct rst_hold_server;
struct rst_scan;
struct mail_storage_service_ctx;

/** List the users. @return 0, or -1: error_r: the userdb cannot say */
int rst_scan_start(struct mail_storage_service_ctx *storage,
		   struct rst_scan **scan_r, const char **error_r);
void rst_scan_free(struct rst_scan **scan);
/**
 * Look at some more users, for a few milliseconds, and say a line for each
 * who holds anything. A user that cannot be looked at is logged. When nobody
 * has held anything for long, a line that says so of the last one tells the
 * dialler that the walk goes on.
 *
 * @param rest_msecs_r how long to leave the machine to others before the next
 *        call: the walk is never urgent, and takes a quarter of one processor
 * @return FALSE: that was the last, and END has been said
 */
bool rst_scan_some(struct rst_scan *scan, struct rst_hold_server *server,
		   unsigned int *rest_msecs_r);

#endif
