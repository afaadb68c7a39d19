/* SPDX-License-Identifier: MIT */
/**
 * What policyd's two roles say to each other, over a SOCK_SEQPACKET pair: one
 * message a packet, typed, every field bounded. The core (answers Postfix,
 * keeps the registry, talks to Dovecot) trusts no worker (faces the Internet):
 * decoding refuses a message that goes the wrong way, an unknown type, a field
 * longer than its type allows, and octets left over.
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
 * How long a worker lets the client of a dismissed session answer (SETTLING)
 * before it closes the hold, and the core waits for it: while the client is not
 * silent for longer than QUIET_MS, and for SETTLE_MS in all.
 */
#define RST_IPC_QUIET_MS 1000
#define RST_IPC_SETTLE_MS 5000

enum rst_ipc_type {
	/* core -> worker */
	/** a: hostname, b: congestion control; n: keepalive, reply time-out,
	   sign-in time-out (all ms), connections at most, retry interval (ms).
	   First of all, once. */
	RST_IPC_CONFIG = 1,
	/** comes with a descriptor: certificate chain and key, PEM; a: keys
	    for session tickets, octets */
	RST_IPC_TLS,
	/** a: SASL mechanisms now on offer, blank separated; "": none */
	RST_IPC_MECHANISMS,
	RST_IPC_AUTH_CHALLENGE, /**< session, id, a: base64 */
	RST_IPC_AUTH_DONE,      /**< session, id, verdict */
	RST_IPC_ATRN_DONE,      /**< session, id, verdict; a: user */
	/** session: something new may be held: ask for the hold */
	RST_IPC_HELD,
	/** session: comes with a descriptor of restante-hold, preamble written.
	    Whatever HELD came before it is covered by the drain to come. */
	RST_IPC_HOLD,
	RST_IPC_HOLD_FAILED, /**< session: not now; ask again later */
	RST_IPC_DISMISS,     /**< session, a: text. Close hold and client. */
	RST_IPC_SHUTDOWN,    /**< dismiss everybody and exit */
	RST_IPC_PING,        /**< to be answered with PONG */

	/* worker -> core */
	/** session, id; a: mechanism, b: initial response, c: remote IP
	    address; n[0]: remote port, n[1]: 1 when b was sent */
	RST_IPC_AUTH = 64,
	RST_IPC_AUTH_CONTINUE, /**< session, id, a: base64 */
	RST_IPC_AUTH_CANCEL,   /**< session */
	RST_IPC_ATRN,          /**< session, id, a: domains */
	/** session: wants a descriptor of its user's hold */
	RST_IPC_HOLD_OPEN,
	/** session: has closed it. The next may be opened for this user.
	    n[0]: 1 when n[1] is said: when what was left falls due, seconds
	    since 1970; 0: nothing was left */
	RST_IPC_HOLD_CLOSED,
	RST_IPC_CLOSED, /**< session: has ended; its number never comes again */
	RST_IPC_PONG,
	/** session: is dismissed, its client still owes
	    answers, which count. HOLD_CLOSED follows. */
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
 * @param msg fields that its type does not have may be left all zero
 * @return octets written; RST_ELIMIT: a field is too long for its type
 */
ssize_t rst_ipc_encode(const struct rst_ipc *msg, char out[RST_IPC_MAX]);
/** @return 0 or RST_EPROTO */
int rst_ipc_decode(const char *buf, size_t len, enum rst_ipc_side side,
		   struct rst_ipc *msg_r);
/** Does a descriptor come with messages of this type? */
bool rst_ipc_has_fd(enum rst_ipc_type type);

#endif
