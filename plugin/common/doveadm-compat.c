/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "doveadm-mail.h"
#include "doveadm-compat.h"

bool rst_doveadm_flag(const struct doveadm_mail_cmd_context *ctx,
		      const char *name)
{
	bool value = FALSE;

	(void)doveadm_cmd_param_bool(ctx->cctx, name, &value);
	return value;
}

#if RST_DOVECOT_24

#	include "settings-2.4.h"

/* Dovecot's; one of ours has the same name */
#	include <settings.h>

const char *rst_doveadm_setting(const char *name)
{
	const struct rst_source_values *values;
	struct event *event = event_create(NULL);
	const char *error, *value = NULL;

	if (settings_get(event, &rst_setting_parser_info,
			 SETTINGS_GET_FLAG_NO_EXPAND, &values, &error) < 0) {
		e_error(event, "%s", error);
	} else {
		value = t_strdup(rst_values_get(values, name));
		settings_free(values);
	}
	event_unref(&event);
	return value;
}

const char *const *rst_doveadm_plugin_settings(unsigned int *count_r)
{
	*count_r = 0;
	return NULL;
}

bool rst_doveadm_all_users(const struct doveadm_mail_cmd_context *ctx)
{
	return ctx->cctx->conn_type != DOVEADM_CONNECTION_TYPE_TCP &&
	       rst_doveadm_flag(ctx, "all-users");
}

bool rst_doveadm_has_username(const struct doveadm_mail_cmd_context *ctx)
{
	return !ctx->iterate_single_user;
}

void rst_doveadm_take_flags(struct doveadm_mail_cmd_context *ctx ATTR_UNUSED,
			    const char *flags ATTR_UNUSED)
{
}

const char *const *rst_doveadm_args(const struct doveadm_mail_cmd_context *ctx,
				    const char *name)
{
	static const char *const none[] = {NULL};
	const char *const *args;

	return doveadm_cmd_param_array(ctx->cctx, name, &args) ? args : none;
}

#else /* 2.3 */

const char *rst_doveadm_setting(const char *name)
{
	return doveadm_plugin_getenv(name);
}

const char *const *rst_doveadm_plugin_settings(unsigned int *count_r)
{
	*count_r = 0;
	return array_is_created(&doveadm_settings->plugin_envs)
		       ? array_get(&doveadm_settings->plugin_envs, count_r)
		       : NULL;
}

bool rst_doveadm_all_users(const struct doveadm_mail_cmd_context *ctx)
{
	return ctx->iterate_all_users;
}

bool rst_doveadm_has_username(const struct doveadm_mail_cmd_context *ctx)
{
	return ctx->add_username_header;
}

/* doveadm passes one on only when it is known here; its value is read from the
   parameters, as in 2.4. */
static bool is_known(struct doveadm_mail_cmd_context *ctx, int c)
{
	return strchr(ctx->getopt_args, c) != NULL;
}

void rst_doveadm_take_flags(struct doveadm_mail_cmd_context *ctx,
			    const char *flags)
{
	ctx->getopt_args = flags;
	ctx->v.parse_arg = is_known;
}

const char *const *rst_doveadm_args(const struct doveadm_mail_cmd_context *ctx,
				    const char *name ATTR_UNUSED)
{
	return ctx->args;
}

#endif
