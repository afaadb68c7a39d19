/* SPDX-License-Identifier: MIT */
/**
 * The envelope of a held message. It is the first header field of the message
 * as it is saved, so that it survives index rebuilds, dsync and backups.
 *
 * Source: doc/protocol-hold.md, section 3.
 */
#ifndef RESTANTE_ENVELOPE_H
#define RESTANTE_ENVELOPE_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

#define RST_ENVELOPE_FIELD "X-Restante-Envelope"
/** octets of an id */
#define RST_ID_MAX 64
/** octets of a whole field, folded */
#define RST_ENVELOPE_MAX 16384
#define RST_KEY_SIZE 32
#define RST_DIGEST_SIZE 32

struct rst_envelope {
	struct rst_str id;  /**< 1 to RST_ID_MAX of [A-Za-z0-9._-] */
	int64_t arrived_us; /**< wall clock, microseconds since 1970 */
	unsigned char key[RST_KEY_SIZE]; /**< K: finds Postfix's retries */
	struct rst_str mail_from;        /**< without <>; empty: null sender */
	struct rst_str rcpt_to;          /**< of LMTP, with +detail */
	struct rst_str mail_params; /**< ESMTP parameters of MAIL, or empty */
	struct rst_str rcpt_params; /**< of RCPT: NOTIFY, ORCPT */
	unsigned int trace_lines;   /**< lines (not fields) that LMTP put on
					 top, below this field */
	unsigned int own_lines;     /**< how many of these, from the first,
					 are Return-Path and Delivered-To, and
					 are cut off with the envelope */
	bool has_octets;            /**< false: an older writer */
	uint64_t octets;            /**< of the message below this field, with
					 every LF as CRLF, without CRs at the
					 very end */
	bool has_digest;            /**< false: an older writer */
	/** SHA-256 of the message below this field, as it is stored with LF,
	    without CRs at the very end, and then of `covered` */
	unsigned char digest[RST_DIGEST_SIZE];
	/** set by _parse(): the value of the field before the digest, without
	    white space */
	struct rst_str covered;
};

/** Is this an id of ours, good for commands, file names and logs? It does not
    start with '.'. */
bool rst_id_valid(struct rst_str id);

/** @return what `covered` will be when the field is parsed; free() it. NULL as
    with _format() */
char *rst_envelope_covered(const struct rst_envelope *env, size_t *len_r);

/**
 * @return the field, folded, each line ending in CRLF; free() it. NULL when
 *         the id is not valid, arrived_us is negative, own_lines exceeds
 *         trace_lines, or the field would exceed RST_ENVELOPE_MAX
 */
char *rst_envelope_format(const struct rst_envelope *env, size_t *len_r);

/**
 * Read the field at the very start of a saved message; its lines may end in
 * LF or CRLF.
 *
 * @param env_r  views into *storage_r
 * @param storage_r to be freed with free() when > 0 was returned, else NULL
 * @return octets of the field with its last line end; 0: more input needed
 *         (the field ends where a line starts without white space); RST_EPROTO:
 *         the message does not start with a whole valid envelope; RST_ELIMIT:
 *         longer than RST_ENVELOPE_MAX
 */
ssize_t rst_envelope_parse(const char *buf, size_t len,
			   struct rst_envelope *env_r, char **storage_r);

/**
 * Tell whether a message without a valid envelope is what a crash left of a
 * held one.
 *
 * @param buf its first octets, some hundred at least, or all
 * @param start_r where the field begins: the remains of the storage's own
 *        header may stand before it. len: the field is not there
 * @return false: another program made the message
 */
bool rst_envelope_is_cut(const char *buf, size_t len, size_t *start_r);

#endif
