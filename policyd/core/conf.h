/* SPDX-License-Identifier: MIT */
/** restante-policyd.conf, read once at the start. */
#ifndef POLICYD_CORE_CONF_H
#define POLICYD_CORE_CONF_H

#include "common/conf-value.h"

#define CONF_DEFAULT_PATH "/etc/restante/restante-policyd.conf"

struct conf {
	char *path; /**< of the configuration file */
	char *hostname;
	struct conf_listen *listen;
	unsigned int listen_count;
	char *tls_certificate;
	char *tls_key;
	char *policy_socket;
	char *auth_socket;
	char *hold_socket;
	char *holders_directory;
	char *userdb_socket;  /**< "": accounts are not looked at again */
	char *control_socket; /**< "": none */
	char *user;
	char *congestion; /**< congestion control of TCP; "": the system's */
	uint64_t workers; /**< never 0: that has become one per processor */
	uint64_t policy_timeout_ms;
	int64_t keepalive_ms;
	int64_t reply_timeout_ms;
	int64_t sign_in_timeout_ms;
	int64_t retry_interval_ms; /**< of one message, after 4xx */
	uint64_t max_connections;  /**< of all workers together */
	int64_t reconcile_interval_ms;
	int64_t recheck_interval_ms; /**< 0: never */
	int64_t session_lifetime_ms; /**< 0: without end */
	uint64_t fallback_concurrency;
	uint64_t message_size_limit; /**< octets; 0: none */
	char *recipient_delimiter;   /**< as in Postfix; "": none */
};

/** @param line "file:line: setting: value: what was expected" */
typedef void conf_error_func(const char *line, void *ctx);

/**
 * Read and check the file. Every wrong value is reported; at bad grammar or an
 * unknown setting the reading ends.
 *
 * @return NULL when anything was reported
 */
struct conf *conf_read(const char *path, conf_error_func *error, void *ctx);
void conf_free(struct conf **conf);

#endif
