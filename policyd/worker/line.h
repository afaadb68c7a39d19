/* SPDX-License-Identifier: MIT */
/**
 * The line to one client: a bufferevent with TLS, and how octets are put on it.
 * The session above decides what is said; this module bounds what is queued on
 * either side, cuts TLS records, paces TCP, and closes in the right order.
 *
 * Four measures, from the session down to the network:
 *
 * - At most LINE_OUTPUT_MAX octets are queued in the bufferevent. A session
 *   that is replaced cannot take these back; it can take back what is still in
 *   its push machine.
 * - libevent makes one TLS record or more of every element of its queue, and
 *   the client cannot use a record before its last octet is there. TCP sends
 *   some 14 KB at first, and as little again after a pause: of records of
 *   16 KiB the first would wait for another round trip. So the first records
 *   are small; later ones are as large as can be, as each costs 22 octets and a
 *   system call.
 * - The kernel holds unsent no more than the line carries in a tenth of a
 *   second (TCP_NOTSENT_LOWAT). What it holds cannot be taken back either. When
 *   it has nothing left before policyd has come to write again, time is lost;
 *   and BBR, which believes no measurement of such a time, goes on sending
 *   nearly three times as fast as the line is.
 * - On a new connection BBR paces everything after the second packet, as it
 *   does not know the line yet, so short sessions are faster without it. The
 *   configured congestion control is set when there is much to send.
 */
#ifndef POLICYD_WORKER_LINE_H
#define POLICYD_WORKER_LINE_H

#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stdint.h>

#include "restante/str.h"

/** Octets queued in the bufferevent; the session is asked for more when half of
    them have left. */
#define LINE_OUTPUT_MAX (32 * 1024)
/** Octets read that the session has not taken; above this none are read. */
#define LINE_INPUT_MAX (64 * 1024)
/** The kernel's limit of unsent octets, at first and at least; at most. */
#define LINE_UNSENT_MIN (32 * 1024)
#define LINE_UNSENT_MAX (512 * 1024)
/** "Much to send": more than the 10 packets that TCP sends at once on a new
    connection. */
#define LINE_MUCH (24 * 1024)

struct line {
	struct bufferevent *bev; /**< NULL: closed */
	const char *congestion;  /**< "": none to be set */
	bool much;               /**< `congestion` was set */
	bool shut;               /**< line_shut() was called */
	struct {
		size_t octets; /**< in small records since the last pause */
		int64_t last_ms;
	} records;
	struct {
		int64_t since_ms; /**< begin of the current measurement */
		uint64_t octets;  /**< moved since then */
		unsigned int limit;
	} unsent;
};

/**
 * Sets the options of the accepted socket, and begins to read.
 *
 * @param bev        owned until line_close(); its callbacks are the caller's
 * @param congestion congestion control to be set when there is much to send,
 *                   or ""; borrowed
 * @param silence_ms time-out of octets that the client's TCP does not
 *                   acknowledge; <= 0: the kernel's
 */
void line_init(struct line *line, struct bufferevent *bev,
	       const char *congestion, int64_t silence_ms);
/** Closes the line, if it is open: what has not left is dropped. */
void line_close(struct line *line);

/* ---- input */

/** Octets read and not taken yet, at most LINE_INPUT_MAX. Valid until the next
    call. */
struct rst_str line_input(struct line *line);
/** @param n octets that the session has used; SIZE_MAX: drop all that wait */
void line_take(struct line *line, size_t n);
/** Stops reading while more than LINE_INPUT_MAX octets wait, and goes on when
    they were taken. */
void line_restrain(struct line *line);

/* ---- output */

/** @return octets that may be written until LINE_OUTPUT_MAX are queued */
size_t line_room(const struct line *line);
void line_write(struct line *line, const char *data, size_t len,
		int64_t now_ms);
/** Writes each text line as a TLS record of its own: fetchmail reads one text
    line of a record and then waits in select() for the next record. */
void line_write_lines(struct line *line, const char *data, size_t len);

/** Begins to measure how much the line carries: mail follows. */
void line_measure(struct line *line, int64_t now_ms);
/**
 * Adapts TCP to OCTETS of mail that were written. They may not have reached the
 * kernel yet, but no more than LINE_OUTPUT_MAX of them have not.
 */
void line_moved(struct line *line, size_t octets, int64_t now_ms);

/* ---- the end */

/** Calls the write callback only when nothing is queued any more: the last
    words are on their way. */
void line_finish(struct line *line);
/**
 * Says that nothing more will be written, once all octets have left: TLS's
 * close_notify, then a FIN. The client's octets are read on, into nothing:
 * those that come to a closed socket would make the kernel take back what the
 * client has not read yet.
 *
 * @return false: the line is broken
 */
bool line_shut(struct line *line);
/** Is nothing queued? */
bool line_is_flushed(const struct line *line);
/** Makes line_close() reset the connection: octets that the kernel has not
    sent, or would send again, are dropped. */
void line_reset(struct line *line);

#endif
