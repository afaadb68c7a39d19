/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "str-sanitize.h"
#include "dovecot-compat.h"
#include "settings-source.h"
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

static bool get_bool(const struct rst_source *source, const char *name,
		     bool safe)
{
	const char *value = rst_source_get(source, name);
	static const char *const yes[] = {"yes", "y", "true", "on", "1", NULL};
	static const char *const no[] = {"no", "n", "false", "off",
					 "0",  "",  NULL};

	if (value == NULL)
		return FALSE;
	if (str_array_icase_find(yes, value))
		return TRUE;
	if (str_array_icase_find(no, value))
		return FALSE;
	complain(source->user, name, value, "yes or no",
		 safe ? "taken as yes" : "taken as no");
	return safe;
}

static const char *get_string(const struct rst_source *source, const char *name,
			      const char *default_value)
{
	const char *value = rst_source_get(source, name);

	return value == NULL ? default_value : value;
}

static uoff_t get_size(const struct rst_source *source, const char *name)
{
	const char *value = rst_source_get(source, name);
	const char *error;
	uoff_t size;

	if (value == NULL)
		return 0;
	if (rst_compat_parse_size(value, &size, &error) == 0)
		return size;
	complain(source->user, name, value,
		 "a size such as 500M or 1G, 0 for none", "there is no limit");
	return 0;
}

/* @param days the default value */
static unsigned int get_time(const struct rst_source *source, const char *name,
			     unsigned int days)
{
	const char *value = rst_source_get(source, name);
	const char *error;
	unsigned int secs;

	if (value == NULL)
		return days * 24 * 3600;
	if (rst_compat_parse_secs(value, &secs, &error) == 0 && secs > 0)
		return secs;
	complain(source->user, name, value, "a time such as 14d or 12h",
		 t_strdup_printf("%ud is used", days));
	return days * 24 * 3600;
}

static enum rst_on_error get_on_error(const struct rst_source *source)
{
	static const char *const name = "restante_on_error";
	const char *value = rst_source_get(source, name);

	if (value == NULL || strcmp(value, "tempfail") == 0)
		return RST_ON_ERROR_TEMPFAIL;
	if (strcmp(value, "deliver") == 0)
		return RST_ON_ERROR_DELIVER;
	complain(source->user, name, value, "tempfail or deliver",
		 "tempfail is used");
	return RST_ON_ERROR_TEMPFAIL;
}

static const char *get_location(const struct rst_source *source)
{
	const char *value = rst_source_location(source);

	if (value == NULL)
		return DEFAULT_HOLD_LOCATION;
	if (strchr(value, ':') != NULL && *value != ':')
		return value;
	complain(source->user, RST_SETTING_HOLD, value,
		 "a location such as sdbox:~/restante",
		 DEFAULT_HOLD_LOCATION " is used");
	return DEFAULT_HOLD_LOCATION;
}

static const char *get_overflow_mailbox(const struct rst_source *source)
{
	static const char *const name = "restante_overflow_mailbox";
	const char *value = get_string(source, name, "");

	if (strcasecmp(value, "INBOX") != 0)
		return value;
	/* it would be over quota, too */
	complain(source->user, name, value, "a mailbox of its own",
		 "the mailbox beside the hold is used");
	return "";
}

static void refuse_hold_mailbox(const struct rst_source *source)
{
	static const char *const name = "restante_hold_mailbox";
	const char *value = rst_source_get(source, name);

	if (value != NULL)
		complain(source->user, name, value,
			 RST_SETTING_HOLD " in its place", "it is ignored");
}

static const char *get_holders(const struct rst_source *source)
{
	static const char *const name = "restante_holders";
	const char *value = get_string(source, name, DEFAULT_HOLDERS);

	if (*value == '/' || *value == '\0')
		return value;
	complain(source->user, name, value, "the full path of a directory",
		 "nothing can be held");
	return "";
}

static const char *get_release_socket(const struct rst_source *source)
{
	const char *value = get_string(source, "restante_release_socket",
				       DEFAULT_RELEASE_SOCKET);

	if (*value == '/')
		return value;
	return p_strconcat(source->user->pool, source->user->set->base_dir, "/",
			   value, NULL);
}

/* a bad value must not stop delivery */

static bool is_enrolled(const struct rst_source *source)
{
	return get_bool(source, "restante", FALSE);
}

static bool is_bypass(const struct rst_source *source)
{
	return get_bool(source, "restante_bypass", TRUE);
}

bool rst_settings_concern(struct mail_user *user)
{
	struct rst_source source;
	bool concern;

	rst_source_open(&source, user, FALSE);
	concern = is_bypass(&source) || is_enrolled(&source);
	rst_source_close(&source);
	return concern;
}

void rst_settings_read(struct mail_user *user, struct rst_settings *set_r)
{
	struct rst_source opened, *const source = &opened;

	i_zero(set_r);
	set_r->unreadable = rst_source_open(source, user, TRUE) < 0;
	set_r->enrolled = is_enrolled(source);
	set_r->bypass = is_bypass(source);
	set_r->hold_location = get_location(source);
	set_r->hold_plugins = get_string(source, RST_SETTING_HOLD_PLUGINS, "");
	set_r->overflow_mailbox = get_overflow_mailbox(source);
	refuse_hold_mailbox(source);
	set_r->hold_time_secs =
		get_time(source, "restante_hold_time", DEFAULT_HOLD_DAYS);
	set_r->fallback_give_up_secs = get_time(
		source, "restante_fallback_give_up", DEFAULT_GIVE_UP_DAYS);
	set_r->queue_lifetime_secs =
		get_time(source, "restante_queue_lifetime", DEFAULT_QUEUE_DAYS);
	set_r->test_no_dedup =
		get_bool(source, "restante_test_no_dedup", FALSE);
	set_r->hold_quota = get_size(source, "restante_hold_quota");
	set_r->max_size = get_size(source, "restante_max_size");
	set_r->on_error = get_on_error(source);
	set_r->holders = get_holders(source);
	set_r->release_socket = get_release_socket(source);
	rst_source_close(source);
}
