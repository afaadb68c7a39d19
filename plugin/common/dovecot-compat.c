/* SPDX-License-Identifier: MIT */
#include "dovecot-compat.h"
#include "array.h"
#include "fsync-mode.h"
#include "mail-namespace.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "master-service-settings.h"
#include "master-service.h"
#include "settings-parser.h"
#include "str.h"

#define PROTOCOL "restante"

#if RST_DOVECOT_24

#	include "settings-2.4.h"

/* Dovecot's; one of ours has the same name */
#	include <settings.h>

/* ---- settings */

int rst_compat_parse_size(const char *text, uoff_t *size_r,
			  const char **error_r)
{
	return str_parse_get_size(text, size_r, error_r);
}

int rst_compat_parse_secs(const char *text, unsigned int *secs_r,
			  const char **error_r)
{
	return str_parse_get_interval(text, secs_r, error_r);
}

const char *rst_compat_hostname(struct mail_user *user)
{
	return user->set->hostname;
}

bool rst_compat_fsync_never(struct mail_user *user)
{
	const struct mail_storage_settings *set;
	const char *error;
	bool never;

	if (settings_get(user->event, &mail_storage_setting_parser_info, 0,
			 &set, &error) < 0)
		return FALSE;
	never = set->parsed_fsync_mode == FSYNC_MODE_NEVER;
	settings_free(set);
	return never;
}

/* ---- users */

const int rst_compat_master_flags = 0;

void rst_compat_register_settings(void)
{
#	if RST_DOVECOT_242
	settings_info_register(&rst_setting_parser_info);
#	endif
}

int rst_compat_read_configuration(struct master_service *service,
				  const char **error_r)
{
	const struct master_service_settings_input input = {
		.protocol = PROTOCOL,
	};
	struct master_service_settings_output output;

	return master_service_settings_read(service, &input, &output, error_r);
}

struct mail_storage_service_ctx *
rst_compat_storage_init(struct master_service *service,
			enum mail_storage_service_flags flags)
{
	return mail_storage_service_init(service, flags);
}

int rst_compat_user_open(struct mail_storage_service_ctx *storage,
			 const char *name,
			 struct mail_storage_service_user **service_user_r,
			 struct mail_user **user_r, const char **error_r)
{
	const struct mail_storage_service_input input = {
		.service = PROTOCOL,
		.username = name,
	};
	int ret = mail_storage_service_lookup_next(storage, &input, user_r,
						   error_r);

	if (ret <= 0)
		return I_MAX(ret, -1);
	*service_user_r = (*user_r)->service_user;
	return 1;
}

void rst_compat_user_close(struct mail_storage_service_user **service_user,
			   struct mail_user **user)
{
	/* the user's */
	*service_user = NULL;
	mail_user_deinit(user);
}

/* ---- the owner of a hold */

/* A plugin that is not among the owner's acts on nothing of it. */
static void set_plugins(struct mail_user *owner, const char *plugins)
{
	const char *const *kept = t_strsplit_spaces(plugins, " ,");
	struct mail_user_settings *set =
		p_memdup(owner->pool, owner->set, sizeof(*set));
	const char *plugin;

	p_array_init(&set->mail_plugins, owner->pool, 4);
	if (array_is_created(&owner->set->mail_plugins)) {
		array_foreach_elem(&owner->set->mail_plugins, plugin)
		{
			if (str_array_find(kept, plugin))
				array_push_back(&set->mail_plugins, &plugin);
		}
	}
	owner->set = set;
}

struct mail_user *rst_compat_owner_alloc(struct mail_user *user,
					 const char *plugins)
{
	struct mail_user *owner = mail_user_alloc(user->service_user);

	owner->protocol = p_strdup(owner->pool, user->protocol);
	set_plugins(owner, plugins);
	return owner;
}

static void override(struct settings_instance *instance, const char *name,
		     const char *value)
{
	settings_override(instance, t_strconcat("*/", name, NULL), value,
			  SETTINGS_OVERRIDE_TYPE_CODE);
}

/* @return where the next part begins, or NULL; a pair of colons is one */
static const char *take_part(const char *location, string_t *part)
{
	str_truncate(part, 0);
	for (; *location != '\0'; location++) {
		if (*location == ':' && *++location != ':')
			return location;
		str_append_c(part, *location);
	}
	return NULL;
}

static int override_other(struct settings_instance *instance, const char *part,
			  const char **error_r)
{
	if (strncmp(part, "INDEX=", 6) == 0) {
		override(instance, "mail_index_path", part + 6);
	} else if (strncmp(part, "CONTROL=", 8) == 0) {
		override(instance, "mail_control_path", part + 8);
	} else {
		*error_r = t_strdup_printf("%s is not understood", part);
		return -1;
	}
	return 0;
}

/* Nothing of the user's own storage may leak into the hold's. */
static int override_all(struct settings_instance *instance,
			const char *location, const char **error_r)
{
	string_t *part = t_str_new(256);

	mail_storage_2nd_settings_reset(instance, "*/");
	override(instance, "mail_save_crlf", "no");
	override(instance, "mail_ext_attachment_path", "");
	override(instance, "mail_full_filesystem_access", "no");
	location = take_part(location, part);
	override(instance, "mail_driver", str_c(part));
	if (location == NULL) {
		*error_r = "it has no path";
		return -1;
	}
	location = take_part(location, part);
	override(instance, "mail_path", str_c(part));
	while (location != NULL) {
		location = take_part(location, part);
		if (override_other(instance, str_c(part), error_r) < 0)
			return -1;
	}
	return 0;
}

int rst_compat_owner_init(struct mail_user *owner, const char *location,
			  const char **error_r)
{
	struct settings_instance *instance =
		settings_instance_dup(settings_instance_find(owner->event));

	event_set_ptr(owner->event, SETTINGS_EVENT_INSTANCE, instance);
	if (override_all(instance, location, error_r) < 0 ||
	    mail_namespaces_init_location(owner, owner->event, error_r) < 0) {
		event_set_ptr(owner->event, SETTINGS_EVENT_INSTANCE, NULL);
		settings_instance_free(&instance);
		return -1;
	}
	/* the namespace frees it, when the owner is freed */
	i_assert(owner->namespaces->_set_instance == NULL);
	owner->namespaces->_set_instance = instance;
	return 0;
}

#else /* 2.3 */

/* ---- settings */

int rst_compat_parse_size(const char *text, uoff_t *size_r,
			  const char **error_r)
{
	return settings_get_size(text, size_r, error_r);
}

int rst_compat_parse_secs(const char *text, unsigned int *secs_r,
			  const char **error_r)
{
	return settings_get_time(text, secs_r, error_r);
}

const char *rst_compat_hostname(struct mail_user *user)
{
	return mail_user_set_get_storage_set(user)->hostname;
}

bool rst_compat_fsync_never(struct mail_user *user)
{
	return mail_user_set_get_storage_set(user)->parsed_fsync_mode ==
	       FSYNC_MODE_NEVER;
}

/* ---- users */

const int rst_compat_master_flags = MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN;

void rst_compat_register_settings(void)
{
}

int rst_compat_read_configuration(struct master_service *service,
				  const char **error_r)
{
	const struct master_service_settings_input input = {
		.module = "mail",
		.service = PROTOCOL,
	};
	struct master_service_settings_output output;

	return master_service_settings_read(service, &input, &output, error_r);
}

struct mail_storage_service_ctx *
rst_compat_storage_init(struct master_service *service,
			enum mail_storage_service_flags flags)
{
	return mail_storage_service_init(service, NULL, flags);
}

int rst_compat_user_open(struct mail_storage_service_ctx *storage,
			 const char *name,
			 struct mail_storage_service_user **service_user_r,
			 struct mail_user **user_r, const char **error_r)
{
	const struct mail_storage_service_input input = {
		.module = "mail",
		.service = PROTOCOL,
		.username = name,
	};
	int ret = mail_storage_service_lookup_next(
		storage, &input, service_user_r, user_r, error_r);

	return I_MAX(ret, -1);
}

void rst_compat_user_close(struct mail_storage_service_user **service_user,
			   struct mail_user **user)
{
	mail_user_deinit(user);
	mail_storage_service_user_unref(service_user);
}

/* ---- the owner of a hold */

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
static void set_plugins(struct mail_user *owner, const struct mail_user *user,
			const char *plugins)
{
	const char *const *prefixes = t_strsplit_spaces(plugins, " ,");
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

struct mail_user *rst_compat_owner_alloc(struct mail_user *user,
					 const char *plugins)
{
	struct mail_user *owner =
		mail_user_alloc(user->event, user->username, user->set_info,
				user->unexpanded_set);

	owner->_service_user = user->_service_user;
	if (owner->_service_user != NULL)
		mail_storage_service_user_ref(owner->_service_user);
	set_plugins(owner, user, plugins);
	return owner;
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

int rst_compat_owner_init(struct mail_user *owner, const char *location,
			  const char **error_r)
{
	set_storage_settings(owner);
	return mail_namespaces_init_location(owner, location, error_r);
}

#endif
