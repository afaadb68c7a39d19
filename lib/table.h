/* SPDX-License-Identifier: MIT */
/**
 * Hash table whose entries are embedded in what they find: registry, fallback
 * timetable and open sign-ins are all looked up through this one.
 *
 * The hash is FNV-1a without a key. That is enough here: names come from
 * Dovecot once it knows their owner, ids are our own, so nobody on the
 * Internet chooses what is put in. Do not use it for octets that a stranger
 * chooses.
 */
#ifndef RST_TABLE_H
#define RST_TABLE_H

#include "restante/str.h"

/** The first member of what is found, so that a cast leads back to it. */
struct rst_table_entry {
	struct rst_str key; /* the owner's, unchanged while it is in a table */
	struct rst_table_entry *next;
	uint32_t hash;
};

/** All zero is an empty table. */
struct rst_table {
	struct rst_table_entry **buckets;
	size_t size; /* of buckets: 0 or a power of two */
	size_t count;
};

/** @return the entry with this key, or NULL */
void *rst_table_find(const struct rst_table *table, struct rst_str key);
/** Only when no entry has its key. */
void rst_table_insert(struct rst_table *table, struct rst_table_entry *entry);
/** Only when it is in the table. The entry itself is the caller's to free. */
void rst_table_remove(struct rst_table *table, struct rst_table_entry *entry);
/** Empty the table; every entry is handed to free_entry. */
void rst_table_clear(struct rst_table *table,
		     void (*free_entry)(struct rst_table_entry *entry));

#endif
