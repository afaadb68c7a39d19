/* SPDX-License-Identifier: MIT */
/**
 * Memory that keeps short-lived large blocks out of the heap.
 *
 * OpenSSL takes some 16 to 24 KiB for each handshake, each record read and each
 * record written, and gives them back soon. From the heap they would come
 * between the small things that a client keeps for days, and leave holes that
 * nothing fits into: with many clients at once as much again as these need. So
 * they have a place of their own, of which only what is in use is kept.
 */
#ifndef POLICYD_COMMON_TLS_MEMORY_H
#define POLICYD_COMMON_TLS_MEMORY_H

#include <stddef.h>

/** As malloc(), realloc() and free(); NULL when there is no memory. */
void *tls_memory_malloc(size_t n);
void *tls_memory_realloc(void *p, size_t n);
void tls_memory_free(void *p);

#endif
