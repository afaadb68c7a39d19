/* SPDX-License-Identifier: MIT */
/**
 * What the core itself asks restante-hold: is this user enrolled, deliver
 * what has expired, and who holds anything.
 */
#ifndef POLICYD_CORE_HOLD_JOB_H
#define POLICYD_CORE_HOLD_JOB_H

#include <event2/event.h>

#include "restante/hold.h"

enum hold_job_type {
	HOLD_JOB_CHECK,   /**< ends with OPENED */
	HOLD_JOB_EXPIRED, /**< OPENED; ends with RELEASED */
	HOLD_JOB_SCAN,    /**< USER, again and again; ends with SCANNED */
};

struct hold_job;

/**
 * @param ev an event as above; REFUSED ends every job. NULL: not reached, or
 *        lost, or too slow; `text` says which. The job may be freed here, and
 *        has to be in the end; nothing comes after the event that ends it.
 */
typedef void hold_job_func(const struct rst_hold_event *ev, const char *text,
			   void *ctx);

/** @param user unused for HOLD_JOB_SCAN */
struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx);
void hold_job_free(struct hold_job **job);

#endif
