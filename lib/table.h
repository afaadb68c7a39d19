/* SPDX-License-Identifier: MIT */
/**
 * A hash table whose entries are embedded in the objects found through it: the
 * registry, the fallback timetable and the open sign-ins.
 *
 * The hash is FNV-1a without a key. That is enough for keys that no stranger
 * chooses: names come from Dovecot after it has confirmed their owner, and ids
 * are our own. Do not use it for octets from the Internet.
 */
#ifndef RST_TABLE_H
#define RST_TABLE_H

#include "restante/str.h"

/** The first member of the object, so that a cast leads back to it. */
struct rst_table_entry {
	struct rst_str key; /* view, constant while the entry is in a table */
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
/** Insert an entry whose key is not in the table. */
void rst_table_insert(struct rst_table *table, struct rst_table_entry *entry);
/** Remove an entry that is in the table. The caller frees it. */
void rst_table_remove(struct rst_table *table, struct rst_table_entry *entry);
/** Empty the table; free_entry is called for every entry. */
void rst_table_clear(struct rst_table *table,
		     void (*free_entry)(struct rst_table_entry *entry));

#endif
