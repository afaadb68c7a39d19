/* SPDX-License-Identifier: MIT */
/**
 * One request of the core to restante-hold: say whether a user is enrolled,
 * deliver the expired messages of a user, or list all users with held mail.
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
 * @param ev an event as above; REFUSED ends every job. NULL: the service was
 *        not reached, went away, or was too slow; `text` says which. Nothing
 *        comes after the event that ends the job. The callee may free the job
 *        here; its owner must do so in the end.
 */
typedef void hold_job_func(const struct rst_hold_event *ev, const char *text,
			   void *ctx);

/**
 * @param path of restante-hold's socket; borrowed until the first event
 * @param user not used for HOLD_JOB_SCAN
 */
struct hold_job *hold_job_start(struct event_base *base, const char *path,
				enum hold_job_type type, struct rst_str user,
				hold_job_func *event, void *ctx);
void hold_job_free(struct hold_job **job);

#endif
