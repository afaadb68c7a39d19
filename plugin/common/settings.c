/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "settings-parser.h"
#include "str-sanitize.h"
#include "settings.h"

#define DEFAULT_HOLD_MAILBOX "Restante/Held"
#define DEFAULT_OVERFLOW_MAILBOX "Restante/Overflow"
#define DEFAULT_HOLD_DAYS 14
#define DEFAULT_GIVE_UP_DAYS 7
#define DEFAULT_HOLDERS "/var/lib/restante/holders"
#define DEFAULT_RELEASE_SOCKET "lmtp-release"

static void complain(struct mail_user *user, const char *name,
		     const char *value, const char *wanted, const char *instead)
{
	e_error(user->event, "Bad setting %s=%s: expected %s; %s", name,
		str_sanitize(value, 80), wanted, instead);
}

static bool get_bool(struct mail_user *user, const char *name, bool safe)
{
	const char *value = mail_user_plugin_getenv(user, name);
	static const char *const yes[] = {"yes", "y", "true", "on", "1", NULL};
	static const char *const no[] = {"no", "n", "false", "off",
					 "0",  "",  NULL};

	if (value == NULL)
		return FALSE;
	if (str_array_icase_find(yes, value))
		return TRUE;
	if (str_array_icase_find(no, value))
		return FALSE;
	complain(user, name, value, "yes or no",
		 safe ? "taken as yes" : "taken as no");
	return safe;
}

static const char *get_string(struct mail_user *user, const char *name,
			      const char *default_value)
{
	const char *value = mail_user_plugin_getenv(user, name);

	return value == NULL ? default_value : value;
}

static uoff_t get_size(struct mail_user *user, const char *name)
{
	const char *value = mail_user_plugin_getenv(user, name);
	const char *error;
	uoff_t size;

	if (value == NULL)
		return 0;
	if (settings_get_size(value, &size, &error) == 0)
		return size;
	complain(user, name, value, "a size such as 500M or 1G, 0 for none",
		 "there is no limit");
	return 0;
}

/* @param days the default value */
static unsigned int get_time(struct mail_user *user, const char *name,
			     unsigned int days)
{
	const char *value = mail_user_plugin_getenv(user, name);
	const char *error;
	unsigned int secs;

	if (value == NULL)
		return days * 24 * 3600;
	if (settings_get_time(value, &secs, &error) == 0 && secs > 0)
		return secs;
	complain(user, name, value, "a time such as 14d or 12h",
		 t_strdup_printf("%ud is used", days));
	return days * 24 * 3600;
}

static enum rst_on_error get_on_error(struct mail_user *user)
{
	static const char *const name = "restante_on_error";
	const char *value = mail_user_plugin_getenv(user, name);

	if (value == NULL || strcmp(value, "tempfail") == 0)
		return RST_ON_ERROR_TEMPFAIL;
	if (strcmp(value, "deliver") == 0)
		return RST_ON_ERROR_DELIVER;
	complain(user, name, value, "tempfail or deliver", "tempfail is used");
	return RST_ON_ERROR_TEMPFAIL;
}

/* @param other a mailbox that it must differ from, or NULL */
static const char *get_mailbox(struct mail_user *user, const char *name,
			       const char *default_value, const char *other)
{
	const char *value = get_string(user, name, default_value);

	/* a hold in INBOX would push all mail of the user to the client */
	if (*value != '\0' && strcasecmp(value, "INBOX") != 0 &&
	    null_strcmp(value, other) != 0)
		return value;
	complain(user, name, value, "a mailbox of its own",
		 t_strdup_printf("%s is used", default_value));
	return default_value;
}

static const char *get_holders(struct mail_user *user)
{
	static const char *const name = "restante_holders";
	const char *value = get_string(user, name, DEFAULT_HOLDERS);

	if (*value == '/' || *value == '\0')
		return value;
	complain(user, name, value, "the full path of a directory",
		 "nothing can be held");
	return "";
}

static const char *get_release_socket(struct mail_user *user)
{
	const char *value = get_string(user, "restante_release_socket",
				       DEFAULT_RELEASE_SOCKET);

	if (*value == '/')
		return value;
	return p_strconcat(user->pool, user->set->base_dir, "/", value, NULL);
}

void rst_settings_read(struct mail_user *user, struct rst_settings *set_r)
{
	i_zero(set_r);
	/* a bad value must not stop delivery */
	set_r->enrolled = get_bool(user, "restante", FALSE);
	set_r->bypass = get_bool(user, "restante_bypass", TRUE);
	set_r->hold_mailbox = get_mailbox(user, "restante_hold_mailbox",
					  DEFAULT_HOLD_MAILBOX, NULL);
	set_r->overflow_mailbox =
		get_mailbox(user, "restante_overflow_mailbox",
			    DEFAULT_OVERFLOW_MAILBOX, set_r->hold_mailbox);
	set_r->hold_time_secs =
		get_time(user, "restante_hold_time", DEFAULT_HOLD_DAYS);
	set_r->fallback_give_up_secs = get_time(
		user, "restante_fallback_give_up", DEFAULT_GIVE_UP_DAYS);
	set_r->test_no_dedup = get_bool(user, "restante_test_no_dedup", FALSE);
	set_r->hold_quota = get_size(user, "restante_hold_quota");
	set_r->max_size = get_size(user, "restante_max_size");
	set_r->on_error = get_on_error(user);
	set_r->holders = get_holders(user);
	set_r->release_socket = get_release_socket(user);
}
