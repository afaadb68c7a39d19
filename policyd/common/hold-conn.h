/* SPDX-License-Identifier: MIT */
/**
 * A connection to restante-hold whose preamble has been written:
 * rst_hold_dialler on a descriptor, on plain events. Octets that were read and
 * that nobody has asked for are bounded; beyond that the service has to wait.
 */
#ifndef POLICYD_COMMON_HOLD_CONN_H
#define POLICYD_COMMON_HOLD_CONN_H

#include <event2/event.h>

#include "restante/hold.h"

struct hold_conn;

/** Octets were read, or the service has gone: call hold_conn_next() until it
    returns 0. The callee may free the connection. */
typedef void hold_conn_wake_func(void *ctx);

/** @param fd owned from here on */
struct hold_conn *hold_conn_new(struct event_base *base, int fd,
				int64_t reply_timeout_ms, int64_t now_ms,
				hold_conn_wake_func *wake, void *ctx);
void hold_conn_free(struct hold_conn **conn);
/** For rst_hold_dialler_drain() and the other commands; then _flush. */
struct rst_hold_dialler *hold_conn_machine(struct hold_conn *conn);
/**
 * Takes the next event.
 *
 * @param max_body octets of a message to take at most
 * @param ev_r     views, valid until the next call
 * @return 1; 0: no event now; negative: the service has gone, or broke the
 *         protocol
 */
int hold_conn_next(struct hold_conn *conn, size_t max_body,
		   struct rst_hold_event *ev_r, int64_t now_ms);
/** Writes the commands. Where the service has gone, _next reports it. */
void hold_conn_flush(struct hold_conn *conn);
/** @return when an answer is overdue; -1: none is awaited, or we do not read */
int64_t hold_conn_deadline(const struct hold_conn *conn);

#endif
