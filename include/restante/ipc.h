/* SPDX-License-Identifier: MIT */
/**
 * The messages between policyd's core and its workers, over a SOCK_SEQPACKET
 * pair: one typed message in a packet, every field bounded. The core (answers
 * Postfix, keeps the registry, talks to Dovecot) trusts no worker (faces the
 * Internet): decoding refuses a message that goes the wrong way, an unknown
 * type, a field longer than its type allows, and octets left over.
 *
 * Layout, little endian: u16 type, u16 verdict, u32 id, u64 session, i64 n[6],
 * then each of a, b and c: u32 length, octets. `session` is 0 in the types that
 * do not name it below, and only there. Both ends are always the same binary.
 */
#ifndef RESTANTE_IPC_H
#define RESTANTE_IPC_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

#define RST_IPC_MAX 32768
#define RST_IPC_NUMBERS 6

/**
 * How long the client of a dismissed session may still answer (SETTLING): until
 * it has been silent for QUIET_MS, and for SETTLE_MS in all. Then the worker
 * closes the hold, for which the core waits. doc/protocol-xrestante.md,
 * section 2.
 */
#define RST_IPC_QUIET_MS 1000
#define RST_IPC_SETTLE_MS 5000

enum rst_ipc_type {
	/* core -> worker */
	/** the first message, sent once. a: hostname, b: congestion control;
	    n: keepalive, reply time-out, sign-in time-out (all ms), connections
	    at most, retry interval (ms) */
	RST_IPC_CONFIG = 1,
	/** with a descriptor: certificate chain and key, PEM; a: keys for TLS
	    session tickets, octets */
	RST_IPC_TLS,
	/** a: the SASL mechanisms on offer now, blank separated; "": none */
	RST_IPC_MECHANISMS,
	RST_IPC_AUTH_CHALLENGE, /**< session, id, a: base64 */
	RST_IPC_AUTH_DONE,      /**< session, id, verdict */
	RST_IPC_ATRN_DONE,      /**< session, id, verdict; a: user */
	/** session: mail may have arrived; ask with HOLD_OPEN */
	RST_IPC_HELD,
	/** session; with a descriptor of restante-hold, preamble written. The
	    drain to come covers every HELD that came before. */
	RST_IPC_HOLD,
	RST_IPC_HOLD_FAILED, /**< session: no hold now; ask again later */
	RST_IPC_DISMISS,     /**< session, a: text; close hold and client */
	RST_IPC_SHUTDOWN,    /**< dismiss every session and exit */
	RST_IPC_PING,        /**< answer with PONG */

	/* worker -> core */
	/** session, id; a: mechanism, b: initial response, c: remote IP
	    address; n[0]: remote port, n[1]: 1 when b was sent */
	RST_IPC_AUTH = 64,
	RST_IPC_AUTH_CONTINUE, /**< session, id, a: base64 */
	RST_IPC_AUTH_CANCEL,   /**< session */
	RST_IPC_ATRN,          /**< session, id, a: domains */
	/** session: send a descriptor of its user's hold */
	RST_IPC_HOLD_OPEN,
	/** session: the descriptor is closed, and another session of this user
	    may get one. n[0]: 1 when n[1] is given: when the mail that was left
	    falls due, seconds since 1970; 0: none was left */
	RST_IPC_HOLD_CLOSED,
	RST_IPC_CLOSED, /**< session: it has ended; the number is not reused */
	RST_IPC_PONG,
	/** session: it is dismissed, and its client still owes answers, which
	    count. HOLD_CLOSED follows. */
	RST_IPC_SETTLING,
};

enum rst_ipc_side {
	RST_IPC_TO_WORKER,
	RST_IPC_TO_CORE
};

struct rst_ipc {
	enum rst_ipc_type type;
	uint64_t session;
	uint32_t id;
	enum rst_verdict verdict;
	int64_t n[RST_IPC_NUMBERS];
	struct rst_str a, b, c; /**< decoded: views into the packet */
};

/**
 * @param msg a field that its type does not have may be left all zero
 * @return octets written; RST_ELIMIT: a field is too long for its type
 */
ssize_t rst_ipc_encode(const struct rst_ipc *msg, char out[RST_IPC_MAX]);
/** @return 0 or RST_EPROTO */
int rst_ipc_decode(const char *buf, size_t len, enum rst_ipc_side side,
		   struct rst_ipc *msg_r);
/** Does a descriptor come with messages of this type? */
bool rst_ipc_has_fd(enum rst_ipc_type type);

#endif
