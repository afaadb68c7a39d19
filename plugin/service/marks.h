/* SPDX-License-Identifier: MIT */
/**
 * The messages that were listed on one connection, and the dialler's decisions
 * about them.
 *
 * A listed message is leased to the connection. An ACK or FALLBACK marks it.
 * Carrying out the marks removes the message or finds that it must stay. The
 * answer to a mark waits until it is asked for.
 */
#ifndef RST_SERVICE_MARKS_H
#define RST_SERVICE_MARKS_H

#include "restante/str.h"

struct rst_hold;
struct rst_hold_server;
struct rst_locked;
struct rst_marks;
struct rst_message;

/** @param hold   outlives the marks
    @param locked NULL: there is no hold, so every message is gone */
struct rst_marks *rst_marks_new(const struct rst_hold *hold,
				struct rst_locked *locked);
void rst_marks_free(struct rst_marks **marks);

/** @return FALSE: another message of this id is leased; this one is not to be
    listed */
bool rst_marks_lease(struct rst_marks *marks,
		     const struct rst_message *message);
/** A rst_fallback_leased_func; context is the marks. */
bool rst_marks_is_leased(const char *id, void *context);

/**
 * Mark a message, whether it is leased or not.
 *
 * @param refused what the client said when it refused the message; NULL: the
 *         client has the message
 */
void rst_marks_add(struct rst_marks *marks, struct rst_str id,
		   const struct rst_str *refused);
/** @return how many marks have not been carried out */
unsigned int rst_marks_pending(const struct rst_marks *marks);
/** Carry out the marks: remove and deliver messages. Not while a message of the
    hold is being read. */
void rst_marks_carry_out(struct rst_marks *marks);
/** Say for each mark that has been carried out whether its message is gone or
    kept, and forget those marks. */
void rst_marks_answer(struct rst_marks *marks, struct rst_hold_server *server);

#endif
