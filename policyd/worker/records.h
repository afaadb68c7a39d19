/* SPDX-License-Identifier: MIT */
/**
 * How what is written to a client is cut into TLS records: libevent makes one
 * or more of every element of its queue.
 *
 * Nothing of a record can be used before its last octet is there. TCP sends
 * some 14 KB at first, and as little again after a pause: of records of 16 KiB
 * the first would wait for another round trip. Later they are as large as can
 * be, as each costs 22 octets and a system call.
 */
#ifndef POLICYD_WORKER_RECORDS_H
#define POLICYD_WORKER_RECORDS_H

#include <event2/buffer.h>
#include <stddef.h>
#include <stdint.h>

/** with what TLS adds, two packets on most lines */
#define RECORDS_SMALL 2800
/** so much is small */
#define RECORDS_SMALL_OCTETS (64 * 1024)
/** after so long without a word it begins anew */
#define RECORDS_PAUSE_MS 1000

/** all zeros: nothing has been written */
struct records {
	size_t octets; /**< small ones */
	int64_t last_ms;
};

/** @return 0, or -1: out of memory */
int records_write(struct records *records, struct evbuffer *output,
		  const char *data, size_t len, int64_t now_ms);
/** Each line in a record of its own. @return 0, or -1: out of memory */
int records_write_lines(struct evbuffer *output, const char *data, size_t len);

#endif
