/* SPDX-License-Identifier: MIT */
/**
 * ODMR customer: how the client signs in, up to the turnaround.
 *
 * The counterpart of rst_provider: reads the greeting, says EHLO, AUTH PLAIN,
 * and ATRN without an argument. After the 250 to ATRN the machine has ended,
 * and rst_receiver takes over on the same connection.
 *
 * Source: RFC 2645, RFC 4954, RFC 4616 (PLAIN).
 */
#ifndef RESTANTE_CUSTOMER_H
#define RESTANTE_CUSTOMER_H

#include <sys/types.h>

#include "restante/smtp.h"

struct rst_customer_settings {
	const char *hostname; /**< for EHLO; copied, as are the others */
	const char *user;
	const char *password;
	/** The server speaks ALPN `restante`: say EHLO, AUTH and ATRN at once,
	    without awaiting a reply (doc/protocol-xrestante.md, section 2) */
	bool pipelined;
	int64_t reply_timeout_ms;
};

enum rst_customer_outcome {
	RST_CUSTOMER_RUNNING,
	RST_CUSTOMER_TURNED,   /**< rst_receiver takes over */
	RST_CUSTOMER_TEMPFAIL, /**< 4xx, time-out: dial again later */
	RST_CUSTOMER_REFUSED,  /**< 535, 450, 5xx: a person has to help */
	RST_CUSTOMER_BROKEN,   /**< the server does not speak the protocol */
};

struct rst_customer;

struct rst_customer *
rst_customer_new(const struct rst_customer_settings *settings, int64_t now_ms);
/** Wipes the password. */
void rst_customer_free(struct rst_customer **c);
/**
 * @return octets taken; 0: more needed, or ended; RST_EPROTO, RST_ELIMIT: the
 *         outcome is BROKEN
 */
ssize_t rst_customer_recv(struct rst_customer *c, const char *buf, size_t len,
			  int64_t now_ms);
enum rst_customer_outcome rst_customer_outcome(const struct rst_customer *c);
/**
 * One line for people about a failure: the step and the server's words, as
 * printable ASCII ("AUTH: 535 5.7.8 ...").
 * @return valid until _free; "" without a failure
 */
const char *rst_customer_error(const struct rst_customer *c);
const char *rst_customer_output(const struct rst_customer *c, size_t *len_r);
void rst_customer_sent(struct rst_customer *c, size_t n);
int64_t rst_customer_deadline(const struct rst_customer *c);
void rst_customer_tick(struct rst_customer *c, int64_t now_ms);

#endif
