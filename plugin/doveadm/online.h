/* SPDX-License-Identifier: MIT */
/** doveadm restante who|kick: the sessions that policyd has, asked for at its
    control socket. */
#ifndef RST_DOVEADM_ONLINE_H
#define RST_DOVEADM_ONLINE_H

struct doveadm_cmd_context;

void rst_online_who(struct doveadm_cmd_context *cctx);
void rst_online_kick(struct doveadm_cmd_context *cctx);

#endif
