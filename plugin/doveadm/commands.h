/* SPDX-License-Identifier: MIT */
/** The symbols that doveadm looks up in lib10_doveadm_restante_plugin.so. */
#ifndef RST_DOVEADM_COMMANDS_H
#define RST_DOVEADM_COMMANDS_H

struct module;

extern const char *doveadm_restante_plugin_version;

void doveadm_restante_plugin_init(struct module *module);
void doveadm_restante_plugin_deinit(void);

#endif
