/* SPDX-License-Identifier: MIT */
/** doveadm restante who|kick, and check's question: the sessions that policyd
   has, asked for at its control socket. */
#ifndef RST_DOVEADM_ONLINE_H
#define RST_DOVEADM_ONLINE_H

struct doveadm_cmd_context;

void rst_online_who(struct doveadm_cmd_context *cctx);
void rst_online_kick(struct doveadm_cmd_context *cctx);

/** The path of the control socket. */
const char *rst_online_path(void);
/** Ask for the holders directory of the daemon that runs. @return 0, or -1 with
    what is wrong; nothing is logged */
int rst_online_holders(const char **path_r, const char **error_r);

#endif
