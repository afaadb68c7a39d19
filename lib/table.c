/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <stdlib.h>

#define SIZE_MIN 16

static uint32_t hash_of(struct rst_str key)
{
	uint32_t hash = 2166136261u;
	size_t i;

	for (i = 0; i < key.n; i++)
		hash = (hash ^ (unsigned char)key.p[i]) * 16777619u;
	return hash;
}

static struct rst_table_entry **bucket_of(const struct rst_table *table,
					  uint32_t hash)
{
	return &table->buckets[hash & (table->size - 1)];
}

static void link_entry(struct rst_table *table, struct rst_table_entry *entry)
{
	struct rst_table_entry **bucket = bucket_of(table, entry->hash);

	entry->next = *bucket;
	*bucket = entry;
}

static void resize(struct rst_table *table, size_t size)
{
	struct rst_table old = *table;
	size_t i;

	table->size = size;
	table->buckets = rst_calloc(size, sizeof(*table->buckets));
	for (i = 0; i < old.size; i++) {
		struct rst_table_entry *entry = old.buckets[i], *next;

		for (; entry != NULL; entry = next) {
			next = entry->next;
			link_entry(table, entry);
		}
	}
	free(old.buckets);
}

void *rst_table_find(const struct rst_table *table, struct rst_str key)
{
	uint32_t hash = hash_of(key);
	struct rst_table_entry *entry;

	if (table->count == 0)
		return NULL;
	for (entry = *bucket_of(table, hash); entry != NULL;
	     entry = entry->next) {
		if (entry->hash == hash && rst_str_eq(entry->key, key))
			return entry;
	}
	return NULL;
}

void rst_table_insert(struct rst_table *table, struct rst_table_entry *entry)
{
	if (table->count >= table->size)
		resize(table, table->size == 0 ? SIZE_MIN : table->size * 2);
	entry->hash = hash_of(entry->key);
	link_entry(table, entry);
	table->count++;
}

/* The table shrinks when an eighth is used, not at a half, so that a count that
   goes up and down around a limit does not resize it each time. */
void rst_table_remove(struct rst_table *table, struct rst_table_entry *entry)
{
	struct rst_table_entry **link = bucket_of(table, entry->hash);

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	table->count--;
	if (table->size > SIZE_MIN && table->count < table->size / 8)
		resize(table, table->size / 2);
}

void rst_table_clear(struct rst_table *table,
		     void (*free_entry)(struct rst_table_entry *entry))
{
	size_t i;

	for (i = 0; i < table->size; i++) {
		struct rst_table_entry *entry = table->buckets[i], *next;

		for (; entry != NULL; entry = next) {
			next = entry->next;
			free_entry(entry);
		}
	}
	free(table->buckets);
	*table = (struct rst_table){0};
}
