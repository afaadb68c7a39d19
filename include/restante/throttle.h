/* SPDX-License-Identifier: MIT */
/**
 * Who guesses passwords: failed sign-ins are counted for each pair of user and
 * source, so that a guesser behind a hotel's address hinders nobody else there,
 * and nobody who signs in as that user from elsewhere.
 *
 * Counting begins with the first failure and is forgotten a while later, or
 * when a sign-in succeeds. In memory only, and bounded: when there are too
 * many pairs the oldest is forgotten.
 */
#ifndef RESTANTE_THROTTLE_H
#define RESTANTE_THROTTLE_H

#include "restante/str.h"

struct rst_throttle_limits {
	unsigned int max_failures; /**< so many are let pass ... */
	int64_t window_ms;         /**< ... in this time */
	size_t max_pairs;
};

struct rst_throttle;

struct rst_throttle *rst_throttle_new(const struct rst_throttle_limits *limits);
void rst_throttle_free(struct rst_throttle **t);
/**
 * A sign-in failed.
 *
 * @param user   as the client named itself; ASCII letters of either case are
 *        the same
 * @param source IP address in text form; of an IPv6 address the first 64 bits
 *        count
 */
void rst_throttle_failed(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms);
/** @return whether there were too many: then no answer may tell whether the
    password was right */
bool rst_throttle_blocks(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms);
/** A sign-in succeeded. */
void rst_throttle_clear(struct rst_throttle *t, struct rst_str user,
			struct rst_str source);

#endif
