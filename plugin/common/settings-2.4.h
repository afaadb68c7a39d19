/* SPDX-License-Identifier: MIT */
/** Dovecot 2.4: the settings, as its config process knows them. */
#ifndef RST_COMMON_SETTINGS_2_4_H
#define RST_COMMON_SETTINGS_2_4_H

#include "lib.h"
#include "array.h"

struct event;
struct setting_parser_info;

/** All but one are text, so that a bad value in one user's userdb entry stops
    no delivery: see settings.c. */
struct rst_source_values {
	pool_t pool;
	const char *restante;
	const char *restante_bypass;
	const char *restante_hold_driver;
	const char *restante_hold_path;
	const char *restante_hold_index_path;
	const char *restante_hold_control_path;
	ARRAY_TYPE(const_string) restante_hold_plugins;
	const char *restante_hold_time;
	const char *restante_hold_quota;
	const char *restante_max_size;
	const char *restante_on_error;
	const char *restante_fallback_give_up;
	const char *restante_overflow_mailbox;
	const char *restante_holders;
	const char *restante_control_socket;
	const char *restante_queue_lifetime;
	const char *restante_release_socket;
	const char *restante_test_no_dedup;
};

extern const struct setting_parser_info rst_setting_parser_info;

/** @return the value of name, which lives as long as values or the data stack;
    NULL: there is no such setting */
const char *rst_values_get(const struct rst_source_values *values,
			   const char *name);

#endif
