/* SPDX-License-Identifier: MIT */
/**
 * An allocator that keeps OpenSSL's large, short-lived blocks out of the heap.
 *
 * OpenSSL allocates some 16 to 24 KiB for each handshake, each record read and
 * each record written, and frees them soon. In the heap these blocks would lie
 * between the small blocks that a client's session keeps for days, and leave
 * holes that nothing fits into: with many clients at once the holes take as
 * much memory again as the sessions. So large blocks have a range of addresses
 * of their own, of which only blocks in use keep memory.
 */
#ifndef POLICYD_COMMON_TLS_MEMORY_H
#define POLICYD_COMMON_TLS_MEMORY_H

#include <stddef.h>

/** As malloc(), realloc() and free(). NULL: out of memory. */
void *tls_memory_malloc(size_t n);
void *tls_memory_realloc(void *p, size_t n);
void tls_memory_free(void *p);

#endif
