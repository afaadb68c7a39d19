/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "doveadm-mail.h"
#include "doveadm-print.h"
#include "common/doveadm-compat.h"
#include "check-site.h"
#include "check-user.h"
#include "check.h"
#include "report.h"

#include <unistd.h>

/* root's rights are given up for the time being: see commands.c */
static void check_preinit(struct doveadm_mail_cmd_context *ctx)
{
	if (geteuid() == 0)
		ctx->service_flags |= MAIL_STORAGE_SERVICE_FLAG_TEMP_PRIV_DROP;
}

static void
check_init(struct doveadm_mail_cmd_context *ctx RST_DOVEADM_INIT_ARGS)
{
	rst_report_headers();
	/* this is the server's end of it, and the other end has done that */
	if (doveadm_server)
		return;
	if (rst_doveadm_has_username(ctx))
		doveadm_print_sticky("username", RST_REPORT_SITE);
	rst_check_site();
}

static int check_run(struct doveadm_mail_cmd_context *ctx ATTR_UNUSED,
		     struct mail_user *user)
{
	rst_check_user(user);
	return 0;
}

/* At the end: 2.4's doveadm looks at no user once there is an exit code. */
static void check_deinit(struct doveadm_mail_cmd_context *ctx)
{
	if (rst_report_errors() > 0 && ctx->exit_code == 0)
		ctx->exit_code = EX_CONFIG;
}

struct doveadm_mail_cmd_context *rst_check_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_mail_cmd_alloc(struct doveadm_mail_cmd_context);

	ctx->v.preinit = check_preinit;
	ctx->v.init = check_init;
	ctx->v.run = check_run;
	ctx->v.deinit = check_deinit;
	rst_report_init();
	return ctx;
}

static bool has_users(const struct doveadm_cmd_context *cctx)
{
	const char *mask;
	struct istream *file;
	bool all = FALSE;

	(void)doveadm_cmd_param_bool(cctx, "all-users", &all);
	return all || doveadm_cmd_param_str(cctx, "user", &mask) ||
	       doveadm_cmd_param_istream(cctx, "user-file", &file);
}

void rst_check_cmd(struct doveadm_cmd_context *cctx)
{
	if (has_users(cctx)) {
		doveadm_cmd_ver2_to_mail_cmd_wrapper(cctx);
		return;
	}
	rst_report_init();
	rst_report_headers();
	rst_check_site();
	if (rst_report_errors() > 0)
		doveadm_exit_code = EX_CONFIG;
}
