/* SPDX-License-Identifier: MIT */
/** doveadm restante check: what concerns one user. */
#ifndef RST_DOVEADM_CHECK_USER_H
#define RST_DOVEADM_CHECK_USER_H

struct mail_user;

/** With the user's rights. */
void rst_check_user(struct mail_user *user);

#endif
