/* SPDX-License-Identifier: MIT */
/**
 * Where a user's settings come from, as text. Dovecot 2.3 (settings-2.3.c) has
 * them in plugin {}, and does not know them; 2.4 (settings-2.4.c) learns them
 * from a module of ours. In both, the userdb may override them.
 */
#ifndef RST_COMMON_SETTINGS_SOURCE_H
#define RST_COMMON_SETTINGS_SOURCE_H

struct event;
struct mail_user;
struct rst_source_values;

struct rst_source {
	struct mail_user *user;
	const struct rst_source_values *values; /**< 2.4's */
};

/**
 * @param expand false: leave %variables as they are, as their values may cost a
 *        lookup, or be missing
 * @return 0, or -1: Dovecot cannot read them, which is logged; all values are
 *         NULL
 */
int rst_source_open(struct rst_source *source, struct mail_user *user,
		    bool expand);
void rst_source_close(struct rst_source *source);

/** @return the value, which lives as long as the user; NULL: not set, and
    there is no default */
const char *rst_source_get(const struct rst_source *source, const char *name);
/** The place of the hold, as 2.3's mail_location has it; NULL as above. */
const char *rst_source_location(const struct rst_source *source);

#endif
