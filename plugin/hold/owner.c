/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-storage-service.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "str.h"
#include "common/settings.h"
#include "owner.h"

/* Is name among the settings of plugins that act on the hold, too? */
static bool is_kept(const char *name, const char *const *prefixes)
{
	for (; *prefixes != NULL; prefixes++)
		if (**prefixes != '\0' && str_begins(name, *prefixes))
			return TRUE;
	return FALSE;
}

/* @param value as it is to be: mail_user_init() expands %variables */
static void add(struct mail_user *owner, const char *name, const char *value)
{
	string_t *escaped = str_new(owner->pool, strlen(value) + 1);

	for (; *value != '\0'; value++) {
		if (*value == '%')
			str_append_c(escaped, '%');
		str_append_c(escaped, *value);
	}
	name = p_strdup(owner->pool, name);
	value = str_c(escaped);
	array_push_back(&owner->set->plugin_envs, &name);
	array_push_back(&owner->set->plugin_envs, &value);
}

/* Plugins find their settings here. A plugin that has none does nothing, but
   for mail_crypt, which then refuses the user. */
static void set_plugin_settings(struct mail_user *owner,
				const struct mail_user *user,
				const struct rst_settings *settings)
{
	const char *const *prefixes =
		t_strsplit_spaces(settings->hold_plugin_settings, " ,");
	const char *const *settings_of_user;
	unsigned int i, count = 0;

	settings_of_user = array_is_created(&user->set->plugin_envs)
				   ? array_get(&user->set->plugin_envs, &count)
				   : NULL;
	p_array_init(&owner->set->plugin_envs, owner->pool, 8);
	for (i = 0; i + 1 < count; i += 2)
		if (is_kept(settings_of_user[i], prefixes))
			add(owner, settings_of_user[i],
			    settings_of_user[i + 1]);
	if (!is_kept("mail_crypt_save_version", prefixes))
		add(owner, "mail_crypt_save_version", "0");
}

/* Settings that would change what is written and read. */
static void set_storage_settings(struct mail_user *owner)
{
	/* ours: mail_user_alloc() has made a copy */
	struct mail_storage_settings *set =
		(struct mail_storage_settings *)mail_user_set_get_storage_set(
			owner);

	set->mail_save_crlf = FALSE;
	set->mail_attachment_dir = "";
	set->mail_full_filesystem_access = FALSE;
}

static struct mail_user *alloc(struct mail_user *user,
			       const struct rst_settings *settings)
{
	struct mail_user *owner;
	const char *home;

	owner = mail_user_alloc(user->event, user->username, user->set_info,
				user->unexpanded_set);
	owner->_service_user = user->_service_user;
	if (owner->_service_user != NULL)
		mail_storage_service_user_ref(owner->_service_user);
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
	set_plugin_settings(owner, user, settings);
	return owner;
}

static int init(struct mail_user *owner, const struct rst_settings *settings,
		const char **error_r)
{
	if (mail_user_init(owner, error_r) < 0)
		return -1;
	set_storage_settings(owner);
	if (mail_namespaces_init_location(owner, settings->hold_location,
					  error_r) < 0)
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
