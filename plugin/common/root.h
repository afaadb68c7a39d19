/* SPDX-License-Identifier: MIT */
/**
 * Root's rights, for the sockets of ours: a service for users of several uids
 * runs with the rights of one user after the other, and these sockets are not
 * the users'.
 */
#ifndef RST_COMMON_ROOT_H
#define RST_COMMON_ROOT_H

/** Become root again, for a moment. @return false: the process is root now, or
    may not become root */
bool rst_root_enter(uid_t *uid_r);
/** Take the user's rights again. @param uid as rst_root_enter() gave it */
void rst_root_leave(uid_t uid);

#endif
