/* SPDX-License-Identifier: MIT */
/** A Dovecot user, looked up and opened with the user's own rights. */
#ifndef RST_COMMON_USER_H
#define RST_COMMON_USER_H

#include "settings.h"

struct mail_storage_service_ctx;
struct mail_storage_service_user;

/** All zero: no user. */
struct rst_user {
	struct mail_storage_service_user *service_user;
	struct mail_user *user;
	struct rst_settings settings;
};

/** @return 1; 0: there is no such user; -1: error_r */
int rst_user_open(struct mail_storage_service_ctx *storage, const char *name,
		  struct rst_user *user_r, const char **error_r);
/** Close the user, and give up the user's rights. */
void rst_user_close(struct rst_user *user);
/** From here on, log as this user and act with the user's rights. */
void rst_user_enter(const struct rst_user *user);

#endif
