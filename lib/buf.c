/* SPDX-License-Identifier: MIT */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Make room for n more octets at the end. */
static char *buf_room(struct rst_buf *buf, size_t n)
{
	if (buf->start + buf->used + n > buf->alloc) {
		if (buf->start > 0)
			memmove(buf->data, buf->data + buf->start, buf->used);
		buf->start = 0;
		if (buf->used + n > buf->alloc) {
			buf->alloc = (buf->used + n) * 2;
			buf->data = rst_realloc(buf->data, buf->alloc);
		}
	}
	return buf->data + buf->start + buf->used;
}

void rst_buf_append(struct rst_buf *buf, const void *data, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_room(buf, n), data, n);
	buf->used += n;
}

void rst_buf_str(struct rst_buf *buf, struct rst_str s)
{
	rst_buf_append(buf, s.p, s.n);
}

void rst_buf_puts(struct rst_buf *buf, const char *s)
{
	rst_buf_append(buf, s, strlen(s));
}

void rst_buf_printf(struct rst_buf *buf, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		abort();
	va_start(args, format);
	(void)vsnprintf(buf_room(buf, (size_t)n + 1), (size_t)n + 1, format,
			args);
	va_end(args);
	buf->used += (size_t)n;
}

void rst_buf_take(struct rst_buf *buf, size_t n)
{
	buf->start += n;
	buf->used -= n;
	if (buf->used == 0)
		rst_buf_clear(buf);
}

struct rst_str rst_buf_view(const struct rst_buf *buf)
{
	if (buf->used == 0)
		return RST_STR("");
	return (struct rst_str){buf->data + buf->start, buf->used};
}

void rst_buf_clear(struct rst_buf *buf)
{
	free(buf->data);
	*buf = (struct rst_buf){0};
}
