/* SPDX-License-Identifier: MIT */
/**
 * The arrival of a message at its hold: saved once, however often the sender's
 * side brings it.
 */
#ifndef RST_DELIVER_ARRIVAL_H
#define RST_DELIVER_ARRIVAL_H

#include "hold/save.h"

struct rst_hold;

enum rst_arrival {
	RST_ARRIVAL_HELD,  /**< saved; what it is: saved_r */
	RST_ARRIVAL_KNOWN, /**< the same message is held, or was */
	RST_ARRIVAL_FULL,  /**< no room in the hold: error_r */
	/** not saved: error_r */
	RST_ARRIVAL_FAILED,
	/** error_r; perhaps it is in the hold, so that it must come again and
	    must not be delivered by other means */
	RST_ARRIVAL_UNSURE,
};

/**
 * Save a message that rst_delivery_prepare() has read, unless its K says that
 * it is known. Two that arrive at once wait for each other.
 *
 * @param hold not open; opened, made where it is missing, and closed here
 */
enum rst_arrival rst_arrive(struct rst_hold *hold,
			    const struct rst_delivery *delivery,
			    struct rst_saved *saved_r, const char **error_r);

#endif
