/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "hash.h"
#include "hostpid.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list.h"
#include "common/doveadm-compat.h"
#include "common/settings-source.h"
#include "common/settings.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hold/look.h"
#include "check-site.h"
#include "check-user.h"
#include "probe.h"
#include "report.h"
#include "site.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- settings */

static ARRAY_TYPE(const_string) * complaints;

static void ATTR_FORMAT(2, 0)
	on_error(const struct failure_context *ctx ATTR_UNUSED,
		 const char *format, va_list args)
{
	const char *text = t_strdup_vprintf(format, args);
	/* before that stands whose they are */
	const char *bad = strstr(text, "Bad setting ");

	if (bad != NULL)
		text = bad;
	array_push_back(complaints, &text);
}

/* @return what the settings' reader logs about settings that it does not
   understand */
static const char *const *read_settings(struct mail_user *user,
					struct rst_settings *settings_r)
{
	failure_callback_t *fatal, *error, *info, *debug;
	ARRAY_TYPE(const_string) texts;

	t_array_init(&texts, 4);
	complaints = &texts;
	i_get_failure_handlers(&fatal, &error, &info, &debug);
	i_set_error_handler(on_error);
	rst_settings_read(user, settings_r);
	i_set_error_handler(error);
	complaints = NULL;
	array_append_zero(&texts);
	return array_front(&texts);
}

static void check_settings(struct mail_user *user,
			   struct rst_settings *settings_r)
{
	const char *const *bad = read_settings(user, settings_r);

	if (*bad == NULL)
		rst_report_ok(user->username, "settings",
			      settings_r->enrolled ? "enrolled"
						   : "not enrolled");
	for (; *bad != NULL; bad++)
		rst_report_error(user->username, "settings", *bad,
				 "see restante-plugin(7)");
}

static void check_obsolete(struct mail_user *user)
{
	static const struct {
		const char *name, *instead;
	} obsolete[] = {
		{"restante_hold_mailbox", RST_SETTING_HOLD},
		{"restante_notify_socket", "restante_holders"},
		{"restante_index_socket", "restante_holders"},
	};
	struct rst_source source;
	unsigned int i;

	(void)rst_source_open(&source, user, TRUE);
	for (i = 0; i < N_ELEMENTS(obsolete); i++)
		if (rst_source_get(&source, obsolete[i].name) != NULL)
			rst_report_warning(
				user->username, obsolete[i].name,
				"this setting is ignored",
				t_strdup_printf("remove it; in its place there "
						"is %s",
						obsolete[i].instead));
	rst_source_close(&source);
}

/* A message that Postfix tries for longer is another message then. */
static void check_lifetime(struct mail_user *user,
			   const struct rst_settings *settings)
{
	static const char *const what = "restante_queue_lifetime";
	const char *error, *days;
	const struct rst_site *site = rst_site_get(&error);
	unsigned int secs = settings->queue_lifetime_secs;

	if (site == NULL || site->queue_lifetime_secs == 0)
		return;
	days = t_strdup_printf("%us", site->queue_lifetime_secs);
	if (site->queue_lifetime_secs <= secs)
		rst_report_ok(user->username, what,
			      t_strdup_printf("%us", secs));
	else
		rst_report_warning(
			user->username, what,
			t_strdup_printf("%us: Postfix tries for %s "
					"(maximal_queue_lifetime or "
					"bounce_queue_lifetime), and a message "
					"may be held twice",
					secs, days),
			t_strconcat("set it to ", days, NULL));
}

/* Has the user a value other than the site's? */
static bool is_own(const struct rst_source *source, const char *name)
{
	return null_strcmp(rst_doveadm_setting(name),
			   rst_source_get(source, name)) != 0;
}

/* Those that the site's settings gave were looked at before. */
static void check_own_settings(struct mail_user *user,
			       const struct rst_settings *settings)
{
	struct rst_source source;

	(void)rst_source_open(&source, user, TRUE);
	if (is_own(&source, "restante_release_socket"))
		rst_check_release_socket(user->username,
					 settings->release_socket);
	if (is_own(&source, "restante_holders"))
		rst_check_daemon(user->username, settings->holders);
	if (is_own(&source, RST_SETTING_HOLD_PLUGINS))
		rst_check_hold_plugins(user->username, settings->hold_plugins);
	rst_source_close(&source);
}

/* ---- the place of the hold */

static bool needs_home(const char *location)
{
	return strstr(location, ":~") != NULL || strstr(location, "=~") != NULL;
}

static bool has_home(struct mail_user *user)
{
	const char *home;

	return mail_user_get_home(user, &home) > 0;
}

static void check_namespaces(struct mail_user *user, const char *root)
{
	struct mail_namespace *ns;
	const char *path;

	for (ns = user->namespaces; ns != NULL; ns = ns->next) {
		if (!mailbox_list_get_root_path(
			    ns->list, MAILBOX_LIST_PATH_TYPE_DIR, &path) ||
		    strcmp(path, root) != 0)
			continue;
		rst_report_error(
			user->username,
			t_strdup_printf("namespace \"%s\"", ns->prefix),
			"it shows the hold to the user's programs and to "
			"plugins, which may change or remove held mail",
			"remove it: the hold is no namespace");
	}
}

static const char *const one_place_mend =
	"let each user have a place of their own, with " RST_SETTING_HOLD_USER
	" in it (or the user's home)";

/* @return the user of whom root was found before; NULL: it is the first time */
static const char *find_user_of(const char *root, const char *username)
{
	static HASH_TABLE(char *, char *) users;
	const char *user;

	if (!hash_table_is_created(users))
		hash_table_create(&users, default_pool, 0, str_hash, strcmp);
	user = hash_table_lookup(users, root);
	if (user == NULL)
		hash_table_insert(users, i_strdup(root), i_strdup(username));
	return user == NULL || strcmp(user, username) == 0 ? NULL : user;
}

/* With -A, users are compared. */
static void check_one_place(struct mail_user *user, const char *root)
{
	const char *other = find_user_of(root, user->username);

	if (other != NULL)
		rst_report_error(user->username, RST_SETTING_HOLD,
				 t_strdup_printf("%s is the place of %s, too: "
						 "mail is held for one of "
						 "them only",
						 root, other),
				 one_place_mend);
}

static void check_maildir_fsync(struct mail_user *user)
{
	static const enum rst_site_protocol protocols[] = {RST_SITE_LMTP,
							   RST_SITE_RESTANTE};
	const char *error;
	const struct rst_site *site = rst_site_get(&error);
	unsigned int i;

	for (i = 0; site != NULL && i < N_ELEMENTS(protocols); i++)
		if (strcmp(site->fsync[protocols[i]], "always") != 0)
			rst_report_warning(
				user->username,
				t_strdup_printf(
					"protocol %s mail_fsync",
					rst_site_protocol(protocols[i])),
				t_strconcat(site->fsync[protocols[i]],
					    ": after a power cut, maildir has "
					    "messages again that have left the "
					    "hold",
					    NULL),
				"set it to always, or let the hold be sdbox");
}

/* ---- the hold itself */

/* Does restante-hold, without a plugin, read what lmtp saves? */
static bool is_unreadable(const struct rst_probe *probe)
{
	const char *error;
	const struct rst_site *site = rst_site_get(&error);

	return probe->transformed && site != NULL &&
	       *site->plugins[RST_SITE_RESTANTE] == '\0';
}

static void report_hold(struct mail_user *user, const char *location,
			const struct rst_probe *probe)
{
	static const char *const what = RST_SETTING_HOLD;

	if (probe->problem != NULL)
		rst_report_error(
			user->username, what,
			t_strdup_printf("%s: %s", location, probe->problem),
			probe->mend);
	else if (is_unreadable(probe))
		rst_report_error(
			user->username, what,
			t_strconcat(location,
				    ": a plugin changes what is "
				    "saved, and restante-hold loads "
				    "none",
				    NULL),
			"add that plugin to mail_plugins of protocol "
			"restante, or remove its settings from " RST_SETTING_HOLD_PLUGINS);
	else
		rst_report_ok(user->username, what,
			      t_strdup_printf("%s: %s%s", location, probe->root,
					      probe->transformed
						      ? ", in the form of a "
							"plugin"
						      : ""));
}

static void check_held(struct rst_hold *hold)
{
	const char *user = hold->user->username, *error;
	struct rst_hold_status status;

	if (rst_look_peek(hold, &status, &error) < 0) {
		rst_report_error(
			user, "hold", error,
			"mend its files: doveadm force-resync with -o " RST_SETTING_HOLD_OPTION
			" as restante-plugin(7) has it");
		return;
	}
	if (status.incomplete > 0)
		rst_report_warning(user, "hold",
				   t_strdup_printf("%u messages are incomplete "
						   "or damaged, and stay",
						   status.incomplete),
				   "see doveadm restante list, and "
				   "restante-plugin(7), Incomplete messages");
	else
		rst_report_ok(user, "hold",
			      t_strdup_printf("%u messages", status.messages));
}

static int make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd == -1)
		return -1;
	i_close_fd(&fd);
	return unlink(path);
}

/* A hidden file is no entry. */
static void check_entry(const struct rst_hold *hold)
{
	static const char *const what = "restante_holders";
	const char *user = hold->user->username;
	const char *dir = hold->settings->holders;
	const char *path, *problem;

	if (!rst_entry_has_name(hold)) {
		rst_report_warning(user, what,
				   "the user's name is too long for a file: "
				   "mail is delivered normally",
				   "give the user a shorter name");
		return;
	}
	path = t_strdup_printf("%s/.restante-check-%s", dir, my_pid);
	if (*dir != '\0' && make_file(path) == 0) {
		rst_report_ok(user, what, dir);
		return;
	}
	problem = *dir == '\0' ? "not set: nothing can be held"
			       : t_strdup_printf("%s: uid %s can make no entry "
						 "there: %m",
						 dir, dec2str(geteuid()));
	rst_report_error(user, what, problem,
			 "chmod 1733 the directory, or 1770 and its group the "
			 "one of all mail, and let it search (chmod +x) each "
			 "directory above");
}

static void check_storage(struct rst_hold *hold)
{
	struct mail_user *user = hold->user;
	struct rst_probe probe;

	if (needs_home(hold->settings->hold_location) && !has_home(user)) {
		rst_report_error(user->username, RST_SETTING_HOLD,
				 t_strconcat(hold->settings->hold_location,
					     ": the user has no home", NULL),
				 "let the userdb return home, or set it to a "
				 "place such as " RST_SETTING_HOLD_EXAMPLE);
		return;
	}
	if (rst_probe_find(user, hold->settings, &probe) == 0 &&
	    (hold->settings->enrolled || probe.exists))
		rst_probe_run(user, hold->settings, &probe);
	if (probe.problem != NULL || hold->settings->enrolled || probe.exists)
		report_hold(user, hold->settings->hold_location, &probe);
	if (probe.root != NULL)
		check_namespaces(user, probe.root);
	if (probe.root != NULL && hold->settings->enrolled)
		check_one_place(user, probe.root);
	if (probe.driver != NULL && strcmp(probe.driver, "maildir") == 0)
		check_maildir_fsync(user);
	if (probe.exists && probe.problem == NULL)
		check_held(hold);
}

void rst_check_user(struct mail_user *user)
{
	struct rst_settings settings;
	struct rst_hold hold;

	check_settings(user, &settings);
	check_obsolete(user);
	check_own_settings(user, &settings);
	i_zero(&hold);
	hold.user = user;
	hold.settings = &settings;
	check_storage(&hold);
	if (!settings.enrolled)
		return;
	check_entry(&hold);
	check_lifetime(user, &settings);
}
