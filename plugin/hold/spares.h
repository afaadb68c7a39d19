/* SPDX-License-Identifier: MIT */
/**
 * The spares of a locked hold: messages that go when a whole message of their K
 * is held or has left. A spare is incomplete, or it is a double, which goes
 * only when the other one has left.
 */
#ifndef RST_HOLD_SPARES_H
#define RST_HOLD_SPARES_H

#include "seq-range-array.h"
#include "restante/envelope.h"

struct mail_user;
struct rst_held;
struct rst_message;
struct rst_spares;

/** @param user for the log; outlives the spares */
struct rst_spares *rst_spares_new(const struct mail_user *user);
void rst_spares_free(struct rst_spares **spares);

/** Remember this message as a spare, unless its uid is one already. */
void rst_spares_add(struct rst_spares *spares,
		    const struct rst_message *message);
/** The message of this uid is removed by other means. */
void rst_spares_forget(struct rst_spares *spares, uint32_t uid);
/** Warn of each incomplete message, once. */
void rst_spares_warn(struct rst_spares *spares);

/* These say which messages are to be expunged: their uids are added to uids,
   a line is logged for each, and they are forgotten. */

/** This message, which may be a spare. */
void rst_spares_remove(struct rst_spares *spares, const char *id, uint32_t uid,
		       ARRAY_TYPE(seq_range) * uids);
/** The incomplete spares of this K: a whole message of it is held. */
void rst_spares_remove_incomplete(struct rst_spares *spares,
				  const unsigned char key[RST_KEY_SIZE],
				  ARRAY_TYPE(seq_range) * uids);
/** The spares whose K has left since they were found. */
void rst_spares_remove_left(struct rst_spares *spares,
			    const struct rst_held *held,
			    ARRAY_TYPE(seq_range) * uids);

#endif
