/* SPDX-License-Identifier: MIT */
/**
 * The arrival of a message at its hold: it is saved once, however often Postfix
 * brings it.
 */
#ifndef RST_DELIVER_ARRIVAL_H
#define RST_DELIVER_ARRIVAL_H

#include "hold/save.h"

struct rst_hold;

enum rst_arrival {
	RST_ARRIVAL_HELD, /**< saved: saved_r */
	/** the same message is held: saved_r has its id; or it has left */
	RST_ARRIVAL_KNOWN,
	RST_ARRIVAL_FULL,   /**< no room in the hold */
	RST_ARRIVAL_OTHERS, /**< it is another user's hold; was logged */
	RST_ARRIVAL_FAILED, /**< not saved: error_r */
	/** error_r; perhaps it was saved, so that Postfix must bring it again,
	    and it must not be delivered by other means */
	RST_ARRIVAL_UNSURE,
};

/**
 * Save a message that rst_delivery_prepare() has read, unless its K says that
 * it is known. Two arrivals at the same time wait for each other.
 *
 * @param hold not open; opened, made where it is missing, and closed here
 */
enum rst_arrival rst_arrive(struct rst_hold *hold,
			    const struct rst_delivery *delivery,
			    struct rst_saved *saved_r, const char **error_r);

#endif
