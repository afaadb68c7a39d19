/* SPDX-License-Identifier: MIT */
/**
 * A codec for SMTP: command lines, paths, parameters, replies. It keeps nothing
 * between calls, and every view points into the caller's buffer.
 * Source: RFC 5321 sections 2.3.8, 4.1, 4.2; RFC 3463; RFC 3461 section 4.
 */
#ifndef RESTANTE_SMTP_H
#define RESTANTE_SMTP_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

/** RFC 5321 4.5.3.1.4, and what extensions add; with CRLF */
#define RST_SMTP_LINE_MAX 2048
/** AUTH lines: RFC 4954 section 4 asks for 12288 */
#define RST_SMTP_AUTH_LINE_MAX 12288
/** RFC 5321 4.5.3.1.3 says 256; others are more generous */
#define RST_SMTP_ADDRESS_MAX 512

/**
 * Take one line that ends in CRLF.
 *
 * @param line_r the line without CRLF, a view into buf
 * @return octets used, with CRLF; 0: more input needed; RST_ELIMIT: no CRLF
 *         within the first `max` octets; RST_EPROTO: a CR or LF that stands
 *         alone, or a NUL
 */
ssize_t rst_smtp_line(const char *buf, size_t len, size_t max,
		      struct rst_str *line_r);

struct rst_smtp_command {
	struct rst_str verb; /**< as sent: compare with rst_str_case_eq() */
	struct rst_str args; /**< without blanks at either end; may be empty */
};

/** @return 0, or RST_EPROTO when the line does not start with a word */
int rst_smtp_command_parse(struct rst_str line,
			   struct rst_smtp_command *command_r);

/** The path and parameters of MAIL or RCPT. */
struct rst_smtp_path {
	/** without <> and without a source route; empty: the null sender */
	struct rst_str address;
	struct rst_str params; /**< for rst_smtp_param_next() */
};

/**
 * Parse the arguments of MAIL or RCPT.
 *
 * @param keyword RST_STR("FROM:") or RST_STR("TO:"); case does not matter, and
 *        blanks after the colon are accepted
 * @return 0; RST_EPROTO: bad syntax; RST_ELIMIT: address too long
 */
int rst_smtp_path_parse(struct rst_str args, struct rst_str keyword,
			struct rst_smtp_path *path_r);

/**
 * Take the next parameter off *params.
 *
 * @param value_r empty without '='
 * @return 1; 0: no more; RST_EPROTO: a malformed keyword or value
 */
int rst_smtp_param_next(struct rst_str *params, struct rst_str *keyword_r,
			struct rst_str *value_r);

/**
 * May this stand between < and > on a command line? It has no control
 * character, no blank or angle bracket outside a quoted string, and at most
 * RST_SMTP_ADDRESS_MAX octets. Empty is valid, and so is UTF-8 (RFC 6531).
 */
bool rst_smtp_address_valid(struct rst_str address);
/** Does the address need SMTPUTF8, for an octet above 127? */
bool rst_smtp_address_is_utf8(struct rst_str address);

struct rst_smtp_reply {
	unsigned int code;       /**< 200..599 */
	struct rst_str enhanced; /**< RFC 3463, "5.7.1"; may be empty */
	struct rst_str text;     /**< of the last line, without codes */
	struct rst_str lines;    /**< all, for rst_smtp_reply_line() */
};

/**
 * Parse one reply, of one or many lines.
 *
 * @param max octets that a whole reply may have
 * @return octets used; 0: more input needed; RST_ELIMIT: longer than max;
 *         RST_EPROTO: no reply, or lines with different codes
 */
ssize_t rst_smtp_reply_parse(const char *buf, size_t len, size_t max,
			     struct rst_smtp_reply *reply_r);

/** Take the next line of reply->lines. @param text_r without its "250-"
    @return false: no more */
bool rst_smtp_reply_line(struct rst_str *lines, struct rst_str *text_r);

/**
 * Write xtext, RFC 3461 section 4: graphic ASCII except '+' and '=' stands for
 * itself, every other octet is +XX.
 *
 * @param out room for 3 * s.n octets
 * @return octets written; not terminated
 */
size_t rst_xtext_encode(struct rst_str s, char *out);
/** Read xtext. @param out room for s.n octets
    @return octets written, or RST_EPROTO */
ssize_t rst_xtext_decode(struct rst_str s, char *out);

#endif
