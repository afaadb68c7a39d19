/* SPDX-License-Identifier: MIT */
#include "backoff.h"

#define FIRST_MS 1000
#define LAST_MS 300000
#define DISMISSED_MS 5000
#define DISMISSED_SPREAD_MS 25000
#define REFUSED_MS 300000

static int64_t some_of(int64_t ms, uint32_t random)
{
	return (int64_t)((uint64_t)ms * random >> 32);
}

int64_t backoff_next_ms(struct backoff *backoff, uint32_t random)
{
	int64_t ms = LAST_MS;

	if (backoff->failures < 9) /* 1 s << 9 is over 300 s */
		ms = (int64_t)FIRST_MS << backoff->failures++;
	if (ms > LAST_MS)
		ms = LAST_MS;
	return ms / 2 + some_of(ms / 2, random);
}

int64_t backoff_dismissed_ms(struct backoff *backoff, uint32_t random)
{
	return DISMISSED_MS + some_of(DISMISSED_SPREAD_MS, random) +
	       backoff_next_ms(backoff, random);
}

int64_t backoff_refused_ms(uint32_t random)
{
	return REFUSED_MS + some_of(REFUSED_MS, random);
}

void backoff_reset(struct backoff *backoff)
{
	backoff->failures = 0;
}
