/* SPDX-License-Identifier: MIT */
/**
 * One end of the pair between core and worker: SOCK_SEQPACKET, non-blocking,
 * with descriptors as SCM_RIGHTS. A message that cannot be written at once is
 * queued, in order; when 4096 messages wait, the peer is given up.
 */
#ifndef POLICYD_COMMON_IPC_CONN_H
#define POLICYD_COMMON_IPC_CONN_H

#include <event2/event.h>

#include "restante/ipc.h"

struct ipc_conn;

/** @param fd the descriptor of types that carry one, owned by the callee; or -1
 */
typedef void ipc_conn_message_func(const struct rst_ipc *msg, int fd,
				   void *ctx);
/** The peer has gone, or broke the protocol (logged). No callback follows. The
    callee frees the connection, now or later. */
typedef void ipc_conn_closed_func(void *ctx);

/**
 * @param fd   owned from here on
 * @param side direction of the messages that we receive
 */
struct ipc_conn *ipc_conn_new(struct event_base *base, int fd,
			      enum rst_ipc_side side,
			      ipc_conn_message_func *message,
			      ipc_conn_closed_func *closed, void *ctx);
/** May be called inside either callback. */
void ipc_conn_free(struct ipc_conn **conn);
/** @param fd a descriptor to send along, closed here; or -1 */
void ipc_conn_send(struct ipc_conn *conn, const struct rst_ipc *msg, int fd);

#endif
