/* SPDX-License-Identifier: MIT */
/** The symbols that Dovecot looks up in lib95_restante_plugin.so. */
#ifndef RST_DELIVER_HOOK_H
#define RST_DELIVER_HOOK_H

struct module;

extern const char *restante_plugin_version;
extern const char restante_plugin_binary_dependency[];

void restante_plugin_init(struct module *module);
void restante_plugin_deinit(void);

#endif
