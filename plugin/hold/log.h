/* SPDX-License-Identifier: MIT */
/**
 * A file of ours beside the hold's mailbox that is appended to: tombstones,
 * attempts, keys.
 *
 * A crash may tear the last line: octets behind the last LF are ignored. The
 * caller removes them, as only it knows which other processes write: a sole
 * writer cuts it off (rst_log_cut()); processes that append at the same
 * time write an LF before each line, too; a file that can be made again is
 * begun anew (rst_log_clear()).
 */
#ifndef RST_HOLD_LOG_H
#define RST_HOLD_LOG_H

#include "buffer.h"

struct rst_log;

/**
 * Open a file for reading and appending; make it where it is missing.
 *
 * @param durable the file's entry in its directory is durable when 0 is
 *        returned, and rst_log_replace() is durable
 * @return 0, or -1: error_r
 */
int rst_log_open(const char *dir, const char *name, bool durable,
		 struct rst_log **log_r, const char **error_r);
/** Open a file for reading only; a missing file is an empty one.
    @return 0, or -1: error_r */
int rst_log_open_readonly(const char *dir, const char *name,
			  struct rst_log **log_r, const char **error_r);
void rst_log_close(struct rst_log **log);

/**
 * Append the octets of the file to data.
 *
 * @param max_size of a larger file, a part is read that is larger than this
 * @return 0, or -1: error_r
 */
int rst_log_read(struct rst_log *log, size_t max_size, buffer_t *data,
		 const char **error_r);
/** Read so many octets from an offset on. @return octets read, fewer at the
    file's end; -1: error_r */
ssize_t rst_log_read_at(struct rst_log *log, off_t offset, void *data_r,
			size_t size, const char **error_r);
/** Read the last octets of the file. @return whether it has so many */
bool rst_log_read_tail(struct rst_log *log, void *data_r, size_t size);

/** @param line without its LF; it ends at a NUL that a crash has left */
typedef void rst_log_line_func(const char *line, void *context);
/** Read the file, and call func for each whole line. @return 0, or -1: error_r
 */
int rst_log_each_line(struct rst_log *log, rst_log_line_func *func,
		      void *context, const char **error_r);

/**
 * Append.
 *
 * @param durable fdatasync() the file, too
 * @return 0, or -1: error_r, and the file may have some of it, or all
 */
int rst_log_append(struct rst_log *log, const void *data, size_t size,
		   bool durable, const char **error_r);
/**
 * Cut off what follows the whole lines that _each_line() has seen and _append()
 * has written: a torn line, or an append that failed. Only for a sole writer.
 * @return 0, or -1: error_r
 */
int rst_log_cut(struct rst_log *log, const char **error_r);
/** Make the file empty. @return 0, or -1: error_r */
int rst_log_clear(struct rst_log *log, const char **error_r);
/**
 * Write data to a new file, which then takes the place of the old one: a crash
 * leaves one of them, whole. Only for a sole writer.
 * @return 0, or -1: error_r
 */
int rst_log_replace(struct rst_log *log, const void *data, size_t size,
		    const char **error_r);

#endif
