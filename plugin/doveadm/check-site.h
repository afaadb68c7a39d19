/* SPDX-License-Identifier: MIT */
/** doveadm restante check: what concerns no single user. */
#ifndef RST_DOVEADM_CHECK_SITE_H
#define RST_DOVEADM_CHECK_SITE_H

/** As root. */
void rst_check_site(void);

/** Is the LMTP server of fallback delivery there? */
void rst_check_release_socket(const char *user, const char *path);

/** Asks the daemon that runs: does it look at the directory in which the plugin
    notes who holds mail? @param own restante_holders */
void rst_check_daemon(const char *user, const char *own);

/** Does restante-hold load what the plugins of lmtp do to held mail?
    @param prefixes hold_plugins of the settings */
void rst_check_hold_plugins(const char *user, const char *prefixes);

#endif
