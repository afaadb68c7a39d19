/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "settings-parser.h"
#include "str-sanitize.h"
#include "settings.h"

#define DEFAULT_HOLD_LOCATION "sdbox:~/restante"
#define DEFAULT_HOLD_DAYS 14
#define DEFAULT_GIVE_UP_DAYS 7
#define DEFAULT_QUEUE_DAYS 5
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

static const char *get_location(struct mail_user *user)
{
	static const char *const name = "restante_hold_location";
	const char *value = get_string(user, name, DEFAULT_HOLD_LOCATION);

	if (strchr(value, ':') != NULL && *value != ':')
		return value;
	complain(user, name, value, "a location such as sdbox:~/restante",
		 DEFAULT_HOLD_LOCATION " is used");
	return DEFAULT_HOLD_LOCATION;
}

static const char *get_overflow_mailbox(struct mail_user *user)
{
	static const char *const name = "restante_overflow_mailbox";
	const char *value = get_string(user, name, "");

	if (strcasecmp(value, "INBOX") != 0)
		return value;
	/* it would be over quota, too */
	complain(user, name, value, "a mailbox of its own",
		 "the mailbox beside the hold is used");
	return "";
}

static void refuse_hold_mailbox(struct mail_user *user)
{
	static const char *const name = "restante_hold_mailbox";
	const char *value = mail_user_plugin_getenv(user, name);

	if (value != NULL)
		complain(user, name, value,
			 "restante_hold_location in its place",
			 "it is ignored");
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

/* a bad value must not stop delivery */

static bool is_enrolled(struct mail_user *user)
{
	return get_bool(user, "restante", FALSE);
}

static bool is_bypass(struct mail_user *user)
{
	return get_bool(user, "restante_bypass", TRUE);
}

bool rst_settings_concern(struct mail_user *user)
{
	return is_bypass(user) || is_enrolled(user);
}

void rst_settings_read(struct mail_user *user, struct rst_settings *set_r)
{
	i_zero(set_r);
	set_r->enrolled = is_enrolled(user);
	set_r->bypass = is_bypass(user);
	set_r->hold_location = get_location(user);
	set_r->hold_plugin_settings =
		get_string(user, "restante_hold_plugin_settings", "");
	set_r->overflow_mailbox = get_overflow_mailbox(user);
	refuse_hold_mailbox(user);
	set_r->hold_time_secs =
		get_time(user, "restante_hold_time", DEFAULT_HOLD_DAYS);
	set_r->fallback_give_up_secs = get_time(
		user, "restante_fallback_give_up", DEFAULT_GIVE_UP_DAYS);
	set_r->queue_lifetime_secs =
		get_time(user, "restante_queue_lifetime", DEFAULT_QUEUE_DAYS);
	set_r->test_no_dedup = get_bool(user, "restante_test_no_dedup", FALSE);
	set_r->hold_quota = get_size(user, "restante_hold_quota");
	set_r->max_size = get_size(user, "restante_max_size");
	set_r->on_error = get_on_error(user);
	set_r->holders = get_holders(user);
	set_r->release_socket = get_release_socket(user);
}
