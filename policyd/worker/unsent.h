/* SPDX-License-Identifier: MIT */
/**
 * How much the kernel may hold of a connection without having sent it.
 *
 * What it holds cannot be taken back when the session is replaced. When it has
 * nothing left before we have come to write again, time is lost; and BBR, which
 * believes no measurement of such a time, goes on sending nearly three times
 * as fast as the line is. So it may hold what the line carries in a tenth of a
 * second.
 */
#ifndef POLICYD_WORKER_UNSENT_H
#define POLICYD_WORKER_UNSENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNSENT_MIN (32 * 1024)
#define UNSENT_MAX (512 * 1024)

struct unsent {
	int64_t since_ms; /**< of what is measured now */
	uint64_t octets;
	unsigned int limit;
};

void unsent_init(struct unsent *unsent, int64_t now_ms);
/**
 * Octets were written that the kernel had room for.
 * @return whether unsent->limit is another one now
 */
bool unsent_moved(struct unsent *unsent, size_t octets, int64_t now_ms);

#endif
