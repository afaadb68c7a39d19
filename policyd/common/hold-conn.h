/* SPDX-License-Identifier: MIT */
/**
 * The dialling side of the hold protocol on a descriptor: struct
 * rst_hold_dialler, driven by plain events. The preamble has been written
 * before (core/hold-dial.h). What is read and not yet asked for is bounded;
 * beyond that the service has to wait.
 */
#ifndef POLICYD_COMMON_HOLD_CONN_H
#define POLICYD_COMMON_HOLD_CONN_H

#include <event2/event.h>

#include "restante/hold.h"

struct hold_conn;

struct hold_conn_config {
	int64_t reply_timeout_ms;
	/** octets read ahead, and at a stretch; at least
	    2 * RST_HOLD_LINE_MAX */
	size_t input_max;
	bool scan; /**< the preamble was that of SCAN */
};

/** Something was read, or the service has gone: call hold_conn_next() until
    it gives nothing. May free the connection. */
typedef void hold_conn_wake_func(void *ctx);

/** @param fd owned from here on */
struct hold_conn *hold_conn_new(struct event_base *base, int fd,
				const struct hold_conn_config *config,
				int64_t now_ms, hold_conn_wake_func *wake,
				void *ctx);
void hold_conn_free(struct hold_conn **conn);
/** For rst_hold_dialler_drain() and the other commands; then _flush. */
struct rst_hold_dialler *hold_conn_machine(struct hold_conn *conn);
/**
 * Take the next event.
 *
 * @param max_body no more octets of a message than this are taken
 * @param ev_r     views until the next call
 * @return 1; 0: nothing now; RST_ETEMP: the service has gone; RST_EPROTO or
 *         RST_ELIMIT: it does not speak the hold protocol
 */
int hold_conn_next(struct hold_conn *conn, size_t max_body,
		   struct rst_hold_event *ev_r, int64_t now_ms);
/** Write the commands. If the service has gone, hold_conn_next() says so. */
void hold_conn_flush(struct hold_conn *conn);
/** When an answer is overdue; -1: never, as none is awaited, or as the last
    hold_conn_next() left octets of a message for want of max_body. */
int64_t hold_conn_deadline(const struct hold_conn *conn);

#endif
