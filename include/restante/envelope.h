/* SPDX-License-Identifier: MIT */
/**
 * The envelope of a held message, as the first header field of the message
 * that is stored, so that it survives index rebuilds, dsync and backups:
 *
 *   X-Restante-Envelope: v=1; id=...; t=1700000000.123456; k=<64 hex>;
 *    from=<xtext>; to=<xtext>; mailp=<xtext>; rcptp=<xtext>; skip=3; own=2
 *
 * White space inside the field means nothing (so it may be folded anywhere);
 * text is xtext (RFC 3461) in which ';' is escaped too. Unknown names are
 * skipped; another version is not read.
 */
#ifndef RESTANTE_ENVELOPE_H
#define RESTANTE_ENVELOPE_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

#define RST_ENVELOPE_FIELD "X-Restante-Envelope"
/** graphic ASCII octets an id may have */
#define RST_ID_MAX 64
/** octets of a whole field, folded */
#define RST_ENVELOPE_MAX 16384
#define RST_KEY_SIZE 32

struct rst_envelope {
	struct rst_str id;  /**< 1 to RST_ID_MAX of [A-Za-z0-9._-] */
	int64_t arrived_us; /**< wall clock, microseconds since 1970 */
	unsigned char key[RST_KEY_SIZE]; /**< K: arrival dedup */
	struct rst_str mail_from;        /**< without <>; empty: null sender */
	struct rst_str rcpt_to;          /**< as LMTP was told, with +detail */
	struct rst_str mail_params; /**< ESMTP parameters of MAIL, or empty */
	struct rst_str rcpt_params; /**< of RCPT: NOTIFY, ORCPT */
	unsigned int trace_lines;   /**< lines (not fields) LMTP put on top,
					 below this field */
	unsigned int own_lines;     /**< how many of these, from the first,
					 are Return-Path and Delivered-To and
					 go with the envelope when it is cut */
	bool has_octets;            /**< older writers did not say it */
	uint64_t octets;            /**< below this field, every LF as CRLF,
					 CRs at the very end not counted */
};

/** Is this an id that may travel in commands, file names and logs? It does not
    start with '.'. */
bool rst_id_valid(struct rst_str id);

/**
 * @return the field, folded, lines (the last too) ending in CRLF; free() it.
 *         NULL when the id is not valid, arrived_us is negative, own_lines
 *         exceeds trace_lines, or the field would exceed RST_ENVELOPE_MAX
 */
char *rst_envelope_format(const struct rst_envelope *env, size_t *len_r);

/**
 * Read the field at the very start of a stored message; its lines may end in
 * LF or CRLF.
 *
 * @param env_r  views into *storage_r
 * @param storage_r to be freed with free() when >0 was returned, else NULL
 * @return octets of the field with its last line end; 0: more input needed
 *         (the field ends where a line starts without white space); RST_EPROTO:
 *         the message does not start with a whole valid envelope; RST_ELIMIT
 */
ssize_t rst_envelope_parse(const char *buf, size_t len,
			   struct rst_envelope *env_r, char **storage_r);

/**
 * Of a message that has no valid envelope: is it what a crash has left of one
 * that had?
 *
 * @param buf the first octets of it, some hundred at least, or all
 * @param start_r where the field begins: the remains of the storage's own
 *        header may be before it. len: it is not there
 * @return false: somebody else has made it
 */
bool rst_envelope_is_cut(const char *buf, size_t len, size_t *start_r);

#endif
