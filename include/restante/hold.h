/* SPDX-License-Identifier: MIT */
/**
 * The hold protocol, between policyd and the Dovecot service restante-hold,
 * and the "held" note that the plugin sends to policyd. See
 * doc/protocol-hold.md, which a stranger could implement from.
 *
 * Lines end in LF; fields are separated by TAB; within a field NUL, SOH, TAB,
 * LF and CR are written as SOH and one of '0' '1' 't' 'n' 'r' (Dovecot's
 * str_tabescape()). First the peer that dials:
 *
 *   C: VERSION <TAB> restante-hold <TAB> 1 <TAB> 0
 *   C: USER <TAB> name                        once, binds the connection
 *   S: VERSION <TAB> restante-hold <TAB> 1 <TAB> 0
 *   S: OK <TAB> messages <TAB> octets <TAB> due      due: wall-clock second
 *                                             of the next fallback, 0: none
 *   S: NO <TAB> code <TAB> text               and closes; code: see below
 *
 *   C: DRAIN        take the user's lock, then every message, oldest first
 *   S: MSG <TAB> uid <TAB> id <TAB> size <TAB> arrived <TAB> from <TAB> to
 *      <size octets, CRLF line ends, envelope and LMTP's own header lines cut>
 *   S: END <TAB> n
 *   C: MORE         what has come since; answered like DRAIN
 *   C: ACK <TAB> id           it is durable at the client: remove it
 *   C: FALLBACK <TAB> id <TAB> reply     the client refused it: to the mailbox
 *   C: COMMIT       carry out the ACKs and FALLBACKs so far
 *   S: GONE <TAB> id          tombstone durable and expunged; never again
 *   S: KEPT <TAB> id <TAB> text    it could not be removed or delivered now
 *   S: DONE                   after the GONEs and KEPTs of one COMMIT
 *   C: RELEASE <TAB> EXPIRED|ALL|<id>    fallback delivery without a drain
 *   S: RELEASED <TAB> delivered <TAB> failed <TAB> due
 *   C: BYE          COMMIT, drop the lock
 *   S: BYE [<TAB> due]        and closes; after a DRAIN
 *
 * Without USER, and only for a privileged service:
 *   C: SCAN
 *   S: HOLDS <TAB> user <TAB> messages <TAB> octets <TAB> due
 *   S: END <TAB> n [<TAB> failed]   users seen, and those that cannot be read
 *
 * A closed connection is BYE without the COMMIT of what was not yet sent;
 * ACKs already read are carried out.
 */
#ifndef RESTANTE_HOLD_H
#define RESTANTE_HOLD_H

#include <sys/types.h>

#include "restante/envelope.h"

#define RST_HOLD_LINE_MAX 8192
#define RST_HOLD_FIELDS_MAX 8
/** Octets of a user's name: of a longer one nothing is held. (Dovecot's auth
    hangs up on who asks for one of about twice that.) */
#define RST_HOLD_USER_MAX 512

/** The codes of NO. */
#define RST_HOLD_NO_USER "NOUSER" /**< Dovecot does not know the name */
#define RST_HOLD_NO_ENROLLED "NOTENROLLED" /**< knows it; no mail is held */
#define RST_HOLD_NO_BUSY "BUSY"            /**< somebody else has the lock */
#define RST_HOLD_NO_TEMP "TEMPFAIL"        /**< storage trouble; see text */
#define RST_HOLD_NO_PROTO "PROTOCOL"       /**< not now, or not at all */

/**
 * Split a line into its fields, unescaping in place.
 * @param line  without LF; written to
 * @return number of fields; those not there are empty. RST_EPROTO: too many, a
 *         bad escape, or NUL, LF or CR not escaped
 */
ssize_t rst_hold_split(char *line, size_t len,
		       struct rst_str fields_r[RST_HOLD_FIELDS_MAX]);
/**
 * Join fields to a line with its LF.
 * @param out room for 2 * all octets + fields
 * @return octets written
 */
size_t rst_hold_join(const struct rst_str *fields, size_t count, char *out);

/**
 * The first octets of a connection for user, "VERSION...USER...": written by
 * whoever dials, who may then hand the descriptor to a process that is not
 * trusted to choose the user.
 * @return a string to be freed with free()
 */
char *rst_hold_preamble(struct rst_str user, size_t *len_r);
/** The same for SCAN. */
char *rst_hold_scan_preamble(size_t *len_r);

/* The dialling side of a connection whose preamble has been written. */

enum rst_hold_event_type {
	RST_HOLD_OPENED,  /**< messages, octets, due */
	RST_HOLD_REFUSED, /**< code, text: the connection ends */
	/** a message starts: id, mail_from, rcpt_to, size, arrived */
	RST_HOLD_MESSAGE,
	RST_HOLD_OCTETS,      /**< octets of it */
	RST_HOLD_MESSAGE_END, /**< it is whole */
	RST_HOLD_DRAINED,     /**< END of DRAIN or MORE */
	RST_HOLD_GONE,        /**< id: removed; may be forgotten */
	RST_HOLD_KEPT,        /**< id, text: still held */
	RST_HOLD_COMMITTED,   /**< DONE */
	RST_HOLD_RELEASED,    /**< messages delivered, failed, due */
	RST_HOLD_USER,        /**< of SCAN: user, messages, octets, due */
	RST_HOLD_SCANNED,     /**< END of SCAN; messages: users seen; failed */
	RST_HOLD_CLOSED,      /**< BYE: due */
};

struct rst_hold_event {
	enum rst_hold_event_type type;
	/* views until the next call of _recv or _next */
	struct rst_str id;
	struct rst_str user;
	struct rst_str mail_from;
	struct rst_str rcpt_to;
	struct rst_str octets_view;
	struct rst_str code;
	struct rst_str text;
	uint64_t size;
	int64_t arrived; /**< wall-clock seconds */
	uint64_t messages;
	uint64_t octets;
	uint64_t failed;
	int64_t due; /**< wall-clock seconds; 0: nothing held; -1: not said */
};

struct rst_hold_dialler;

struct rst_hold_dialler_limits {
	int64_t reply_timeout_ms; /**< _deadline: an answer is overdue */
};

/** @param scan the preamble was that of SCAN */
struct rst_hold_dialler *
rst_hold_dialler_new(const struct rst_hold_dialler_limits *limits, bool scan,
		     int64_t now_ms);
void rst_hold_dialler_free(struct rst_hold_dialler **h);
/**
 * One event is made per call: pull it before offering more. Inside a message
 * offer no more than can be used: what is taken comes out as OCTETS. (The
 * last OCTETS, and the MESSAGE without any, have a MESSAGE_END behind them:
 * call _next until it says no.) A line is taken whole or not at all; offer it
 * again with more.
 *
 * @return octets taken; 0: more needed, or an event is waiting; RST_EPROTO,
 *         RST_ELIMIT
 */
ssize_t rst_hold_dialler_recv(struct rst_hold_dialler *h, const char *buf,
			      size_t len, int64_t now_ms);
bool rst_hold_dialler_next(struct rst_hold_dialler *h,
			   struct rst_hold_event *ev_r);
/** Octets of the current message still to come; 0 between messages. */
uint64_t rst_hold_dialler_body_left(const struct rst_hold_dialler *h);
/** Is an answer to DRAIN or MORE still coming? */
bool rst_hold_dialler_draining(const struct rst_hold_dialler *h);

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
/** When an awaited answer is overdue: the driver then closes; -1: none. Counted
    from the last octet taken, so a driver that itself leaves input waiting
    (its client is slow) does not ask. There is no _tick: nothing else happens
    by time here. */
int64_t rst_hold_dialler_deadline(const struct rst_hold_dialler *h);

/**
 * The note, one datagram: HELD <TAB> user <TAB> id <TAB> due <LF>. May be
 * lost. `id` is empty and due 0 when somebody only asks for a push.
 */
#define RST_NOTE_MAX 1024

struct rst_note {
	struct rst_str user;
	struct rst_str id;
	int64_t due; /**< wall-clock second of the fallback; 0: not said */
};

/** @return octets written to out, or RST_ELIMIT */
ssize_t rst_note_format(const struct rst_note *note, char out[RST_NOTE_MAX]);
/** @param buf written to. @return 0 or RST_EPROTO */
int rst_note_parse(char *buf, size_t len, struct rst_note *note_r);

#endif
