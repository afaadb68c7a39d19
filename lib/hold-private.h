/* SPDX-License-Identifier: MIT */
/** What both sides of the hold protocol read and write. */
#ifndef RST_HOLD_PRIVATE_H
#define RST_HOLD_PRIVATE_H

#include "restante/hold.h"

#include "buf.h"

/** Fields of a line, the word included. */
#define RST_HOLD_FIELDS_MAX 8

/**
 * Split a line into its fields, and unescape them in place.
 * @param line  without LF; written to
 * @param fields_r views into line; those that the line does not have are empty
 * @return number of fields; RST_EPROTO: too many, a
 *         bad escape, or NUL, LF or CR not escaped
 */
ssize_t rst_hold_split(char *line, size_t len,
		       struct rst_str fields_r[RST_HOLD_FIELDS_MAX]);
/**
 * Join fields to a line with its LF.
 * @param out room for 2 * all octets + fields
 * @return octets written
 */
size_t rst_hold_join(const struct rst_str *fields, size_t count, char *out);

/** Append a line with these fields, escaped. */
void rst_hold_put_line(struct rst_buf *out, const struct rst_str *fields,
		       size_t count);
/** Append the VERSION line. */
void rst_hold_put_version(struct rst_buf *out);
/** @param fields a VERSION line. @return whether it names the protocol and
    major version that this code speaks */
bool rst_hold_version_matches(const struct rst_str *fields);

#endif
