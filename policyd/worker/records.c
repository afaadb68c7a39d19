/* SPDX-License-Identifier: MIT */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "restante/str.h"

static void free_piece(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

/* An element of its own, whatever is queued before and after. */
static int add_piece(struct evbuffer *output, const char *data, size_t len)
{
	char *piece = rst_str_dup((struct rst_str){data, len});

	if (evbuffer_add_reference(output, piece, len, free_piece, piece) == 0)
		return 0;
	free(piece);
	return -1;
}

int records_write(struct records *records, struct evbuffer *output,
		  const char *data, size_t len, int64_t now_ms)
{
	if (now_ms - records->last_ms >= RECORDS_PAUSE_MS)
		records->octets = 0;
	records->last_ms = now_ms;
	while (len > 0 && records->octets < RECORDS_SMALL_OCTETS) {
		size_t n = len < RECORDS_SMALL ? len : RECORDS_SMALL;

		if (add_piece(output, data, n) < 0)
			return -1;
		records->octets += n;
		data += n;
		len -= n;
	}
	return len > 0 ? evbuffer_add(output, data, len) : 0;
}

/*
 * fetchmail reads one line of a TLS record and then waits in select() for the
 * next record.
 */
int records_write_lines(struct evbuffer *output, const char *data, size_t len)
{
	while (len > 0) {
		const char *lf = memchr(data, '\n', len);
		size_t n = lf == NULL ? len : (size_t)(lf - data) + 1;

		if (add_piece(output, data, n) < 0)
			return -1;
		data += n;
		len -= n;
	}
	return 0;
}
