/* SPDX-License-Identifier: MIT */
/**
 * Where Dovecot 2.3 and 2.4 differ: one set of functions for both. Only this
 * file, dovecot-compat.c, doveadm-compat.[ch] and settings-2.[34].c know which
 * Dovecot this is.
 */
#ifndef RST_COMMON_DOVECOT_COMPAT_H
#define RST_COMMON_DOVECOT_COMPAT_H

#include "lib.h"
#include "mail-storage-service.h"

/* Dovecot's config.h says it, which lib.h includes. */
#define RST_DOVECOT_24                \
	(DOVECOT_VERSION_MAJOR > 2 || \
	 (DOVECOT_VERSION_MAJOR == 2 && DOVECOT_VERSION_MINOR >= 4))
#define RST_DOVECOT_242    \
	(RST_DOVECOT_24 && \
	 (DOVECOT_VERSION_MINOR > 4 || DOVECOT_VERSION_MICRO >= 2))

struct mail_user;
struct master_service;

#if !RST_DOVECOT_24
/* 2.4's str_begins() has a third parameter */
#	define str_begins_with(text, prefix) str_begins(text, prefix)
#endif

/* ---- settings */

/** What 90-restante.conf of this Dovecot calls the place of the hold, the
   user's name in it, the plugins that act on it, and the bypass of
   lmtp-release. */
#if RST_DOVECOT_24
#	define RST_SETTING_HOLD "restante_hold_path"
#	define RST_SETTING_HOLD_USER "%{user}"
#	define RST_SETTING_HOLD_EXAMPLE \
		"/var/vmail/restante/%{user | domain}/%{user | username}"
#	define RST_SETTING_HOLD_PLUGINS "restante_hold_plugins"
#	define RST_SETTING_HOLD_OPTION "mail_driver and mail_path"
#	define RST_SETTING_BYPASS "restante_bypass=yes"
#else
#	define RST_SETTING_HOLD "restante_hold_location"
#	define RST_SETTING_HOLD_USER "%u"
#	define RST_SETTING_HOLD_EXAMPLE "sdbox:/var/vmail/restante/%d/%n"
#	define RST_SETTING_HOLD_PLUGINS "restante_hold_plugin_settings"
#	define RST_SETTING_HOLD_OPTION "mail_location"
#	define RST_SETTING_BYPASS "plugin/restante_bypass=yes"
#endif

/** As Dovecot's configuration has sizes and times. @return 0, or -1: error_r */
int rst_compat_parse_size(const char *text, uoff_t *size_r,
			  const char **error_r);
int rst_compat_parse_secs(const char *text, unsigned int *secs_r,
			  const char **error_r);

/** The setting hostname. */
const char *rst_compat_hostname(struct mail_user *user);
/** Is mail_fsync=never set for this program? */
bool rst_compat_fsync_never(struct mail_user *user);

/* ---- users */

/**
 * Read the configuration of protocol restante. A service does that before it
 * gives up root's rights: only root may open the config socket.
 * @return 0, or -1: error_r
 */
int rst_compat_read_configuration(struct master_service *service,
				  const char **error_r);
/** Flags of master_service_init() for that. */
extern const int rst_compat_master_flags;
/** The flag of a test that has no configuration, which 2.4.2 has renamed; and
    what such a test calls, as 2.4.2 then wants to be told of our settings. */
#if RST_DOVECOT_242
#	define RST_COMPAT_NO_CONFIG MASTER_SERVICE_FLAG_CONFIG_BUILTIN
#else
#	define RST_COMPAT_NO_CONFIG MASTER_SERVICE_FLAG_NO_CONFIG_SETTINGS
#endif
void rst_compat_register_settings(void);
struct mail_storage_service_ctx *
rst_compat_storage_init(struct master_service *service,
			enum mail_storage_service_flags flags);

/** The mask of mail_storage_service_all_init_mask() that all names match: the
    one that doveadm -A has. An empty one matches no name in 2.4. */
#if RST_DOVECOT_24
#	define RST_COMPAT_ALL_USERS "*"
#else
#	define RST_COMPAT_ALL_USERS ""
#endif

/** @return 1; 0: there is no such user; -1: error_r */
int rst_compat_user_open(struct mail_storage_service_ctx *storage,
			 const char *name,
			 struct mail_storage_service_user **service_user_r,
			 struct mail_user **user_r, const char **error_r);
void rst_compat_user_close(struct mail_storage_service_user **service_user,
			   struct mail_user **user);

/* ---- the owner of a hold, see hold/owner.h */

/**
 * Another user of the same name and rights, for whom mail_user_init() has not
 * been called.
 * @param plugins those that act on the owner's storage: in 2.3 the beginnings
 *        of their settings' names, in 2.4 their names; blank-separated
 */
struct mail_user *rst_compat_owner_alloc(struct mail_user *user,
					 const char *plugins);
/**
 * Give an owner, after mail_user_init(), its one namespace.
 * @param location as 2.3's mail_location, with the keys INDEX and CONTROL
 * @return 0, or -1: error_r
 */
int rst_compat_owner_init(struct mail_user *owner, const char *location,
			  const char **error_r);

#endif
