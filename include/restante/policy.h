/* SPDX-License-Identifier: MIT */
/**
 * Postfix's policy delegation protocol, the server's side.
 * Source: Postfix SMTPD_POLICY_README.
 */
#ifndef RESTANTE_POLICY_H
#define RESTANTE_POLICY_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

/** No Postfix sends a longer request. */
#define RST_POLICY_REQUEST_MAX 65536

/** Views into the buffer; an attribute that was not sent has n == 0. */
struct rst_policy_request {
	struct rst_str request; /**< "smtpd_access_policy" */
	struct rst_str protocol_state;
	struct rst_str protocol_name;
	struct rst_str client_address;
	struct rst_str client_name;
	struct rst_str helo_name;
	struct rst_str queue_id; /**< empty for the first recipient at RCPT */
	struct rst_str instance; /**< one for a whole transaction */
	struct rst_str sender;
	struct rst_str recipient; /**< before aliases, unquoted, case kept */
	struct rst_str recipient_count;
	struct rst_str sasl_username;
	struct rst_str size; /**< decimal octets; "0": not known */
	struct rst_str policy_context;
};

/**
 * Parse one policy request.
 *
 * @param buf   octets received so far, starting at a request boundary
 * @param req_r views into buf, valid while buf is unchanged. Unknown
 *              attributes are skipped; of one sent twice the last counts.
 * @return octets consumed, through the empty line; 0: more input needed;
 *         RST_EPROTO: a line without '=', a NUL, or a request without
 *         request=smtpd_access_policy; RST_ELIMIT: longer than
 *         RST_POLICY_REQUEST_MAX
 */
ssize_t rst_policy_parse(const char *buf, size_t len,
			 struct rst_policy_request *req_r);

enum rst_policy_action {
	RST_POLICY_DUNNO,           /**< action=DUNNO */
	RST_POLICY_NO_ROOM,         /**< 452 4.2.2 */
	RST_POLICY_TOO_LARGE,       /**< 552 5.3.4 */
	RST_POLICY_NO_SUCH_MAILBOX, /**< 550 5.1.1 */
};

/**
 * The whole answer, "action=...\n\n", a static string, to be sent in one write.
 * A server without Restante uses the same words, so they do not tell whether
 * the recipient is enrolled.
 */
struct rst_str rst_policy_answer(enum rst_policy_action action);

/** Of one connection from Postfix. */
struct rst_policy_server_limits {
	int64_t answer_timeout_ms; /**< then an open question gets DUNNO */
};

/** Octets of answers that Postfix may leave unread; more: RST_ELIMIT. */
#define RST_POLICY_OUTPUT_MAX 65536

struct rst_policy_ask {
	uint32_t id;
	/** views into the octets taken, valid until the answer (also the one
	    after a time-out) */
	const struct rst_policy_request *request;
};

struct rst_policy_server;

struct rst_policy_server *
rst_policy_server_new(const struct rst_policy_server_limits *limits);
void rst_policy_server_free(struct rst_policy_server **s);
/**
 * Take one whole request at most, and none while one is unanswered. Nothing is
 * copied: the caller keeps the octets taken where and as they are until the
 * question is answered. Octets not taken are to be given again.
 *
 * @return octets taken; 0: more needed, or a question is open; RST_EPROTO,
 *         RST_ELIMIT: close
 */
ssize_t rst_policy_server_recv(struct rst_policy_server *s, const char *buf,
			       size_t len, int64_t now_ms);
bool rst_policy_server_next(struct rst_policy_server *s,
			    struct rst_policy_ask *ask_r);
/** Answer a question. A second answer, or one after the time-out, is ignored.
    `id` is never 0. */
void rst_policy_server_answer(struct rst_policy_server *s, uint32_t id,
			      enum rst_policy_action action);
const char *rst_policy_server_output(const struct rst_policy_server *s,
				     size_t *len_r);
void rst_policy_server_sent(struct rst_policy_server *s, size_t n);
int64_t rst_policy_server_deadline(const struct rst_policy_server *s);
void rst_policy_server_tick(struct rst_policy_server *s, int64_t now_ms);

#endif
