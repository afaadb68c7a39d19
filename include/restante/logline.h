/* SPDX-License-Identifier: MIT */
/**
 * One log line: "message: key=value key=value".
 *
 * A value that is empty, or has a blank, '"' or '=', stands between quotes.
 * Control characters (C1 too), '"' and '\\' are written as \xNN; well-formed
 * UTF-8 stays. A line is cut at RST_LOGLINE_MAX, with "..." at its end. Nothing
 * is allocated.
 */
#ifndef RESTANTE_LOGLINE_H
#define RESTANTE_LOGLINE_H

#include "restante/str.h"

#define RST_LOGLINE_MAX 1024

struct rst_logline {
	char text[RST_LOGLINE_MAX + 1]; /**< always terminated, no newline */
	size_t n;
	bool has_pairs; /**< the ": " is written */
	bool is_cut;    /**< nothing more fits */
};

/** Begin a line. @param message "session opened"; it is escaped too */
void rst_logline_begin(struct rst_logline *line, const char *message);
void rst_logline_str(struct rst_logline *line, const char *key,
		     struct rst_str value);
void rst_logline_cstr(struct rst_logline *line, const char *key,
		      const char *value);
void rst_logline_u64(struct rst_logline *line, const char *key, uint64_t value);
void rst_logline_i64(struct rst_logline *line, const char *key, int64_t value);

#define RST_LOGLINE_HEAD_MAX 128

/**
 * Format the head of a line, where no syslog adds one:
 * "2023-11-26T10:00:00.123Z core[77] error: ". Cut at its end if it is too
 * long.
 *
 * @param wall_ms milliseconds since 1970, not negative
 * @param level   severity of RFC 5424, as in syslog(3)
 */
void rst_logline_head(char head_r[RST_LOGLINE_HEAD_MAX], int64_t wall_ms,
		      const char *who, int pid, int level);

#endif
