/* SPDX-License-Identifier: MIT */
/**
 * The asking side of Dovecot's auth protocol: policyd has Dovecot check a
 * sign-in.
 *
 * One connection carries many exchanges; an id names each. Source: Dovecot
 * 2.3 doc/auth-protocol.txt ("Client <-> Server"), src/auth/auth-client-
 * connection.c, src/lib-auth/auth-client-interface.h.
 */
#ifndef RESTANTE_AUTH_H
#define RESTANTE_AUTH_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

struct rst_auth_limits {
	unsigned int pid; /**< CPID: unique among the processes that ask */
	int64_t handshake_timeout_ms;
	/** that Dovecot has for each step; then FAILED, temporary. Dovecot
	    itself delays the answer to a wrong password by up to 17 s
	    (auth_failure_delay, and its penalty per address). */
	int64_t request_timeout_ms;
	unsigned int max_requests; /**< open exchanges; more: RST_ETEMP */
	/** While Dovecot takes slow_ms or longer to confirm a password, only
	    max_slow exchanges are with it at once. The others wait here, for
	    request_timeout_ms at most. */
	int64_t slow_ms;
	unsigned int max_slow;
};

/** A sign-in to be checked. Views are copied. */
struct rst_auth_request {
	const char *service;      /**< "restante" */
	struct rst_str mechanism; /**< upper case */
	struct rst_str initial;   /**< base64; only when has_initial */
	bool has_initial;
	struct rst_str remote_ip, local_ip; /**< empty: left out */
	unsigned int remote_port, local_port;
};

enum rst_auth_event_type {
	/** the handshake is done, rst_auth_mechanisms() is filled */
	RST_AUTH_READY,
	RST_AUTH_CONTINUE, /**< `id`: `challenge` goes to the client */
	RST_AUTH_OK,       /**< `id`: `user`, as Dovecot spells it */
	/** `id` was not confirmed. temporary: Dovecot could not decide (454).
	    `user` may be known or empty. An OK with nologin, anonymous or proxy
	    (another server has to check the password) is reported as FAILED. */
	RST_AUTH_FAILED,
};

struct rst_auth_event {
	enum rst_auth_event_type type;
	uint32_t id;
	/* views until the next call of _next, _recv or _free */
	struct rst_str challenge; /**< base64, may be empty */
	struct rst_str user;
	/** for the log, never a secret; the octets are Dovecot's */
	struct rst_str reason;
	bool temporary;
};

struct rst_auth;

struct rst_auth *rst_auth_new(const struct rst_auth_limits *limits,
			      int64_t now_ms);
/** No event comes for the open exchanges: the caller knows their ids. */
void rst_auth_free(struct rst_auth **a);
/**
 * Pull events and offer the rest again until nothing is taken: a line for an
 * exchange whose CONTINUE was not pulled yet is not taken.
 *
 * @return octets taken; 0: more needed, or an event is waiting; RST_EPROTO:
 *         another protocol or version, or the handshake has timed out;
 *         RST_ELIMIT: a line over 16 KiB. After a fault the caller closes the
 *         connection and dials again: _start() fails from then on. The events
 *         from before the fault can still be pulled.
 */
ssize_t rst_auth_recv(struct rst_auth *a, const char *buf, size_t len,
		      int64_t now_ms);
bool rst_auth_next(struct rst_auth *a, struct rst_auth_event *ev_r);
/**
 * Begin an exchange; before READY it is queued.
 *
 * Every octet is tab-escaped or refused: base64 must be base64, a mechanism
 * [A-Z0-9_-], so that no client can add fields (CVE-2026-33603). The line says
 * `secured`: the caller has TLS connections only.
 *
 * @return its id (> 0); RST_ETEMP: too many exchanges, or after a fault;
 *         RST_EPERM: malformed, too long for Dovecot, or a mechanism that is
 *         not offered
 */
ssize_t rst_auth_start(struct rst_auth *a, const struct rst_auth_request *req,
		       int64_t now_ms);
/** Pass on the client's response to a challenge. @return 0; RST_EPERM: unknown
    id, not the client's turn, not base64, or too long: then _cancel() it */
int rst_auth_continue(struct rst_auth *a, uint32_t id, struct rst_str response,
		      int64_t now_ms);
/** Give up an exchange: no event comes for it. */
void rst_auth_cancel(struct rst_auth *a, uint32_t id);
/**
 * The mechanisms on offer, blank separated, from the MECH lines of the
 * handshake. Left out: mechanisms that need more than a password (EXTERNAL,
 * GSSAPI, GSS-SPNEGO, NTLM, and *-PLUS, which need the TLS channel), and those
 * that Dovecot flags private or anonymous.
 * @return valid until _free; "" before READY
 */
const char *rst_auth_mechanisms(const struct rst_auth *a);
const char *rst_auth_output(const struct rst_auth *a, size_t *len_r);
/** Sent octets are overwritten: passwords are among them. */
void rst_auth_sent(struct rst_auth *a, size_t n);
int64_t rst_auth_deadline(const struct rst_auth *a);
void rst_auth_tick(struct rst_auth *a, int64_t now_ms);

#endif
