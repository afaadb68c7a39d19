/* SPDX-License-Identifier: MIT */
/** The walk over all users, to find those for whom mail is held. */
#ifndef RST_SERVICE_SCAN_H
#define RST_SERVICE_SCAN_H

struct mail_storage_service_ctx;
struct rst_hold_server;
struct rst_scan;

/** List the users. @return 0, or -1: error_r: the userdb cannot list them */
int rst_scan_start(struct mail_storage_service_ctx *storage,
		   struct rst_scan **scan_r, const char **error_r);
void rst_scan_free(struct rst_scan **scan);
/**
 * Look at some more users, for a few milliseconds, and say a line for each
 * for whom mail is held; where the user's entry is missing (hold/entry.h), make
 * it. A user whose hold cannot be read is logged. After many
 * users without a line, a line says that nothing is held for the last one,
 * which tells the dialler that the walk goes on.
 *
 * @param rest_msecs_r how long to leave the machine to others before the next
 *         call: the walk is never urgent, and takes a quarter of one processor
 * @return FALSE: that was the last user, and END has been said
 */
bool rst_scan_some(struct rst_scan *scan, struct rst_hold_server *server,
		   unsigned int *rest_msecs_r);

#endif
