/* SPDX-License-Identifier: MIT */
/**
 * A brake on guessed passwords. Failed sign-ins are counted for each pair of
 * user and source: a guesser behind a hotel's address blocks neither other
 * users there, nor that user elsewhere.
 *
 * The count of a pair begins with its first failure, and is forgotten window_ms
 * later or when a sign-in succeeds. In memory only, and bounded: when there are
 * too many pairs, the oldest is forgotten.
 */
#ifndef RESTANTE_THROTTLE_H
#define RESTANTE_THROTTLE_H

#include "restante/str.h"

struct rst_throttle_limits {
	unsigned int max_failures; /**< at this many a pair is blocked */
	int64_t window_ms;         /**< counted from the first of them */
	size_t max_pairs;
};

struct rst_throttle;

struct rst_throttle *rst_throttle_new(const struct rst_throttle_limits *limits);
void rst_throttle_free(struct rst_throttle **t);
/**
 * Count a failed sign-in.
 *
 * @param user   as the client gave it; ASCII case does not matter
 * @param source IP address in text form; only the first 64 bits of an IPv6
 *        address count
 */
void rst_throttle_failed(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms);
/** @return whether the pair is blocked: then no answer may tell whether the
    password was right */
bool rst_throttle_blocks(struct rst_throttle *t, struct rst_str user,
			 struct rst_str source, int64_t now_ms);
/** Forget a pair: its sign-in succeeded. */
void rst_throttle_clear(struct rst_throttle *t, struct rst_str user,
			struct rst_str source);

#endif
