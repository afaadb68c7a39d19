/* SPDX-License-Identifier: MIT */
/**
 * The hold protocol, spoken by policyd and operator's tools with the Dovecot
 * service restante-hold: the preamble, and the dialling side. The serving side
 * is in restante/hold-server.h. Also the note by which the plugin tells policyd
 * that something was held.
 *
 * Source: doc/protocol-hold.md, from which a stranger could implement them.
 */
#ifndef RESTANTE_HOLD_H
#define RESTANTE_HOLD_H

#include <sys/types.h>

#include "restante/envelope.h"

/** Octets of a line with its LF. */
#define RST_HOLD_LINE_MAX 8192
/** Octets of a user's name: for a longer one nothing is held. (Dovecot's auth
    closes the connection on which a name of about twice that is looked up.) */
#define RST_HOLD_USER_MAX 512

/** The codes of NO. */
#define RST_HOLD_NO_USER "NOUSER" /**< Dovecot does not know the name */
#define RST_HOLD_NO_ENROLLED "NOTENROLLED" /**< knows it; no mail is held */
#define RST_HOLD_NO_BUSY "BUSY"      /**< another connection has the lock */
#define RST_HOLD_NO_TEMP "TEMPFAIL"  /**< storage trouble; see text */
#define RST_HOLD_NO_LIST "NOLIST"    /**< SCAN: the users cannot be listed */
#define RST_HOLD_NO_PROTO "PROTOCOL" /**< command not valid now, or unknown */

/**
 * The first octets of a connection for user: VERSION and USER. Whoever dials
 * writes them, and may then hand the descriptor to a process that is not
 * trusted to choose the user.
 * @return a terminated string of *len_r octets, to be freed with free()
 */
char *rst_hold_preamble(struct rst_str user, size_t *len_r);
/** The same for SCAN. */
char *rst_hold_scan_preamble(size_t *len_r);

/* The dialling side of a connection whose preamble has been written. */

enum rst_hold_event_type {
	RST_HOLD_OPENED,  /**< messages, octets, due, user, full */
	RST_HOLD_REFUSED, /**< code, text: the connection ends */
	/** a message starts: id, mail_from, rcpt_to, size, arrived */
	RST_HOLD_MESSAGE,
	RST_HOLD_OCTETS,      /**< octets_view: a part of its content */
	RST_HOLD_MESSAGE_END, /**< the message is whole */
	RST_HOLD_DRAINED,     /**< END of DRAIN or MORE; messages: listed */
	RST_HOLD_GONE,        /**< id: removed; may be forgotten */
	RST_HOLD_KEPT,        /**< id, text: still held */
	RST_HOLD_COMMITTED,   /**< DONE */
	RST_HOLD_RELEASED,    /**< messages: delivered; failed, due */
	RST_HOLD_USER,        /**< of SCAN: user, messages, octets, due */
	RST_HOLD_SCANNED,     /**< END of SCAN; messages: users seen; failed */
	RST_HOLD_CLOSED,      /**< BYE: due */
};

struct rst_hold_event {
	enum rst_hold_event_type type;
	/* views until the next call of _recv or _next */
	struct rst_str id;
	struct rst_str user; /**< of OPENED: empty where it is not said */
	struct rst_str mail_from;
	struct rst_str rcpt_to;
	struct rst_str octets_view; /**< at most RST_HOLD_LINE_MAX octets */
	struct rst_str code;
	struct rst_str text;
	uint64_t size;
	int64_t arrived; /**< wall-clock seconds */
	uint64_t messages;
	uint64_t octets;
	uint64_t failed;
	int64_t due; /**< wall-clock seconds; 0: nothing held; -1: not said */
	bool full;   /**< neither the hold nor the mailbox has room */
};

struct rst_hold_dialler;

struct rst_hold_dialler_limits {
	/** an awaited answer is overdue after this time without an octet */
	int64_t reply_timeout_ms;
};

/** @param scan the preamble was that of SCAN */
struct rst_hold_dialler *
rst_hold_dialler_new(const struct rst_hold_dialler_limits *limits, bool scan,
		     int64_t now_ms);
void rst_hold_dialler_free(struct rst_hold_dialler **h);
/**
 * Take a line, or a part of a message. Each call makes at most one event: the
 * caller pulls it before it offers more. A line is taken whole or not at all;
 * the caller offers it again with more. Inside a message the caller offers no
 * more than it can use, as all that is taken comes out as OCTETS. (The last
 * OCTETS, and a MESSAGE without any, have a MESSAGE_END behind them: the
 * caller calls _next until it returns false.)
 *
 * @return octets taken; 0: more input is needed, or an event is waiting;
 *         RST_EPROTO, RST_ELIMIT (a line is too long): close
 */
ssize_t rst_hold_dialler_recv(struct rst_hold_dialler *h, const char *buf,
			      size_t len, int64_t now_ms);
bool rst_hold_dialler_next(struct rst_hold_dialler *h,
			   struct rst_hold_event *ev_r);
/** Octets of the current message still to come; 0 between messages. */
uint64_t rst_hold_dialler_body_left(const struct rst_hold_dialler *h);
/** Is an answer to DRAIN or MORE still coming? */
bool rst_hold_dialler_draining(const struct rst_hold_dialler *h);

/* The commands: protocol-hold.md, 1.4. The machine does not check their order.
 */

void rst_hold_dialler_drain(struct rst_hold_dialler *h, int64_t now_ms);
void rst_hold_dialler_more(struct rst_hold_dialler *h, int64_t now_ms);
void rst_hold_dialler_ack(struct rst_hold_dialler *h, struct rst_str id);
void rst_hold_dialler_fallback(struct rst_hold_dialler *h, struct rst_str id,
			       struct rst_str reply);
void rst_hold_dialler_commit(struct rst_hold_dialler *h, int64_t now_ms);
/** what: "EXPIRED", "ALL" or an id */
void rst_hold_dialler_release(struct rst_hold_dialler *h, struct rst_str what,
			      int64_t now_ms);
void rst_hold_dialler_bye(struct rst_hold_dialler *h, int64_t now_ms);

const char *rst_hold_dialler_output(const struct rst_hold_dialler *h,
				    size_t *len_r);
void rst_hold_dialler_sent(struct rst_hold_dialler *h, size_t n);
/** When an awaited answer is overdue, and the driver closes; -1: none is
    awaited. The time counts from the last octet that was taken, so a driver
    that leaves input waiting (its client is slow) does not ask. There is no
    _tick: nothing else happens by time here. */
int64_t rst_hold_dialler_deadline(const struct rst_hold_dialler *h);

#endif
