/* SPDX-License-Identifier: MIT */
/**
 * The digest of a held message, which proves that its octets are those that
 * came. Source: doc/protocol-hold.md, section 3.
 */
#ifndef RST_HOLD_DIGEST_H
#define RST_HOLD_DIGEST_H

#include "restante/envelope.h"
#include "sha2.h"

struct istream;

/** May be copied. */
struct rst_digest {
	struct sha256_ctx sha;
	bool crlf;  /**< what comes has CRLF for LF */
	uoff_t crs; /**< at the end so far, which count if more follows */
};

/** @param crlf the octets have CRLF where the hold stores LF */
void rst_digest_init(struct rst_digest *digest, bool crlf);
void rst_digest_update(struct rst_digest *digest, const unsigned char *data,
		       size_t size);
/** @param digest goes on as before
    @param covered as in struct rst_envelope */
void rst_digest_result(const struct rst_digest *digest, struct rst_str covered,
		       unsigned char result_r[RST_DIGEST_SIZE]);

/**
 * Read input, and see at its end that its digest is the wanted one. Otherwise
 * the stream ends in an error, and its last octet is not given out: whoever
 * reads it has never had a whole message.
 *
 * @param digest of what has been read of the message before input
 */
struct istream *rst_digest_istream(struct istream *input,
				   const struct rst_digest *digest,
				   struct rst_str covered,
				   const unsigned char wanted[RST_DIGEST_SIZE]);

#endif
