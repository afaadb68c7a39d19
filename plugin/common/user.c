/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "mail-storage-service.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "root.h"
#include "user.h"

int rst_user_open(struct mail_storage_service_ctx *storage, const char *name,
		  struct rst_user *user_r, const char **error_r)
{
	int ret;

	i_zero(user_r);
	ret = rst_compat_user_open(storage, name, &user_r->service_user,
				   &user_r->user, error_r);
	if (ret <= 0) {
		i_zero(user_r);
		return ret;
	}
	rst_user_enter(user_r);
	rst_settings_read(user_r->user, &user_r->settings);
	if (!user_r->settings.unreadable)
		return 1;
	rst_user_close(user_r);
	*error_r = "the settings cannot be read";
	return -1;
}

void rst_user_close(struct rst_user *user)
{
	uid_t uid;

	if (user->user == NULL)
		return;
	rst_user_enter(user);
	rst_compat_user_close(&user->service_user, &user->user);
	(void)rst_root_enter(&uid);
	i_zero(user);
}

void rst_user_enter(const struct rst_user *user)
{
	if (user->user != NULL &&
	    io_loop_get_current_context(current_ioloop) == NULL)
		mail_storage_service_io_activate_user(user->service_user);
}
