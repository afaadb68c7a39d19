/* SPDX-License-Identifier: MIT */
#include "unsent.h"

/** what the limit is to last for */
#define LAST_MS 100
/** for how long it is measured at least */
#define MEASURE_MS 200

void unsent_init(struct unsent *unsent, int64_t now_ms)
{
	*unsent = (struct unsent){.since_ms = now_ms, .limit = UNSENT_MIN};
}

static unsigned int clamp(uint64_t octets)
{
	if (octets < UNSENT_MIN)
		return UNSENT_MIN;
	return octets > UNSENT_MAX ? UNSENT_MAX : (unsigned int)octets;
}

bool unsent_moved(struct unsent *unsent, size_t octets, int64_t now_ms)
{
	int64_t elapsed_ms = now_ms - unsent->since_ms;
	unsigned int limit;

	unsent->octets += octets;
	if (elapsed_ms < MEASURE_MS)
		return false;
	limit = clamp(unsent->octets * LAST_MS / (uint64_t)elapsed_ms);
	unsent->since_ms = now_ms;
	unsent->octets = 0;
	/* not for each wave of the line */
	if (limit <= unsent->limit && limit > unsent->limit / 2)
		return false;
	unsent->limit = limit;
	return true;
}
