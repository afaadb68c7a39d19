/* SPDX-License-Identifier: MIT */
/**
 * Which session may have a user's hold: the enrolment check behind ATRN, the
 * registration, the takeover by a newer sign-in, and signing out.
 */
#ifndef POLICYD_CORE_TAKEOVER_H
#define POLICYD_CORE_TAKEOVER_H

#include "session.h"

/* Messages of a worker about one session. */
void takeover_atrn(struct session *session, const struct rst_ipc *msg);
void takeover_hold_open(struct session *session, const struct rst_ipc *msg);
void takeover_settling(struct session *session, const struct rst_ipc *msg);
void takeover_hold_closed(struct session *session, const struct rst_ipc *msg);

/** @return the user's REGISTERED session, or NULL */
struct session *takeover_newest(struct sessions *all, struct rst_str user);
/**
 * End a session, and tell its client why. Its hold is closed as at a takeover.
 * @return false: it is not REGISTERED
 */
bool takeover_sign_out(struct session *session, const char *text);
/** The session ends: it loses its registration and its hold. */
void takeover_leave(struct session *session);
/** Callback of the timer check_timer; its argument is the struct sessions. */
void takeover_check_time(evutil_socket_t fd, short what, void *sessions);

#endif
