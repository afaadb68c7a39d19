/* SPDX-License-Identifier: MIT */
/** doveadm restante check: what makes this site's configuration lose, return or
    keep mail, and how to mend it. */
#ifndef RST_DOVEADM_CHECK_H
#define RST_DOVEADM_CHECK_H

struct doveadm_cmd_context;
struct doveadm_mail_cmd_context;

/** Without a user, what concerns none; with -u, -A or -F the mail command. */
void rst_check_cmd(struct doveadm_cmd_context *cctx);
/** The mail command. */
struct doveadm_mail_cmd_context *rst_check_alloc(void);

#endif
