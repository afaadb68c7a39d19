/* SPDX-License-Identifier: MIT */
/**
 * The Received field on top of a message that leaves the hold for one of the
 * user's mailboxes: it tells LMTP, and a search for a message that may have
 * been delivered already, the message's id. See doc/protocol-hold.md, section
 * 1.6. All results are on the data stack.
 */
#ifndef RST_FALLBACK_TRACE_FIELD_H
#define RST_FALLBACK_TRACE_FIELD_H

/** @return the field, with CRLF */
const char *rst_trace_field_format(const char *id, const char *hostname);
/** @return the id; NULL: data does not begin with such a field */
const char *rst_trace_field_parse(const unsigned char *data, size_t size);
/** @return text that stands in the field of this id and of no other */
const char *rst_trace_field_needle(const char *id);

#endif
