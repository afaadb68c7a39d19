/* SPDX-License-Identifier: MIT */
/**
 * The users for whom there is no room at the moment, as the deliveries have
 * found out. What is known of a user is forgotten after a while: nobody tells
 * that a mailbox has room again.
 */
#ifndef RESTANTE_FULL_H
#define RESTANTE_FULL_H

#include <stdbool.h>
#include <stdint.h>

#include "restante/str.h"

struct rst_full;

/** @param max_users of more, nothing is noted */
struct rst_full *rst_full_new(unsigned int max_users);
void rst_full_free(struct rst_full **full);

/** There is no room until until_ms; 0: there is room. Upper and lower case of
    names are the same. */
void rst_full_set(struct rst_full *full, struct rst_str user, int64_t until_ms,
		  int64_t now_ms);
/**
 * Is there no room for mail to this recipient?
 *
 * @param delimiters characters that begin a detail: user+detail@domain is
 *        user@domain, too
 */
bool rst_full_is(const struct rst_full *full, struct rst_str recipient,
		 const char *delimiters, int64_t now_ms);

#endif
