/* SPDX-License-Identifier: MIT */
/** The only place where the core looks at a clock. */
#ifndef POLICYD_COMMON_CLOCK_H
#define POLICYD_COMMON_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

/** Monotonic. */
static inline int64_t clock_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int64_t clock_wall_secs(void)
{
	return (int64_t)time(NULL);
}

static inline struct timeval clock_timeval(int64_t ms)
{
	if (ms < 0)
		ms = 0;
	return (struct timeval){.tv_sec = (time_t)(ms / 1000),
				.tv_usec = (suseconds_t)(ms % 1000) * 1000};
}

#endif
