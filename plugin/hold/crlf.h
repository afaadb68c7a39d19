/* SPDX-License-Identifier: MIT */
/**
 * A message that is stored with LF, read with CRLF, as it goes over the
 * network.
 */
#ifndef RST_HOLD_CRLF_H
#define RST_HOLD_CRLF_H

struct istream;
struct rst_digest;

/**
 * Read every LF of input as CRLF, also an LF after a CR: a reader that turns
 * CRLF back into LF has then exactly what is stored. (Dovecot's own
 * i_stream_create_crlf() leaves a stored CRLF alone.)
 *
 * @param size octets that will come out, as rst_crlf_size() counts them;
 *         UOFF_T_MAX: not counted
 */
struct istream *rst_crlf_istream(struct istream *input, uoff_t size);

/**
 * Count the octets that rst_crlf_istream() will give, reading input to its end.
 *
 * @param digest they are added to it
 * @return 0, or -1 with input->stream_errno
 */
int rst_crlf_size(struct istream *input, struct rst_digest *digest,
		  uoff_t *size_r);

/**
 * Pass over lines, or all of input where it has fewer.
 *
 * @param digest they are added to it
 * @param octets_r of them, as rst_crlf_istream() gives them
 * @return 0, or -1 with input->stream_errno
 */
int rst_crlf_skip_lines(struct istream *input, unsigned int lines,
			struct rst_digest *digest, uoff_t *octets_r);

size_t rst_count_lf(const unsigned char *data, size_t size);

#endif
