/* SPDX-License-Identifier: MIT */
/**
 * The asking side of Dovecot's auth master protocol, as a listener of type
 * userdb offers it: does an account exist, and may it sign in? No password is
 * asked for or told.
 *
 * One connection carries many questions; an id names each. Source: Dovecot
 * 2.3.19.1 src/auth/auth-master-connection.c.
 */
#ifndef RESTANTE_LOOKUP_H
#define RESTANTE_LOOKUP_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

struct rst_lookup_limits {
	int64_t handshake_timeout_ms;
	int64_t request_timeout_ms; /**< of each question; then UNKNOWN */
	unsigned int max_requests;  /**< open questions */
};

enum rst_lookup_question {
	/** The passdb: FOUND, and it may sign in, or NONE: missing, disabled,
	    denied or expired. */
	RST_LOOKUP_PASS,
	RST_LOOKUP_USER, /**< The userdb. */
};

enum rst_lookup_result {
	RST_LOOKUP_FOUND,
	RST_LOOKUP_NONE,
	/** Not answered: a temporary failure, a passdb that cannot be asked
	    without a password (PAM), or no answer in time. */
	RST_LOOKUP_UNKNOWN,
};

struct rst_lookup_answer {
	uint32_t id;
	enum rst_lookup_result result;
	/** FOUND: its fields, for rst_lookup_field(); a view until the next
	    call of _next, _recv or _free */
	struct rst_str fields;
};

struct rst_lookup;

struct rst_lookup *rst_lookup_new(const struct rst_lookup_limits *limits,
				  int64_t now_ms);
/** No answer comes to the open questions. */
void rst_lookup_free(struct rst_lookup **l);
/**
 * Pull answers and offer the rest again until nothing is taken.
 *
 * @return octets taken; 0: more needed, or an answer waits; RST_EPROTO: another
 *         protocol or version, or the handshake has timed out; RST_ELIMIT: a
 *         line over 64 KiB. After a fault the caller closes the connection.
 */
ssize_t rst_lookup_recv(struct rst_lookup *l, const char *buf, size_t len);
bool rst_lookup_next(struct rst_lookup *l, struct rst_lookup_answer *answer_r);
/** @return 0: the handshake is not done; else the process id of Dovecot's auth:
    another one may have another configuration */
uint64_t rst_lookup_server(const struct rst_lookup *l);
/**
 * Ask, as service "restante".
 *
 * @param remote_ip of the client, or empty
 * @return the id (> 0); RST_ETEMP: before the handshake is done, or too many
 *         open; RST_EPERM: the line would be longer than Dovecot takes
 */
ssize_t rst_lookup_ask(struct rst_lookup *l, enum rst_lookup_question question,
		       struct rst_str user, struct rst_str remote_ip,
		       int64_t now_ms);
const char *rst_lookup_output(const struct rst_lookup *l, size_t *len_r);
void rst_lookup_sent(struct rst_lookup *l, size_t n);
/** @return -1: none */
int64_t rst_lookup_deadline(const struct rst_lookup *l);
void rst_lookup_tick(struct rst_lookup *l, int64_t now_ms);

/**
 * Find a field among an answer's. @param value_r its value as it was sent,
 * still escaped; empty for a field without "="
 * @return false: there is none
 */
bool rst_lookup_field(struct rst_str fields, const char *name,
		      struct rst_str *value_r);

#endif
