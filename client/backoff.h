/* SPDX-License-Identifier: MIT */
/** How long to wait before the next try: 1 s to 300 s, doubling, with a random
    part. */
#ifndef CLIENT_BACKOFF_H
#define CLIENT_BACKOFF_H

#include <stdint.h>

struct backoff {
	unsigned int failures; /**< all zero is a fresh start */
};

/**
 * The wait after one more failure: half of it fixed, half random, so that a
 * thousand clients that lost one server do not come back at once.
 * @param random 32 random bits
 */
int64_t backoff_next_ms(struct backoff *backoff, uint32_t random);
/**
 * The wait after the server has said CLOSE: another machine signed in, or the
 * server goes down, and all its clients would come back at once. 5 to 30 s,
 * random, spreads the clients and has them all back within a minute. The wait
 * after one more failure is added, as two machines with one account would drive
 * each other out without end.
 */
int64_t backoff_dismissed_ms(struct backoff *backoff, uint32_t random);
/** The wait after a refusal, which only a person can mend: 5 to 10 minutes. */
int64_t backoff_refused_ms(uint32_t random);
void backoff_reset(struct backoff *backoff);

#endif
