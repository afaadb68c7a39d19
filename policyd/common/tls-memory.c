/* SPDX-License-Identifier: MIT */
/*
 * A range of addresses, cut into equal slots. A slot is fresh until its first
 * use. Free slots lie on one of two stacks: warm ones still have memory, cold
 * ones have given it back to the kernel. Blocks that are too small or too large
 * for a slot, and all blocks when no slot is free, are malloc()'s.
 */
#include "tls-memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/** Smaller blocks stay in the heap. A slot is for a record of OpenSSL's, or for
    the buffer of a handshake (16 KiB, grown by a third). */
#define SLOT_MIN (16 * 1024)
#define SLOT_SIZE (24 * 1024)
/** Blocks in use at once in one process; the heap has those beyond. */
#define SLOTS 4096
/** Free slots that keep their memory: using them again asks no kernel. */
#define WARM 16

static struct {
	char *start;        /* NULL: not set up yet */
	unsigned int fresh; /* slots never used, at the end of the range */
	unsigned int warm_count, cold_count;
	uint16_t warm[WARM], cold[SLOTS];
} blocks;

static bool is_slot(const void *p)
{
	uintptr_t start = (uintptr_t)blocks.start, at = (uintptr_t)p;

	return blocks.start != NULL && at >= start &&
	       at - start < (uintptr_t)SLOTS * SLOT_SIZE;
}

static void set_up(void)
{
	/* addresses only: a page gets memory when it is used */
	void *start =
		mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return;
	blocks.start = start;
	/* a huge page would stay in use for the sake of one slot */
	(void)madvise(start, (size_t)SLOTS * SLOT_SIZE, MADV_NOHUGEPAGE);
	blocks.fresh = SLOTS;
}

static void *take_slot(void)
{
	unsigned int slot;

	if (blocks.start == NULL)
		set_up();
	if (blocks.warm_count > 0)
		slot = blocks.warm[--blocks.warm_count];
	else if (blocks.cold_count > 0)
		slot = blocks.cold[--blocks.cold_count];
	else if (blocks.fresh > 0)
		slot = SLOTS - blocks.fresh--;
	else
		return NULL;
	return blocks.start + (size_t)slot * SLOT_SIZE;
}

static void give_slot(void *p)
{
	size_t slot = (size_t)((char *)p - blocks.start) / SLOT_SIZE;

	if (blocks.warm_count < WARM) {
		blocks.warm[blocks.warm_count++] = (uint16_t)slot;
		return;
	}
	(void)madvise(p, SLOT_SIZE, MADV_DONTNEED);
	blocks.cold[blocks.cold_count++] = (uint16_t)slot;
}

void *tls_memory_malloc(size_t n)
{
	void *p = NULL;

	if (n >= SLOT_MIN && n <= SLOT_SIZE)
		p = take_slot();
	return p != NULL ? p : malloc(n);
}

void tls_memory_free(void *p)
{
	if (is_slot(p))
		give_slot(p);
	else
		free(p);
}

void *tls_memory_realloc(void *p, size_t n)
{
	void *wider;

	if (p == NULL)
		return tls_memory_malloc(n);
	if (!is_slot(p))
		return realloc(p, n);
	if (n > 0 && n <= SLOT_SIZE)
		return p;
	wider = n == 0 ? NULL : malloc(n);
	if (wider != NULL)
		memcpy(wider, p, SLOT_SIZE);
	if (wider != NULL || n == 0)
		give_slot(p);
	return wider;
}
