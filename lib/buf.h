/* SPDX-License-Identifier: MIT */
/** A queue of octets: appended at the end, taken from the front. */
#ifndef RST_BUF_H
#define RST_BUF_H

#include "restante/str.h"

/** All zero is an empty queue. */
struct rst_buf {
	char *data;
	size_t start; /* of the queued octets, in data */
	size_t used;  /* queued octets */
	size_t alloc;
};

void rst_buf_append(struct rst_buf *buf, const void *data, size_t n);
void rst_buf_str(struct rst_buf *buf, struct rst_str s);
void rst_buf_puts(struct rst_buf *buf, const char *s);
void rst_buf_printf(struct rst_buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** Drop n <= buf->used octets at the front. */
void rst_buf_take(struct rst_buf *buf, size_t n);
/** The queued octets; valid until the next call for this queue. */
struct rst_str rst_buf_view(const struct rst_buf *buf);
/** Empty the queue, and free its memory. */
void rst_buf_clear(struct rst_buf *buf);

#endif
