/* SPDX-License-Identifier: MIT */
/** Settings, from the command line and from restante.conf. */
#ifndef CLIENT_CONF_H
#define CLIENT_CONF_H

#include <stdbool.h>
#include <stddef.h>

/** In the order of the table in conf.c. */
enum conf_setting {
	CONF_USER,
	CONF_SERVER, /**< "host:port" */
	CONF_CA_FILE,
	CONF_PASSWORD_FILE,
	CONF_MAILDIR,
	CONF_STATE_DIR,
	CONF_HOSTNAME,
	CONF_COUNT
};

struct conf {
	char *value[CONF_COUNT];  /**< NULL: not set; only CA_FILE can be */
	char *origin[CONF_COUNT]; /**< "file:line" or "command line" */
	char *host, *port;        /**< of CONF_SERVER, without brackets */
	char *domain;             /**< CONF_HOSTNAME as SMTP allows it, ASCII */
};

/** @param line "file:line: setting: value: what was expected" */
typedef void conf_error_func(const char *line, void *ctx);

/**
 * Read the file, and apply the options of the command line, which win.
 * @param path of the file; NULL: the usual one, which need not exist
 * @param options values; NULL: not given
 * @return NULL: a value is wrong or missing; each was reported
 */
struct conf *conf_read(const char *path, char *const options[CONF_COUNT],
		       conf_error_func *error, void *ctx);
void conf_free(struct conf **conf);

/** Report a value that is well formed but does not work. */
void conf_complain(const struct conf *conf, enum conf_setting setting,
		   const char *problem, conf_error_func *error, void *ctx);

/**
 * Read the first line of a file, without a byte order mark of UTF-8.
 * @return to be wiped and freed with conf_password_free(); NULL: see error_r
 */
char *conf_password(const char *path, const char **error_r);
/** @return why the password may not be the one that is meant; NULL: nothing
   is odd. Blanks stay, since a password may have them. */
const char *conf_password_doubt(const char *password);
void conf_password_free(char **password);

#endif
