/* SPDX-License-Identifier: MIT */
/**
 * A service that serves users of several uids runs with their rights, one
 * after the other; sockets of ours are not theirs.
 */
#ifndef RST_COMMON_ROOT_H
#define RST_COMMON_ROOT_H

/** Be root again, for a moment. @return false: we never were */
bool rst_root_enter(uid_t *uid_r);
/** Back to the user's rights: uid is what rst_root_enter() gave. */
void rst_root_leave(uid_t uid);

#endif
