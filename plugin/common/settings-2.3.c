/* SPDX-License-Identifier: MIT */
/* Dovecot 2.3: the settings are in plugin {}. */
#include "lib.h"
#include "mail-user.h"
#include "dovecot-compat.h"
#include "settings-source.h"

int rst_source_open(struct rst_source *source, struct mail_user *user,
		    bool expand ATTR_UNUSED)
{
	i_zero(source);
	source->user = user;
	return 0;
}

void rst_source_close(struct rst_source *source)
{
	i_zero(source);
}

const char *rst_source_get(const struct rst_source *source, const char *name)
{
	return mail_user_plugin_getenv(source->user, name);
}

const char *rst_source_location(const struct rst_source *source)
{
	return rst_source_get(source, RST_SETTING_HOLD);
}
