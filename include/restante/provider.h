/* SPDX-License-Identifier: MIT */
/**
 * ODMR provider: policyd's side of the connection until the turnaround.
 *
 * The client sees an SMTP server that knows EHLO, AUTH, ATRN, NOOP, RSET and
 * QUIT. After a granted ATRN the roles are reversed: the machine has ended,
 * rst_provider_turned() is true, and rst_push takes over on the same connection
 * with the octets that _recv did not take.
 *
 * The caller has TLS from the first octet. It decides about each step of the
 * sign-in; a password is kept only until the caller has decided about it.
 *
 * Source: RFC 2645, RFC 4954, RFC 5321; the replies are in
 * doc/protocol-xrestante.md, section 2.
 */
#ifndef RESTANTE_PROVIDER_H
#define RESTANTE_PROVIDER_H

#include <sys/types.h>

#include "restante/smtp.h"

struct rst_provider_limits {
	const char *hostname;   /**< for the greeting; borrowed, outlives us */
	const char *mechanisms; /**< SASL, blank separated; borrowed, outlives
				     us */
	int64_t command_timeout_ms;     /**< silence of the client: 421 */
	int64_t session_timeout_ms;     /**< from _new to the turnaround: 421 */
	unsigned int max_auth_failures; /**< at this many: 421 */
	unsigned int max_bad_commands;  /**< at this many: 421 */
};

enum rst_provider_event_type {
	/** AUTH: `mechanism` (upper case, one of limits->mechanisms) and
	    `initial`; has_initial false: the client sent none. Answer with
	    _auth_continue() or _auth_done(). */
	RST_PROVIDER_AUTH,
	/** the client's response is in `initial`; answer as for AUTH */
	RST_PROVIDER_AUTH_CONTINUE,
	/** the client gave up the exchange ("*"); no answer */
	RST_PROVIDER_AUTH_CANCEL,
	/** ATRN; answer with _atrn_done(). `domains` is the argument as sent,
	    and may be empty. */
	RST_PROVIDER_ATRN,
	/** close the connection once the output is sent */
	RST_PROVIDER_CLOSE,
};

struct rst_provider_event {
	enum rst_provider_event_type type;
	uint32_t id; /**< an answer names it; a late answer is ignored */
	struct rst_str mechanism;
	/** base64 in its canonical form; empty for the initial response "=".
	    Valid until the next _recv. */
	struct rst_str initial;
	bool has_initial;
	struct rst_str domains;
};

struct rst_provider;

struct rst_provider *rst_provider_new(const struct rst_provider_limits *limits,
				      int64_t now_ms);
void rst_provider_free(struct rst_provider **p);

/**
 * @return octets taken; 0 while a question is open, after the turnaround, or
 *         when more input is needed; RST_EPROTO or RST_ELIMIT: close after
 *         sending the output
 */
ssize_t rst_provider_recv(struct rst_provider *p, const char *buf, size_t len,
			  int64_t now_ms);
bool rst_provider_next(struct rst_provider *p, struct rst_provider_event *ev_r);

/** Send a challenge. @param challenge base64, may be empty */
void rst_provider_auth_continue(struct rst_provider *p, uint32_t id,
				struct rst_str challenge, int64_t now_ms);
/** OK: 235 2.7.0; TEMPFAIL: 454 4.7.0; REFUSED: 535 5.7.8. */
void rst_provider_auth_done(struct rst_provider *p, uint32_t id,
			    enum rst_verdict verdict, int64_t now_ms);
/**
 * OK: 250 and the turnaround; TEMPFAIL: 451 4.3.0 (RFC 2645: unable to
 * process ATRN request now); REFUSED: 450 4.7.1 (ATRN request refused).
 */
void rst_provider_atrn_done(struct rst_provider *p, uint32_t id,
			    enum rst_verdict verdict, int64_t now_ms);
/** Say 421 and close, before the turnaround. @param text one line */
void rst_provider_close(struct rst_provider *p, const char *text);

const char *rst_provider_output(const struct rst_provider *p, size_t *len_r);
void rst_provider_sent(struct rst_provider *p, size_t n);
/** Was the 250 to ATRN queued? After the output the roles are reversed. */
bool rst_provider_turned(const struct rst_provider *p);
/** When to call _tick; -1: never. */
int64_t rst_provider_deadline(const struct rst_provider *p);
void rst_provider_tick(struct rst_provider *p, int64_t now_ms);

#endif
