/* SPDX-License-Identifier: MIT */
/* Dovecot 2.4: the names of the settings, and their defaults. */
#include "lib.h"
#include "array.h"
#include "settings-parser.h"
#include "settings-2.4.h"

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct rst_source_values)

static const struct setting_define defines[] = {
	DEF(STR, restante),
	DEF(STR, restante_bypass),
	DEF(STR, restante_hold_driver),
	DEF(STR, restante_hold_path),
	DEF(STR, restante_hold_index_path),
	DEF(STR, restante_hold_control_path),
	DEF(BOOLLIST, restante_hold_plugins),
	DEF(STR, restante_hold_time),
	DEF(STR, restante_hold_quota),
	DEF(STR, restante_max_size),
	DEF(STR, restante_on_error),
	DEF(STR, restante_fallback_give_up),
	DEF(STR, restante_overflow_mailbox),
	DEF(STR, restante_holders),
	DEF(STR, restante_control_socket),
	DEF(STR, restante_queue_lifetime),
	DEF(STR, restante_release_socket),
	DEF(STR_HIDDEN, restante_test_no_dedup),
	SETTING_DEFINE_LIST_END};

static const struct rst_source_values defaults = {
	.restante = "no",
	.restante_bypass = "no",
	.restante_hold_driver = "sdbox",
	.restante_hold_path = "~/restante",
	.restante_hold_index_path = "",
	.restante_hold_control_path = "",
	.restante_hold_plugins = ARRAY_INIT,
	.restante_hold_time = "14d",
	.restante_hold_quota = "0",
	.restante_max_size = "0",
	.restante_on_error = "tempfail",
	.restante_fallback_give_up = "7d",
	.restante_overflow_mailbox = "",
	.restante_holders = "/var/lib/restante/holders",
	.restante_control_socket = "/run/restante/control",
	.restante_queue_lifetime = "5d",
	.restante_release_socket = "lmtp-release",
	.restante_test_no_dedup = "no",
};

const struct setting_parser_info rst_setting_parser_info = {
	.name = "restante",
	.defines = defines,
	.defaults = &defaults,
	.struct_size = sizeof(struct rst_source_values),
	.pool_offset1 = 1 + offsetof(struct rst_source_values, pool),
};

static const char *list_text(const ARRAY_TYPE(const_string) * list)
{
	return array_is_empty(list) ? "" : t_array_const_string_join(list, " ");
}

const char *rst_values_get(const struct rst_source_values *values,
			   const char *name)
{
	const struct setting_define *define;

	for (define = defines; define->key != NULL; define++) {
		const void *value = CONST_PTR_OFFSET(values, define->offset);

		if (strcmp(define->key, name) != 0)
			continue;
		return define->type == SET_BOOLLIST
			       ? list_text(value)
			       : *(const char *const *)value;
	}
	return NULL;
}
