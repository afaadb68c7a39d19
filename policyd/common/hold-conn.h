/* SPDX-License-Identifier: MIT */
/**
 * A connection to restante-hold whose preamble has been written: the rst_hold
 * machine on a descriptor, on plain events. What is read and not yet asked for
 * is bounded, and then the service waits.
 */
#ifndef POLICYD_COMMON_HOLD_CONN_H
#define POLICYD_COMMON_HOLD_CONN_H

#include <event2/event.h>

#include "restante/hold.h"

struct hold_conn;

/** Something was read, or the service has gone: call hold_conn_next() until
    it gives nothing. May free the connection. */
typedef void hold_conn_wake_func(void *ctx);

/** @param fd owned from here on */
struct hold_conn *hold_conn_new(struct event_base *base, int fd,
				int64_t reply_timeout_ms, int64_t now_ms,
				hold_conn_wake_func *wake, void *ctx);
void hold_conn_free(struct hold_conn **conn);
/** For rst_hold_dialler_drain() and the other commands. */
struct rst_hold_dialler *hold_conn_machine(struct hold_conn *conn);
/**
 * Take the next event.
 *
 * @param max_body no more octets of a message than this are taken
 * @param ev_r     views until the next call
 * @return 1; 0: nothing now; negative: the service has gone or is broken
 */
int hold_conn_next(struct hold_conn *conn, size_t max_body,
		   struct rst_hold_event *ev_r, int64_t now_ms);
/** Write the commands. That the service has gone is found by _next. */
void hold_conn_flush(struct hold_conn *conn);
/** When an answer is overdue; -1 where it is we who do not read. */
int64_t hold_conn_deadline(const struct hold_conn *conn);

#endif
