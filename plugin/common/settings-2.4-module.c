/* SPDX-License-Identifier: MIT */
/* Dovecot 2.4 loads this from modules/settings: doveconf and the config process
   learn of the settings. */
#include "lib.h"
#include "settings-parser.h"
#include "settings-2.4.h"

extern const char *restante_settings_version;
extern const struct setting_parser_info *restante_settings_set_infos[];

const char *restante_settings_version = DOVECOT_ABI_VERSION;
const struct setting_parser_info *restante_settings_set_infos[] = {
	&rst_setting_parser_info, NULL};
