/* SPDX-License-Identifier: MIT */
/**
 * The serving side of the hold protocol: doc/protocol-hold.md, section 1.
 *
 * The machine keeps the rules: which command may come in which state, which
 * one has to wait, and when a line may be written. The caller keeps the hold:
 * it pulls events, does the work, and answers. It may answer later; until then
 * the machine takes no further command. An answer that nothing has asked for
 * is ignored.
 *
 * The content of messages does not pass through the machine. After _message()
 * the caller writes the output of the machine, then `size` octets of its own,
 * and counts them with _body_sent(). Until the last of them the machine says
 * nothing, so no line can get into a message.
 *
 * There is no _tick: nothing here happens by time.
 */
#ifndef RESTANTE_HOLD_SERVER_H
#define RESTANTE_HOLD_SERVER_H

#include "restante/hold.h"

struct rst_hold_server_limits {
	/** ACKs and FALLBACKs without a COMMIT that is answered: one more is
	    a protocol error. The caller keeps this many in memory. */
	unsigned int max_marks;
};

enum rst_hold_server_event_type {
	/** user: open the hold; _ok() or _no() */
	RST_HOLD_SERVER_USER,
	/** any number of _holds(), then _scanned(); or _no() */
	RST_HOLD_SERVER_SCAN,
	/** take the lock and begin a listing at the first message, or _no().
	    The listing itself goes as _may_list() says. */
	RST_HOLD_SERVER_DRAIN,
	/** the same, for what the last listing did not have */
	RST_HOLD_SERVER_MORE,
	/** id: remember until COMMIT or BYE that it is to be removed */
	RST_HOLD_SERVER_ACK,
	/** id, text (the client's reply): the same; deliver it to the mailbox
	    and remove it */
	RST_HOLD_SERVER_FALLBACK,
	/** carry out the marks so far: a _gone() or _kept() for each, then
	    _done() */
	RST_HOLD_SERVER_COMMIT,
	/** take the lock and deliver all; _released() or _no() */
	RST_HOLD_SERVER_RELEASE_ALL,
	/** the same for the messages whose hold time is over */
	RST_HOLD_SERVER_RELEASE_EXPIRED,
	/** the same for the message id */
	RST_HOLD_SERVER_RELEASE_ONE,
	/** listed: carry out the marks so far, a _gone() or _kept() for each,
	    then _bye() */
	RST_HOLD_SERVER_BYE,
	/** text, for the log: the dialler broke the protocol. The machine has
	    ended. */
	RST_HOLD_SERVER_ERROR,
};

struct rst_hold_server_event {
	enum rst_hold_server_event_type type;
	/* views until the next call of _recv */
	struct rst_str user;
	struct rst_str id; /**< as rst_id_valid() has it */
	struct rst_str text;
	/** A listing has come to its END and no other one has begun: _bye()
	    says when the next message becomes due. */
	bool listed;
};

struct rst_hold_server;

struct rst_hold_server *
rst_hold_server_new(const struct rst_hold_server_limits *limits);
void rst_hold_server_free(struct rst_hold_server **s);

/**
 * Take one line. Call it and _next() in turn, until neither has anything.
 *
 * @return octets taken, a whole line; 0: more input is needed, or an event or
 *         the answer to one, or the end of a listing has to come first, or
 *         nothing more is wanted
 */
size_t rst_hold_server_recv(struct rst_hold_server *s, const char *buf,
			    size_t len);
bool rst_hold_server_next(struct rst_hold_server *s,
			  struct rst_hold_server_event *ev_r);
/** False: what the caller has read is enough, as a command in it has to wait or
    the end is near: it reads no more for now. */
bool rst_hold_server_wants_input(const struct rst_hold_server *s);
/** Nothing more will be said: the caller closes once all output is written;
    where _body_left() is not 0, at once. */
bool rst_hold_server_ended(const struct rst_hold_server *s);
/**
 * The dialler is gone. A listing, a message that is going out and an open
 * question end; nothing is said any more. The caller offers what it has read
 * and not offered yet: marks and RELEASE still come out as events; COMMIT and
 * BYE do not, and the caller carries out the marks at the end. DRAIN and MORE
 * do not either, as nobody would read the listing.
 */
void rst_hold_server_hang_up(struct rst_hold_server *s);

/* Answers. */

struct rst_hold_server_held {
	uint64_t messages, octets;
	int64_t due;
	bool full; /**< neither the hold nor the mailbox has room */
};

/** @param user the account's name, which the userdb may have changed */
void rst_hold_server_ok(struct rst_hold_server *s, struct rst_str user,
			const struct rst_hold_server_held *held);
/**
 * Refuse, and end. Possible at any time; inside a message nothing is said, as
 * a line has no place there.
 * @param code one of RST_HOLD_NO_*
 */
void rst_hold_server_no(struct rst_hold_server *s, const char *code,
			const char *text);
void rst_hold_server_gone(struct rst_hold_server *s, struct rst_str id);
void rst_hold_server_kept(struct rst_hold_server *s, struct rst_str id,
			  const char *text);
void rst_hold_server_done(struct rst_hold_server *s);
void rst_hold_server_released(struct rst_hold_server *s, uint64_t delivered,
			      uint64_t failed, int64_t due);
/** @param due negative: it cannot be told. Not said where `listed` was false */
void rst_hold_server_bye(struct rst_hold_server *s, int64_t due);
void rst_hold_server_holds(struct rst_hold_server *s, struct rst_str user,
			   uint64_t messages, uint64_t octets, int64_t due);
/** @param users looked at; @param failed could not be read */
void rst_hold_server_scanned(struct rst_hold_server *s, uint64_t users,
			     uint64_t failed);

/* The listing. */

struct rst_hold_server_message {
	uint32_t uid;
	struct rst_str id;
	uint64_t size;   /**< octets of content, with CRLF line ends */
	int64_t arrived; /**< wall-clock seconds */
	struct rst_str mail_from;
	struct rst_str rcpt_to;
};

/** True: now may come _message() or _end(), and only now. The machine must
    have no input that it would take, or its commands are heard late. */
bool rst_hold_server_may_list(const struct rst_hold_server *s);
/** Begin a message: `size` octets follow the output. */
void rst_hold_server_message(struct rst_hold_server *s,
			     const struct rst_hold_server_message *msg);
/** Octets of the current message that are not counted yet; 0: between messages.
 */
uint64_t rst_hold_server_body_left(const struct rst_hold_server *s);
/** n <= _body_left() octets were written, behind all output. */
void rst_hold_server_body_sent(struct rst_hold_server *s, uint64_t n);
/** No further message: the listing is at its END. */
void rst_hold_server_end(struct rst_hold_server *s);

const char *rst_hold_server_output(const struct rst_hold_server *s,
				   size_t *len_r);
void rst_hold_server_sent(struct rst_hold_server *s, size_t n);

#endif
