/* SPDX-License-Identifier: MIT */
/** The serving side of the control protocol: doc/protocol-control.md. */
#ifndef RESTANTE_CONTROL_H
#define RESTANTE_CONTROL_H

#include <sys/types.h>

#include "restante/status.h"
#include "restante/str.h"

/** The longest line, with its LF. */
#define RST_CONTROL_LINE_MAX 1024

enum rst_control_event_type {
	RST_CONTROL_KICK,    /**< answer with _kicked() */
	RST_CONTROL_WHO,     /**< answer with _session(), and _end() at last */
	RST_CONTROL_HOLDERS, /**< answer with _holders() */
};

struct rst_control_event {
	enum rst_control_event_type type;
	struct rst_str user; /**< KICK; a view until the next call of _recv or
				_free */
};

/** A session as WHO shows it. */
struct rst_control_session {
	struct rst_str user, remote;
	int64_t since; /**< wall-clock seconds */
	uint64_t epoch;
	bool draining;
};

struct rst_control;

struct rst_control *rst_control_new(void);
void rst_control_free(struct rst_control **c);
/**
 * Takes one line at a time, and nothing before the last one is answered.
 *
 * @return octets taken; 0: more needed, an answer is due, or it has ended
 */
size_t rst_control_recv(struct rst_control *c, const char *buf, size_t len);
bool rst_control_next(struct rst_control *c, struct rst_control_event *ev_r);
void rst_control_kicked(struct rst_control *c, uint64_t sessions);
void rst_control_session(struct rst_control *c,
			 const struct rst_control_session *session);
void rst_control_end(struct rst_control *c);
/** @param path the holders directory */
void rst_control_holders(struct rst_control *c, struct rst_str path);
const char *rst_control_output(const struct rst_control *c, size_t *len_r);
void rst_control_sent(struct rst_control *c, size_t n);
/** After a line that was none of the protocol: what is to be sent is the end.
 */
bool rst_control_ended(const struct rst_control *c);

#endif
