/* SPDX-License-Identifier: MIT */
/*
 * doveadm restante status|list|push|release: the operator's view of the hold,
 * and the same fallback delivery that the service does. who|kick: online.c;
 * check: check.c.
 */
#include "lib.h"
#include "doveadm-mail.h"
#include "doveadm-print.h"
#include "doveadm-util.h"
#include "mail-user.h"
#include "check.h"
#include "commands.h"
#include "common/doveadm-compat.h"
#include "common/settings.h"
#include "fallback/fallback.h"
#include "fallback/overflow.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/look.h"
#include "hold/message.h"
#include "holders.h"
#include "online.h"

#include <unistd.h>

const char *doveadm_restante_plugin_version = DOVECOT_ABI_VERSION;

#define DEFAULT_HOLDERS "/var/lib/restante/holders"

/* ---- what all commands need */

static int failed(struct doveadm_mail_cmd_context *ctx, enum mail_error code,
		  struct mail_user *user, const char *error)
{
	e_error(user->event, "%s", error);
	doveadm_mail_failed_error(ctx, code);
	return -1;
}

/*
 * A user who is not enrolled any more may still have mail in the hold.
 * @return 1; 0: nothing to do for this one of many users; -1: refused
 */
static int get_hold(struct doveadm_mail_cmd_context *ctx,
		    struct mail_user *user, struct rst_settings *settings_r,
		    struct rst_hold *hold_r, struct rst_hold_status *status_r)
{
	const char *error;

	rst_settings_read(user, settings_r);
	i_zero(hold_r);
	hold_r->user = user;
	hold_r->settings = settings_r;
	if (rst_look_peek(hold_r, status_r, &error) < 0)
		return failed(ctx, MAIL_ERROR_TEMP, user, error);
	if (settings_r->enrolled || status_r->messages > 0 ||
	    status_r->incomplete > 0)
		return 1;
	if (!ctx->iterate_single_user)
		return 0;
	return failed(ctx, MAIL_ERROR_NOTPOSSIBLE, user,
		      "This user is not enrolled, no mail is held: set "
		      "restante=yes in the userdb");
}

static void print_time(time_t when)
{
	doveadm_print(when == 0 ? "-" : unixdate2str(when));
}

/* The user has no right to list the holders directory, nor to LMTP's socket: so
   root's rights are given up only for the time being. */
static void cmd_preinit(struct doveadm_mail_cmd_context *ctx)
{
	if (geteuid() == 0)
		ctx->service_flags |= MAIL_STORAGE_SERVICE_FLAG_TEMP_PRIV_DROP;
}

static struct doveadm_mail_cmd_context *cmd_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_mail_cmd_alloc(struct doveadm_mail_cmd_context);

	ctx->v.preinit = cmd_preinit;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	return ctx;
}

static void print_number_header(const char *name)
{
	doveadm_print_header(name, name,
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY |
				     DOVEADM_PRINT_HEADER_FLAG_NUMBER);
}

/*
 * With -A, look only at the users that have an entry in the holders directory.
 * (doveadm asks auth for all names all the same, and does not read them.) A
 * mask that all names match is the way to look at all users.
 */
static void use_holders(struct doveadm_mail_cmd_context *ctx)
{
	const char *path = rst_doveadm_setting("restante_holders");
	const char *error;

	if (!rst_doveadm_all_users(ctx) || ctx->users_list_input != NULL)
		return;
	if (path == NULL)
		path = DEFAULT_HOLDERS;
	if (rst_holders_read(path, &ctx->users_list_input, &error) < 0)
		i_warning("The users for whom mail is held cannot be listed, "
			  "looking at all users: %s",
			  error);
}

/* ---- status */

static void
status_init(struct doveadm_mail_cmd_context *ctx RST_DOVEADM_INIT_ARGS)
{
	use_holders(ctx);
	print_number_header("messages");
	print_number_header("octets");
	doveadm_print_header_simple("oldest");
	doveadm_print_header_simple("due");
	print_number_header("overflow");
	print_number_header("incomplete");
}

static int status_run(struct doveadm_mail_cmd_context *ctx,
		      struct mail_user *user)
{
	struct rst_settings settings;
	struct rst_hold hold;
	struct rst_hold_status status;
	unsigned int overflow;
	const char *error;
	int ret;

	ret = get_hold(ctx, user, &settings, &hold, &status);
	if (ret <= 0)
		return ret;
	ret = rst_overflow_count(&hold, &overflow, &error);
	rst_hold_close(&hold);
	if (ret < 0)
		return failed(ctx, MAIL_ERROR_TEMP, user, error);
	/* all mail of a user with an entry may have left */
	if (rst_doveadm_all_users(ctx) &&
	    status.messages + status.incomplete + overflow == 0)
		return 0;
	doveadm_print_num(status.messages);
	doveadm_print_num(status.octets);
	print_time(status.oldest);
	print_time(status.due);
	doveadm_print_num(overflow);
	doveadm_print_num(status.incomplete);
	return 0;
}

static struct doveadm_mail_cmd_context *status_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx = cmd_alloc();

	ctx->v.init = status_init;
	ctx->v.run = status_run;
	return ctx;
}

/* ---- list */

static void
list_init(struct doveadm_mail_cmd_context *ctx RST_DOVEADM_INIT_ARGS)
{
	use_holders(ctx);
	doveadm_print_header_simple("id");
	doveadm_print_header_simple("arrived");
	doveadm_print_header_simple("due");
	print_number_header("size");
	doveadm_print_header_simple("state");
	doveadm_print_header_simple("from");
	doveadm_print_header("to", "to", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static bool print_held(const struct rst_message *message,
		       struct mail *mail ATTR_UNUSED, void *context)
{
	const struct rst_settings *settings = context;

	doveadm_print(message->id);
	print_time(message->arrived);
	print_time(message->incomplete
			   ? 0
			   : rst_hold_due(settings, message->received));
	doveadm_print_num(message->size);
	doveadm_print(message->damaged      ? "damaged"
		      : message->incomplete ? "incomplete"
					    : "held");
	doveadm_print(t_strdup_printf("<%s>", message->mail_from));
	doveadm_print(t_strdup_printf("<%s>", message->rcpt_to));
	return TRUE;
}

static int list_run(struct doveadm_mail_cmd_context *ctx,
		    struct mail_user *user)
{
	struct rst_settings settings;
	struct rst_hold hold;
	struct rst_hold_status status;
	const char *error;
	int ret;

	ret = get_hold(ctx, user, &settings, &hold, &status);
	if (ret <= 0)
		return ret;
	ret = rst_hold_open(&hold, FALSE, &error);
	if (ret == 0)
		return 0;
	if (ret < 0)
		return failed(ctx, MAIL_ERROR_TEMP, user, error);
	ret = rst_look_each(&hold, TRUE, print_held, &settings, &error);
	if (ret < 0)
		(void)failed(ctx, MAIL_ERROR_TEMP, user, error);
	else if (ret > 0) /* each has been logged */
		doveadm_mail_failed_error(ctx, MAIL_ERROR_TEMP);
	rst_hold_close(&hold);
	return ret == 0 ? 0 : -1;
}

static struct doveadm_mail_cmd_context *list_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx = cmd_alloc();

	ctx->v.init = list_init;
	ctx->v.run = list_run;
	return ctx;
}

/* ---- push */

static int push_run(struct doveadm_mail_cmd_context *ctx,
		    struct mail_user *user)
{
	struct rst_settings settings;
	struct rst_hold hold;
	struct rst_hold_status status;
	const char *error;
	int ret;

	ret = get_hold(ctx, user, &settings, &hold, &status);
	if (ret <= 0)
		return ret;
	if (status.messages == 0)
		return 0;
	if (rst_entry_ensure(&hold, status.due, &error) < 0 ||
	    rst_entry_touch(&hold, status.due, &error) < 0)
		return failed(
			ctx, MAIL_ERROR_TEMP, user,
			t_strdup_printf("policyd cannot be told: %s", error));
	return 0;
}

static struct doveadm_mail_cmd_context *push_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx = cmd_alloc();

	ctx->v.run = push_run;
	return ctx;
}

/* ---- release */

static const char *const *
release_args(const struct doveadm_mail_cmd_context *ctx)
{
	return rst_doveadm_args(ctx, "id");
}

static void
release_init(struct doveadm_mail_cmd_context *ctx RST_DOVEADM_INIT_ARGS)
{
	unsigned int ways = (rst_doveadm_flag(ctx, "all") ? 1 : 0) +
			    (rst_doveadm_flag(ctx, "expired") ? 1 : 0) +
			    (release_args(ctx)[0] != NULL ? 1 : 0);

	if (ways != 1)
		doveadm_mail_help_name("restante release");
	use_holders(ctx);
	print_number_header("delivered");
	print_number_header("failed");
	print_number_header("held");
	doveadm_print_header_simple("due");
}

static int release_ids(struct rst_fallback *release, struct rst_locked *locked,
		       const char *const ids[], bool *missing_r,
		       const char **error_r)
{
	release->what = RST_RELEASE_ONE;
	for (; *ids != NULL; ids++) {
		unsigned int before = release->delivered + release->failed;

		release->id = *ids;
		if (rst_fallback_run(release, locked, error_r) < 0)
			return -1;
		if (release->delivered + release->failed == before) {
			e_error(rst_locked_hold(locked)->user->event,
				"No such message: %s", *ids);
			*missing_r = TRUE;
		}
	}
	return 0;
}

static int release_held(struct doveadm_mail_cmd_context *ctx,
			struct rst_fallback *release, struct rst_locked *locked,
			bool *missing_r, const char **error_r)
{
	const char *const *ids = release_args(ctx);

	if (ids[0] != NULL)
		return release_ids(release, locked, ids, missing_r, error_r);
	release->what = rst_doveadm_flag(ctx, "all") ? RST_RELEASE_ALL
						     : RST_RELEASE_EXPIRED;
	return rst_fallback_run(release, locked, error_r);
}

static void print_release(const struct rst_fallback *release,
			  const struct rst_hold_status *status)
{
	doveadm_print_num(release->delivered);
	doveadm_print_num(release->failed);
	doveadm_print_num(status->messages);
	print_time(status->due);
}

static int release_nothing(struct doveadm_mail_cmd_context *ctx,
			   struct mail_user *user)
{
	static const struct rst_fallback release;
	static const struct rst_hold_status status;

	print_release(&release, &status);
	if (release_args(ctx)[0] == NULL)
		return 0;
	return failed(ctx, MAIL_ERROR_NOTFOUND, user, "Nothing is held");
}

static int release_from(struct doveadm_mail_cmd_context *ctx,
			struct mail_user *user, struct rst_locked *locked)
{
	struct rst_fallback release = {.id = NULL};
	struct rst_hold_status status;
	const char *error;
	bool missing = FALSE;

	if (release_held(ctx, &release, locked, &missing, &error) < 0 ||
	    rst_locked_count(locked, &status, &error) < 0)
		return failed(ctx, MAIL_ERROR_TEMP, user, error);
	print_release(&release, &status);
	if (release.failed > 0)
		doveadm_mail_failed_error(ctx, MAIL_ERROR_TEMP);
	else if (missing)
		doveadm_mail_failed_error(ctx, MAIL_ERROR_NOTFOUND);
	return release.failed > 0 || missing ? -1 : 0;
}

static int release_run(struct doveadm_mail_cmd_context *ctx,
		       struct mail_user *user)
{
	struct rst_settings settings;
	struct rst_hold hold;
	struct rst_hold_status status;
	struct rst_locked *locked;
	const char *error;
	int ret;

	ret = get_hold(ctx, user, &settings, &hold, &status);
	if (ret <= 0)
		return ret;
	if (status.messages + status.incomplete == 0)
		return release_nothing(ctx, user);
	ret = rst_locked_open(&hold, &locked, &error);
	if (ret < 0)
		return failed(ctx, MAIL_ERROR_TEMP, user, error);
	if (ret == 0)
		return failed(ctx, MAIL_ERROR_INUSE, user,
			      "This hold is being emptied at this moment: try "
			      "again when the user's client has signed off");
	ret = locked == NULL ? release_nothing(ctx, user)
			     : release_from(ctx, user, locked);
	rst_locked_close(&locked);
	return ret;
}

static struct doveadm_mail_cmd_context *release_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx = cmd_alloc();

	rst_doveadm_take_flags(ctx, "ae");
	ctx->v.init = release_init;
	ctx->v.run = release_run;
	return ctx;
}

#define ONLINE_USAGE "-u <user mask>|-A|-F <file>"
#define ONLINE_PARAMS                                             \
	DOVEADM_CMD_PARAM('A', "all-users", CMD_PARAM_BOOL, 0)    \
	DOVEADM_CMD_PARAM('F', "user-file", CMD_PARAM_ISTREAM, 0) \
	DOVEADM_CMD_PARAM('u', "user", CMD_PARAM_STR, 0)

/* clang-format off: these macros are whole lines of an initializer */
static struct doveadm_cmd_ver2 restante_commands[] = {
	{.name = "restante status",
	 .mail_cmd = status_alloc,
	 .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	 DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		 DOVEADM_CMD_PARAMS_END},
	{.name = "restante check",
	 .cmd = rst_check_cmd,
	 .mail_cmd = rst_check_alloc,
	 .usage = "[-u <user mask>|-A|-F <file>]",
	 DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		 DOVEADM_CMD_PARAMS_END},
	{.name = "restante list",
	 .mail_cmd = list_alloc,
	 .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	 DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		 DOVEADM_CMD_PARAMS_END},
	{.name = "restante push",
	 .mail_cmd = push_alloc,
	 .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	 DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON
		 DOVEADM_CMD_PARAMS_END},
	{.name = "restante release",
	 .mail_cmd = release_alloc,
	 .usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "--all|--expired|<id> [...]",
	 DOVEADM_CMD_PARAMS_START DOVEADM_CMD_MAIL_COMMON DOVEADM_CMD_PARAM(
		 'a', "all", CMD_PARAM_BOOL, 0)
		 DOVEADM_CMD_PARAM('e', "expired", CMD_PARAM_BOOL, 0)
			 DOVEADM_CMD_PARAM('\0', "id", CMD_PARAM_ARRAY,
					   CMD_PARAM_FLAG_POSITIONAL)
				 DOVEADM_CMD_PARAMS_END},
	{.name = "restante who",
	 .cmd = rst_online_who,
	 .usage = ONLINE_USAGE,
	 DOVEADM_CMD_PARAMS_START ONLINE_PARAMS DOVEADM_CMD_PARAMS_END},
	{.name = "restante kick",
	 .cmd = rst_online_kick,
	 .usage = ONLINE_USAGE,
	 DOVEADM_CMD_PARAMS_START ONLINE_PARAMS DOVEADM_CMD_PARAMS_END}};
/* clang-format on */

void doveadm_restante_plugin_init(struct module *module ATTR_UNUSED)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(restante_commands); i++)
		doveadm_cmd_register_ver2(&restante_commands[i]);
}

void doveadm_restante_plugin_deinit(void)
{
}
