/* SPDX-License-Identifier: MIT */
/** doveadm restante check: what concerns no single user. */
#ifndef RST_DOVEADM_CHECK_SITE_H
#define RST_DOVEADM_CHECK_SITE_H

/** As root. */
void rst_check_site(void);

/** Is the LMTP server of fallback delivery there? */
void rst_check_release_socket(const char *user, const char *path);

/** Does restante-hold load what the plugins of lmtp do to held mail?
    @param prefixes hold_plugins of the settings */
void rst_check_hold_plugins(const char *user, const char *prefixes);

#endif
