/* SPDX-License-Identifier: MIT */
/*
 * A stretch of addresses, cut into equal slots. Free slots are in one of two
 * stacks: warm ones have memory, cold ones have given it back to the kernel.
 * Where there is no slot, or where it is not worth one, it is malloc()'s.
 */
#include "tls-memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/** What a slot is worth: a record of OpenSSL's, or the buffer of a handshake
    (16 KiB, grown by a third). */
#define WORTH_IT (16 * 1024)
#define SLOT_SIZE (24 * 1024)
/** Handshakes at once in one process, beyond which it is as without us. */
#define SLOTS 4096
/** Of those that are free: so many need not ask the kernel. */
#define WARM 16

static struct {
	char *start;        /* NULL: not yet */
	unsigned int fresh; /* slots that were never used, at the end */
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
	/* addresses only: memory comes as it is used */
	void *start =
		mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return;
	blocks.start = start;
	/* a huge page would be in use for the sake of one slot */
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

	if (n >= WORTH_IT && n <= SLOT_SIZE)
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
