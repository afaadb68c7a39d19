/* SPDX-License-Identifier: MIT */
/**
 * Postfix's lists of smtpd restrictions, as postconf(5) has them: names and
 * their arguments, separated by blanks and commas; what stands in braces is one
 * word.
 */
#ifndef POLICYD_CORE_RESTRICTIONS_H
#define POLICYD_CORE_RESTRICTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "restante/str.h"

/** What check_policy_service is given. Views of the list; empty: not said. */
struct restrictions_policy {
	struct rst_str server; /**< such as unix:private/restante */
	struct rst_str default_action;
	struct rst_str timeout;
};

/** Take the next word off the list, without its braces. @return false: none */
bool restrictions_next(struct rst_str *list, struct rst_str *word_r);

/** @param word what follows check_policy_service in a list */
void restrictions_policy(struct rst_str word,
			 struct restrictions_policy *policy_r);

/** @param unit of a time without one: s, m, h, d or w
    @return seconds, or -1: no time */
int64_t restrictions_secs(struct rst_str time, char unit);

#endif
