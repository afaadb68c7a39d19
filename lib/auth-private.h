/* SPDX-License-Identifier: MIT */
/** The lines of Dovecot's auth protocols; auth.c has the exchanges, lookup.c
   the questions about accounts. */
#ifndef RST_AUTH_PRIVATE_H
#define RST_AUTH_PRIVATE_H

#include "restante/auth.h"

#include "buf.h"

/** AUTH_CLIENT_MAX_LINE_LENGTH of Dovecot. Dovecot closes the connection, with
    every exchange on it, when it gets a longer line. */
#define RST_AUTH_LINE_MAX 16384
/** RFC 4422 section 3.1 */
#define RST_AUTH_MECHANISM_MAX 20

/**
 * Take the next field of a line.
 *
 * @param rest the rest of the line, moved on; p is NULL after the last field,
 *        which tells an empty last field from none
 * @return false: no more
 */
bool rst_auth_field(struct rst_str *rest, struct rst_str *field_r);
/** Is the field `name` or name=value? @param value_r empty without '=' */
bool rst_auth_field_is(struct rst_str field, const char *name,
		       struct rst_str *value_r);
/** Append s as Dovecot's str_tabescape() would write it. */
void rst_auth_append_escaped(struct rst_buf *out, struct rst_str s);
/** @return a copy without tab escapes, free() it; text_r is a view into it */
char *rst_auth_unescape(struct rst_str field, struct rst_str *text_r);

bool rst_auth_mechanism_valid(struct rst_str mechanism);
/** May clients be offered this mechanism? @param flags the rest of its MECH
    line */
bool rst_auth_mechanism_usable(struct rst_str mechanism, struct rst_str flags);

/** The fields of OK and FAIL; views into the line, still escaped. */
struct rst_auth_answer {
	struct rst_str user, reason, code;
	bool nologin, proxy, anonymous;
	bool temporary;
};

void rst_auth_answer_parse(struct rst_str fields,
			   struct rst_auth_answer *answer_r);
/** Is it not empty, and without control characters? */
bool rst_auth_user_usable(struct rst_str user);

/**
 * Append an AUTH line.
 * @return 0; RST_EPERM: a field is malformed, or the line is too long
 */
int rst_auth_format(struct rst_buf *out, uint32_t id,
		    const struct rst_auth_request *req);

#endif
