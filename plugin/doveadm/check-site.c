/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "net.h"
#include "doveadm-settings.h"
#include "doveadm-util.h"
#include "common/doveadm-compat.h"
#include "common/root.h"
#include "check-site.h"
#include "online.h"
#include "report.h"
#include "site.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#define DEFAULT_HOLDERS "/var/lib/restante/holders"
#define DEFAULT_RELEASE_SOCKET "lmtp-release"
#define TIMEOUT_SECS 10
#define US "restante"

/* ---- plugins */

static const char *plugins_setting(enum rst_site_protocol protocol)
{
	return t_strdup_printf("protocol %s mail_plugins",
			       rst_site_protocol(protocol));
}

static void check_loaded(const struct rst_site *site,
			 enum rst_site_protocol protocol)
{
	const char *what = plugins_setting(protocol);
	const char *name = rst_site_protocol(protocol);

	if (rst_site_has_plugin(site->plugins[protocol], US))
		rst_report_ok(RST_REPORT_SITE, what, site->plugins[protocol]);
	else if (protocol == RST_SITE_LMTP)
		rst_report_error(RST_REPORT_SITE, what,
				 "lmtp does not load the plugin: nothing is "
				 "held, and nothing of a fallback delivery is "
				 "known",
				 "add \"" US "\" to mail_plugins of protocol "
				 "lmtp");
	else
		rst_report_warning(
			RST_REPORT_SITE, what,
			t_strconcat(name,
				    " does not load the plugin: what it "
				    "delivers is not held",
				    NULL),
			t_strdup_printf("add \"" US "\" to mail_plugins of "
					"protocol %s",
					name));
}

/* The plugin needs what only programs that deliver have. */
static void check_not_loaded(const struct rst_site *site,
			     enum rst_site_protocol protocol)
{
	const char *what = plugins_setting(protocol);

	if (rst_site_has_plugin(site->plugins[protocol], US))
		rst_report_error(
			RST_REPORT_SITE, what,
			"this service cannot load the plugin, and does not "
			"start",
			"take \"" US "\" out of the global mail_plugins; only "
			"protocol lmtp and lda load it");
	else
		rst_report_ok(RST_REPORT_SITE, what,
			      *site->plugins[protocol] == '\0'
				      ? "none"
				      : site->plugins[protocol]);
}

/* Are the settings that begin with prefix the plugin's? mail_crypt_ and
   mail_crypt_save are mail_crypt's. */
static bool is_of_plugin(const char *prefix, const char *plugin)
{
	return str_begins_with(prefix, plugin) ||
	       str_begins_with(t_strconcat(plugin, "_", NULL), prefix);
}

static bool is_wanted(const char *const *prefixes, const char *plugin)
{
	for (; *prefixes != NULL; prefixes++)
		if (**prefixes != '\0' && is_of_plugin(*prefixes, plugin))
			return TRUE;
	return FALSE;
}

static void check_hold_plugin(const struct rst_site *site, const char *user,
			      const char *plugin)
{
	static const char *const transform[] = {
		"zlib", "mail_compress", "mail_crypt", "mail_filter", NULL};
	const char *what = plugins_setting(RST_SITE_RESTANTE);
	const char *mend = t_strdup_printf(
		"add \"%s\" to mail_plugins of protocol " US, plugin);

	if (rst_site_has_plugin(site->plugins[RST_SITE_RESTANTE], plugin))
		rst_report_ok(user, what, plugin);
	else if (str_array_find(transform, plugin))
		rst_report_error(user, what,
				 t_strdup_printf("lmtp's plugin %s acts on "
						 "held mail, and restante-hold "
						 "cannot read what it writes",
						 plugin),
				 mend);
	else
		rst_report_warning(user, what,
				   t_strdup_printf("lmtp's plugin %s acts on "
						   "held mail, and "
						   "restante-hold does not "
						   "load it",
						   plugin),
				   mend);
}

void rst_check_hold_plugins(const char *user, const char *prefixes)
{
	const char *error;
	const struct rst_site *site = rst_site_get(&error);
	const char *const *wanted = t_strsplit_spaces(prefixes, " ,");
	const char *const *plugins;

	if (site == NULL)
		return;
	plugins = t_strsplit_spaces(site->plugins[RST_SITE_LMTP], " ,");
	for (; *plugins != NULL; plugins++)
		if (is_wanted(wanted, *plugins))
			check_hold_plugin(site, user, *plugins);
}

static const char *plugin_setting(const char *name, const char *default_value)
{
	const char *value = rst_doveadm_setting(name);

	return value == NULL ? default_value : value;
}

/* ---- other settings */

static void check_fsync(const struct rst_site *site,
			enum rst_site_protocol protocol)
{
	const char *what = t_strdup_printf("protocol %s mail_fsync",
					   rst_site_protocol(protocol));

	if (strcmp(site->fsync[protocol], "never") == 0)
		rst_report_error(RST_REPORT_SITE, what,
				 "never: a power cut loses mail that was "
				 "accepted",
				 "set it to optimized, or to always where the "
				 "hold is maildir");
	else
		rst_report_ok(RST_REPORT_SITE, what, site->fsync[protocol]);
}

static void check_quota(const struct rst_site *site)
{
	static const char *const what = "lmtp_rcpt_check_quota";

	if (strcmp(site->check_quota, "yes") == 0)
		rst_report_warning(RST_REPORT_SITE, what,
				   "yes: an enrolled user whose mailbox is "
				   "full is refused, though the hold has room",
				   "set it to no for protocol lmtp");
	else
		rst_report_ok(RST_REPORT_SITE, what, site->check_quota);
}

static void check_release(const struct rst_site *site)
{
	static const char *const what = "service lmtp-release executable";

	if (*site->release == '\0')
		rst_report_error(RST_REPORT_SITE, what,
				 "there is no such service: what is not called "
				 "for is delivered nowhere",
				 "configure it as 90-restante.conf does");
	else if (strstr(site->release, RST_SETTING_BYPASS) == NULL)
		rst_report_error(RST_REPORT_SITE, what,
				 t_strconcat(site->release,
					     ": mail that should go to the "
					     "mailbox would be held again",
					     NULL),
				 "executable = lmtp -o " RST_SETTING_BYPASS);
	else
		rst_report_ok(RST_REPORT_SITE, what, site->release);
}

/* The hold was a namespace of the user's in the first versions. */
static void check_quota_rules(void)
{
	unsigned int i, count;
	const char *const *envs = rst_doveadm_plugin_settings(&count);

	for (i = 0; i + 1 < count; i += 2)
		if (str_begins_with(envs[i], "quota") &&
		    str_begins_with(envs[i + 1], "Restante/"))
			rst_report_warning(RST_REPORT_SITE, envs[i],
					   t_strconcat(envs[i + 1],
						       ": not needed, the hold "
						       "counts in no quota",
						       NULL),
					   "remove it");
}

static void check_bypass(void)
{
	static const char *const what = "restante_bypass";
	const char *value = rst_doveadm_setting(what);

	if (value == NULL || *value == '\0' || strcmp(value, "no") == 0)
		return;
	rst_report_error(RST_REPORT_SITE, what,
			 t_strconcat(value, ": nothing is held", NULL),
			 "remove it from the configuration: it belongs to the "
			 "executable of lmtp-release only");
}

/* ---- the socket, the directory */

/* @return NULL, or what is wrong */
static const char *greets_as_lmtp(int fd)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	static const char hello[] = "LHLO localhost\r\n";
	char reply[512];
	ssize_t n;

	net_set_nonblock(fd, FALSE);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = recv(fd, reply, sizeof(reply), 0);
	if (n < 4 || memcmp(reply, "220 ", 4) != 0)
		return "nobody greets there";
	if (send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0)
		return "takes no input";
	n = recv(fd, reply, sizeof(reply), 0);
	return n >= 4 && memcmp(reply, "250", 3) == 0 ? NULL
						      : "does not speak LMTP";
}

void rst_check_release_socket(const char *user, const char *path)
{
	static const char *const what = "restante_release_socket";
	const char *problem;
	uid_t uid;
	bool root;
	int fd;

	if (*path != '/')
		path = t_strconcat(doveadm_settings->base_dir, "/", path, NULL);
	root = rst_root_enter(&uid);
	fd = net_connect_unix(path);
	problem = fd >= 0 ? greets_as_lmtp(fd) : t_strdup_printf("%m");
	if (root)
		rst_root_leave(uid);
	if (problem == NULL)
		rst_report_ok(user, what, path);
	else
		rst_report_error(user, what,
				 t_strdup_printf("%s: %s", path, problem),
				 "is Dovecot running, and has service "
				 "lmtp-release a unix_listener of this name?");
	if (fd >= 0)
		i_close_fd(&fd);
}

/* @return what is wrong with the directory, or NULL */
static const char *judge_directory(const char *path, const char **mend_r)
{
	struct stat st;

	*mend_r = "start restante-policyd, which makes it, and set "
		  "restante_holders to its holders_directory";
	if (*path != '/')
		return "nothing can be held without it";
	if (stat(path, &st) < 0)
		return t_strdup_printf("%m: nothing can be held");
	if (!S_ISDIR(st.st_mode))
		return "is not a directory";
	if (st.st_uid == 0)
		return "belongs to root, so it is not policyd's";
	*mend_r = "chmod 1733 it, or 1770 and its group the one of all mail";
	if ((st.st_mode & S_ISVTX) == 0)
		return "lets each user remove the entries of others";
	return NULL;
}

static void check_holders(void)
{
	static const char *const what = "restante_holders";
	const char *path = plugin_setting(what, DEFAULT_HOLDERS), *mend;
	const char *problem = judge_directory(path, &mend);

	if (problem == NULL)
		rst_report_ok(RST_REPORT_SITE, what, path);
	else
		rst_report_error(RST_REPORT_SITE, what,
				 t_strdup_printf("%s: %s", path, problem),
				 mend);
}

static bool is_same_directory(const char *a, const char *b)
{
	struct stat sta, stb;

	return strcmp(a, b) == 0 ||
	       (stat(a, &sta) == 0 && stat(b, &stb) == 0 &&
		sta.st_dev == stb.st_dev && sta.st_ino == stb.st_ino);
}

/* @return what the running daemon says */
static int ask_daemon(const char **path_r, const char **error_r)
{
	uid_t uid;
	bool root = rst_root_enter(&uid);
	int ret = rst_online_holders(path_r, error_r);

	if (root)
		rst_root_leave(uid);
	return ret;
}

void rst_check_daemon(const char *user, const char *own)
{
	static const char *const what = "restante_control_socket";
	const char *path, *error;

	if (ask_daemon(&path, &error) < 0)
		rst_report_warning(
			user, what,
			t_strdup_printf("%s: restante-policyd cannot "
					"be asked: %s",
					rst_online_path(), error),
			"is restante-policyd running, of this "
			"version, and is this its control_socket?");
	else if (is_same_directory(own, path))
		rst_report_ok(
			user, what,
			t_strconcat("restante-policyd looks at ", path, NULL));
	else
		rst_report_error(user, what,
				 t_strdup_printf("restante-policyd looks at "
						 "%s, and not at %s: it hears "
						 "of no mail that is held",
						 path, own),
				 "set restante_holders to the "
				 "holders_directory of restante-policyd.conf");
}

/* ---- all of it */

static void check_configuration(const struct rst_site *site)
{
	check_loaded(site, RST_SITE_LMTP);
	check_loaded(site, RST_SITE_LDA);
	check_not_loaded(site, RST_SITE_RESTANTE);
	check_not_loaded(site, RST_SITE_IMAP);
	rst_check_hold_plugins(RST_REPORT_SITE,
			       plugin_setting(RST_SETTING_HOLD_PLUGINS, ""));
	check_fsync(site, RST_SITE_LMTP);
	check_fsync(site, RST_SITE_LDA);
	check_fsync(site, RST_SITE_RESTANTE);
	check_quota(site);
	check_release(site);
}

void rst_check_site(void)
{
	const char *error;
	const struct rst_site *site = rst_site_get(&error);

	if (site == NULL)
		rst_report_error(RST_REPORT_SITE, "doveconf", error,
				 "see what it says: doveconf -n");
	else
		check_configuration(site);
	check_bypass();
	check_quota_rules();
	check_holders();
	rst_check_daemon(RST_REPORT_SITE,
			 plugin_setting("restante_holders", DEFAULT_HOLDERS));
	rst_check_release_socket(RST_REPORT_SITE,
				 plugin_setting("restante_release_socket",
						DEFAULT_RELEASE_SOCKET));
}
