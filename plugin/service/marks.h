/* SPDX-License-Identifier: MIT */
/**
 * What one connection was given, and what it has said about it.
 *
 * A message that is listed is leased to the connection; an ACK or FALLBACK
 * marks it; carrying the marks out removes the message or finds that it must
 * stay, and the answer waits until it is asked for.
 */
#ifndef RST_SERVICE_MARKS_H
#define RST_SERVICE_MARKS_H

#include "restante/str.h"

struct mail_user;
struct rst_held;
struct rst_hold_server;
struct rst_locked;
struct rst_marks;
struct rst_settings;

/** @param store NULL: there is no hold, so every message is gone */
struct rst_marks *rst_marks_new(struct mail_user *user,
				const struct rst_settings *set,
				struct rst_locked *store);
void rst_marks_free(struct rst_marks **marks);

/** @return FALSE: another message of this id is leased, give it out once */
bool rst_marks_lease(struct rst_marks *marks, const struct rst_held *held);
/** A rst_fallback_leased_func. */
bool rst_marks_is_leased(const char *id, void *context);

/**
 * @param refused what the client said when it refused the message; NULL: the
 *        client has the message
 */
void rst_marks_add(struct rst_marks *marks, struct rst_str id,
		   const struct rst_str *refused);
/** Marks that have not been carried out. */
unsigned int rst_marks_pending(const struct rst_marks *marks);
/** Remove and deliver. Not while a message of the store is being read. */
void rst_marks_carry_out(struct rst_marks *marks);
/** Say for each mark that has been carried out whether its message is gone or
    kept, and forget those marks. */
void rst_marks_answer(struct rst_marks *marks, struct rst_hold_server *server);

#endif
