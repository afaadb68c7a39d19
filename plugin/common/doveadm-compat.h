/* SPDX-License-Identifier: MIT */
/**
 * Where the doveadm of Dovecot 2.3 and 2.4 differ. For plugin/doveadm/ only: no
 * other program has doveadm's functions.
 */
#ifndef RST_COMMON_DOVEADM_COMPAT_H
#define RST_COMMON_DOVEADM_COMPAT_H

#include "dovecot-compat.h"
#include "doveadm-mail.h"

/** The other parameters of doveadm_mail_cmd_vfuncs.init. */
#if RST_DOVECOT_24
#	define RST_DOVEADM_INIT_ARGS
#else
#	define RST_DOVEADM_INIT_ARGS , const char *const args[] ATTR_UNUSED
#endif

/** A setting of the site's, as text; no user's. @return NULL: not set, and
    there is no default */
const char *rst_doveadm_setting(const char *name);
/** The settings that plugins may read, name and value one after the other; in
    2.4 none, as Dovecot knows those of each plugin. */
const char *const *rst_doveadm_plugin_settings(unsigned int *count_r);

/** Was -A given, to a doveadm that asks for the users itself? */
bool rst_doveadm_all_users(const struct doveadm_mail_cmd_context *ctx);
/** Does a column in front have the user's name? */
bool rst_doveadm_has_username(const struct doveadm_mail_cmd_context *ctx);

/** Let a command that is being made have these flags: their short names, which
    its parameters have as well. */
void rst_doveadm_take_flags(struct doveadm_mail_cmd_context *ctx,
			    const char *flags);
bool rst_doveadm_flag(const struct doveadm_mail_cmd_context *ctx,
		      const char *name);
/** @return the values of the positional parameter, NULL-terminated */
const char *const *rst_doveadm_args(const struct doveadm_mail_cmd_context *ctx,
				    const char *name);

#endif
