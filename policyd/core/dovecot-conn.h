/* SPDX-License-Identifier: MIT */
/**
 * A connection to a socket of Dovecot's, on plain events. It joins a machine of
 * lib/ to a descriptor, and is dialled again whenever it was lost: the delay
 * doubles with each failure.
 */
#ifndef POLICYD_CORE_DOVECOT_CONN_H
#define POLICYD_CORE_DOVECOT_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <event2/event.h>

struct dovecot_conn;

/** The machine, and the program around it. `ctx` is dovecot_conn_new()'s. None
    of these frees the connection. */
struct dovecot_conn_ops {
	/** Octets kept of a line that is not whole: twice the longest one. */
	size_t input_max;
	/** Octets read before other events get their turn. */
	size_t read_max;
	/** Why a connection is lost whose recv() failed. */
	const char *fault;
	/** It is connected: makes the machine. */
	void (*opened)(void *ctx);
	/** It is closed, for whatever reason: frees the machine. */
	void (*closed)(void *ctx);
	/** After closed(), or after an attempt that failed. It will be dialled
	    again. @param error an errno; 0: Dovecot closed it */
	void (*lost)(int error, const char *text, void *ctx);
	/** Takes octets and pulls the events.
	    @return octets taken; 0: more are needed; negative: a fault */
	ssize_t (*recv)(const char *buf, size_t len, void *ctx);
	/** NULL, or: all input is taken. May close the connection. */
	void (*settled)(void *ctx);
	const char *(*output)(size_t *len_r, void *ctx);
	void (*sent)(size_t len, void *ctx);
	/** @return -1: no timer */
	int64_t (*deadline)(void *ctx);
	void (*tick)(int64_t now_ms, void *ctx);
};

/** It is not dialled yet. @param path borrowed, as is ops */
struct dovecot_conn *dovecot_conn_new(struct event_base *base, const char *path,
				      const struct dovecot_conn_ops *ops,
				      void *ctx);
void dovecot_conn_free(struct dovecot_conn **conn);

bool dovecot_conn_is_open(const struct dovecot_conn *conn);
/** Dials, unless it is open or will be dialled anyway. The answer comes from
   the loop. */
void dovecot_conn_dial(struct dovecot_conn *conn);
/** Closes it and connects at once, or loses it. */
void dovecot_conn_renew(struct dovecot_conn *conn);
/** Closes it. It is not dialled again before the caller says so. */
void dovecot_conn_close(struct dovecot_conn *conn);
/** The handshake is over: the next delay is the shortest again. */
void dovecot_conn_ready(struct dovecot_conn *conn);
/** The machine was told something: writes its output, and sets the timer. */
void dovecot_conn_flush(struct dovecot_conn *conn);

#endif
