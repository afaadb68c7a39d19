/* SPDX-License-Identifier: MIT */
/**
 * The user to whom the storage of a hold belongs: another mail_user of
 * Dovecot's, of the same name, home and rights, with one namespace at
 * the place that the settings name. So the hold is no part of the user's own mailboxes: a
 * user without a hold has nothing of it, and no plugin changes, counts or
 * removes held messages, whichever plugins this process has loaded.
 */
#ifndef RST_HOLD_OWNER_H
#define RST_HOLD_OWNER_H

struct mail_user;
struct rst_settings;

/**
 * @param owner_r to be freed with mail_user_deinit(), after its mailboxes
 * @return 0, or -1: error_r
 */
int rst_owner_new(struct mail_user *user, const struct rst_settings *settings,
		  struct mail_user **owner_r, const char **error_r);

#endif
