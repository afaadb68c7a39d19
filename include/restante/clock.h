/* SPDX-License-Identifier: MIT */
/**
 * The only place where policyd and the client look at a clock.
 *
 * For programs: lib/ keeps no clock, and plugin/ has Dovecot's ioloop_time.
 * tests/check-includes.sh sees to it.
 */
#ifndef RESTANTE_CLOCK_H
#define RESTANTE_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

/** Monotonic time, as the machines of lib/ are told it. */
static inline int64_t clock_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** Wall-clock time, microseconds since 1970. */
static inline int64_t clock_wall_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/** Wall-clock time, seconds since 1970. */
static inline int64_t clock_wall_secs(void)
{
	return (int64_t)time(NULL);
}

/** Seconds since the machine was started, also those in which it slept. */
static inline int64_t clock_up_secs(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec;
}

/** A delay for libevent; a negative one counts as 0. */
static inline struct timeval clock_timeval(int64_t ms)
{
	if (ms < 0)
		ms = 0;
	return (struct timeval){.tv_sec = (time_t)(ms / 1000),
				.tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

/** The earlier of two deadlines, of which -1 means never. */
static inline int64_t clock_sooner(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

#endif
