/* SPDX-License-Identifier: MIT */
/* Dovecot 2.4: the settings are Dovecot's, and the same ones are in the module
   that tells its config process of them (settings-2.4-module.c). */
#include "lib.h"
#include "array.h"
#include "mail-user.h"
#include "str.h"
#include "dovecot-compat.h"
#include "settings-2.4.h"
#include "settings-source.h"

/* Dovecot's; one of ours has the same name */
#include <settings.h>

int rst_source_open(struct rst_source *source, struct mail_user *user,
		    bool expand)
{
	const char *error;

	i_zero(source);
	source->user = user;
	if (settings_get(user->event, &rst_setting_parser_info,
			 expand ? 0 : SETTINGS_GET_FLAG_NO_EXPAND,
			 &source->values, &error) == 0)
		return 0;
	e_error(user->event, "The settings of restante cannot be read: %s",
		error);
	source->values = NULL;
	return -1;
}

void rst_source_close(struct rst_source *source)
{
	settings_free(source->values);
}

const char *rst_source_get(const struct rst_source *source, const char *name)
{
	return source->values == NULL
		       ? NULL
		       : p_strdup(source->user->pool,
				  rst_values_get(source->values, name));
}

/* A colon ends the path in a location. */
static void append_path(string_t *location, const char *key, const char *path)
{
	str_append(location, key);
	for (; *path != '\0'; path++) {
		if (*path == ':')
			str_append_c(location, ':');
		str_append_c(location, *path);
	}
}

const char *rst_source_location(const struct rst_source *source)
{
	const struct rst_source_values *values = source->values;
	string_t *location;

	if (values == NULL)
		return NULL;
	location = str_new(source->user->pool, 128);
	str_append(location, values->restante_hold_driver);
	append_path(location, ":", values->restante_hold_path);
	if (*values->restante_hold_index_path != '\0')
		append_path(location,
			    ":INDEX=", values->restante_hold_index_path);
	if (*values->restante_hold_control_path != '\0')
		append_path(location,
			    ":CONTROL=", values->restante_hold_control_path);
	return str_c(location);
}
