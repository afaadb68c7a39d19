/* SPDX-License-Identifier: MIT */
/**
 * One end of the pair between core and worker: SOCK_SEQPACKET, non-blocking,
 * with descriptors as SCM_RIGHTS. What cannot be written at once is queued in
 * order; a peer that lets more than 4096 messages pile up is given up.
 */
#ifndef POLICYD_COMMON_IPC_CONN_H
#define POLICYD_COMMON_IPC_CONN_H

#include <event2/event.h>

#include "restante/ipc.h"

struct ipc_conn;

/** fd: -1, or a descriptor that the callee now owns (types with one). */
typedef void ipc_conn_message_func(const struct rst_ipc *msg, int fd,
				   void *ctx);
/** The peer has gone, or broke the protocol (logged). Free the connection
    here or later; no other callback comes after this one. */
typedef void ipc_conn_closed_func(void *ctx);

/**
 * @param fd   owned from here on
 * @param side which way the messages go that we receive
 */
struct ipc_conn *ipc_conn_new(struct event_base *base, int fd,
			      enum rst_ipc_side side,
			      ipc_conn_message_func *message,
			      ipc_conn_closed_func *closed, void *ctx);
/** May be called inside a callback, also inside `closed`. */
void ipc_conn_free(struct ipc_conn **conn);
/** @param fd -1, or a descriptor that goes along and is closed here */
void ipc_conn_send(struct ipc_conn *conn, const struct rst_ipc *msg, int fd);

#endif
