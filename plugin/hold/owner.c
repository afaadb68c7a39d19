/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-namespace.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "owner.h"

static struct mail_user *alloc(struct mail_user *user,
			       const struct rst_settings *settings)
{
	struct mail_user *owner;
	const char *home;

	owner = rst_compat_owner_alloc(user, settings->hold_plugins);
	owner->creator = user;
	owner->autocreated = TRUE;
	owner->uid = user->uid;
	owner->gid = user->gid;
	owner->session_id = p_strdup(owner->pool, user->session_id);
	mail_user_set_vars(owner, user->service, &user->conn);
	/* NULL, too, keeps Dovecot from asking the userdb */
	if (mail_user_get_home(user, &home) <= 0)
		home = NULL;
	mail_user_set_home(owner, home);
	return owner;
}

static int init(struct mail_user *owner, const struct rst_settings *settings,
		const char **error_r)
{
	if (mail_user_init(owner, error_r) < 0 ||
	    rst_compat_owner_init(owner, settings->hold_location, error_r) < 0)
		return -1;
	owner->namespaces->flags |=
		NAMESPACE_FLAG_NOQUOTA | NAMESPACE_FLAG_NOACL;
	return 0;
}

int rst_owner_new(struct mail_user *user, const struct rst_settings *settings,
		  struct mail_user **owner_r, const char **error_r)
{
	struct mail_user *owner = alloc(user, settings);

	if (init(owner, settings, error_r) < 0) {
		/* it may stand in the owner's memory */
		*error_r = t_strdup(*error_r);
		mail_user_deinit(&owner);
		return -1;
	}
	*owner_r = owner;
	return 0;
}
