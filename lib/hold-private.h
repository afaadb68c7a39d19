/* SPDX-License-Identifier: MIT */
/** What both sides of the hold protocol read and write. */
#ifndef RST_HOLD_PRIVATE_H
#define RST_HOLD_PRIVATE_H

#include "restante/hold.h"

#include "buf.h"

/** Append a line with these fields, escaped. */
void rst_hold_put_line(struct rst_buf *out, const struct rst_str *fields,
		       size_t count);
/** Append the VERSION line. */
void rst_hold_put_version(struct rst_buf *out);
/** @param fields a VERSION line. @return whether it names the protocol and
    major version that this code speaks */
bool rst_hold_version_matches(const struct rst_str *fields);

#endif
