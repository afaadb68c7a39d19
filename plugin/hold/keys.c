/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "buffer.h"
#include "hash.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "str.h"
#include "keys.h"
#include "log.h"

#define FILE_NAME "restante.keys"
/* the log is written anew when more than one record in this many is old */
#define OLD_SHARE 4
/* of the log; no user gets so much mail in a few weeks */
#define MAX_SIZE (64 * 1024 * 1024)
/* read at a time: an arrival reads all of the log */
#define CHUNK_RECORDS 2048
/* of K: as many as make a false match rare, which costs a look at the hold */
#define KEY_SIZE 8

/* In the machine's byte order: to another machine it is a damaged one. */
struct record {
	unsigned char key[KEY_SIZE];
	uint32_t uid_validity, uid;
	uint32_t when; /* wall-clock second */
	uint32_t check;
};
#define RECORD_SIZE sizeof(struct record)

struct rst_keys {
	struct rst_log *log;
	uint32_t uid_validity;
	size_t count;       /* of records */
	struct record last; /* if there is one */

	unsigned char wanted[KEY_SIZE];
	bool found;
	uint32_t found_uid; /* of the last record with that key */

	/* made by the first rst_keys_add_missing(), which is called for many
	   keys */
	pool_t pool;
	HASH_TABLE(char *, void *) index;
};

/* Sees zeros, and records that do not begin where they should. */
static uint32_t check_of(const struct record *record)
{
	uint32_t words[KEY_SIZE / 4];

	memcpy(words, record->key, KEY_SIZE);
	return 0x52535431 + words[0] + 3 * words[1] + 5 * record->uid_validity +
	       7 * record->uid + 9 * record->when;
}

static bool is_whole(const struct record *record)
{
	return record->check == check_of(record);
}

static void note_record(struct rst_keys *keys, const struct record *record)
{
	keys->count++;
	if (memcmp(record->key, keys->wanted, KEY_SIZE) != 0)
		return;
	keys->found = TRUE;
	keys->found_uid = record->uid;
}

/* @return 1; 0: a crash has damaged the file; -1: error_r */
static int read_chunks(struct rst_keys *keys, struct record *chunk,
		       const char **error_r)
{
	const size_t size = CHUNK_RECORDS * RECORD_SIZE;
	off_t offset = 0;
	size_t i, n;
	ssize_t got;

	do {
		got = rst_log_read_at(keys->log, offset, chunk, size, error_r);
		if (got < 0)
			return -1;
		offset += got;
		n = (size_t)got / RECORD_SIZE;
		if ((size_t)got % RECORD_SIZE != 0 || offset > MAX_SIZE)
			return 0;
		for (i = 0; i < n; i++) {
			if (!is_whole(&chunk[i]))
				return 0;
			note_record(keys, &chunk[i]);
		}
		if (n > 0)
			keys->last = chunk[n - 1];
	} while ((size_t)got == size);
	return 1;
}

static int read_records(struct rst_keys *keys, const char **error_r)
{
	struct record *chunk = i_new(struct record, CHUNK_RECORDS);
	int ret;

	keys->count = 0;
	keys->found = FALSE;
	ret = read_chunks(keys, chunk, error_r);
	i_free(chunk);
	if (ret != 0)
		return ret < 0 ? -1 : 0;
	/* the caller finds the keys again */
	keys->count = 0;
	keys->found = FALSE;
	return rst_log_clear(keys->log, error_r);
}

int rst_keys_open(const char *dir, uint32_t uid_validity,
		  const unsigned char key[RST_KEY_SIZE],
		  struct rst_keys **keys_r, const char **error_r)
{
	struct rst_keys *keys = i_new(struct rst_keys, 1);
	int ret;

	keys->uid_validity = uid_validity;
	memcpy(keys->wanted, key, KEY_SIZE);
	ret = rst_log_open(dir, FILE_NAME, FALSE, &keys->log, error_r);
	if (ret == 0)
		ret = read_records(keys, error_r);
	if (ret < 0)
		rst_keys_close(&keys);
	*keys_r = keys;
	return ret;
}

void rst_keys_close(struct rst_keys **_keys)
{
	struct rst_keys *keys = *_keys;

	if (keys == NULL)
		return;
	*_keys = NULL;
	rst_log_close(&keys->log);
	if (keys->pool != NULL) {
		hash_table_destroy(&keys->index);
		pool_unref(&keys->pool);
	}
	i_free(keys);
}

uint32_t rst_keys_last_uid(const struct rst_keys *keys)
{
	if (keys->count == 0 || keys->last.uid_validity != keys->uid_validity)
		return 0;
	return keys->last.uid;
}

bool rst_keys_find(const struct rst_keys *keys, uint32_t *uid_r)
{
	*uid_r = keys->found_uid;
	return keys->found;
}

static struct record make_record(const unsigned char key[RST_KEY_SIZE],
				 uint32_t uid_validity, uint32_t uid,
				 time_t now)
{
	struct record record = {.uid_validity = uid_validity,
				.uid = uid,
				.when = (uint32_t)now};

	memcpy(record.key, key, KEY_SIZE);
	record.check = check_of(&record);
	return record;
}

bool rst_keys_tail(const char *dir, uint32_t *uid_validity_r, uint32_t *uid_r)
{
	struct record record;
	struct rst_log *log;
	const char *error;
	bool found;

	if (rst_log_open_readonly(dir, FILE_NAME, &log, &error) < 0)
		return FALSE;
	found = rst_log_read_tail(log, &record, RECORD_SIZE) &&
		is_whole(&record);
	rst_log_close(&log);
	if (found) {
		*uid_validity_r = record.uid_validity;
		*uid_r = record.uid;
	}
	return found;
}

void rst_keys_restart(const char *dir, uint32_t uid_validity)
{
	static const unsigned char none[RST_KEY_SIZE];
	const struct record record =
		make_record(none, uid_validity, 0, ioloop_time);
	struct rst_log *log;
	const char *error;

	if (rst_log_open(dir, FILE_NAME, FALSE, &log, &error) < 0)
		return;
	/* where that fails, the next open finds that uids have gone back */
	(void)rst_log_append(log, &record, RECORD_SIZE, FALSE, &error);
	rst_log_close(&log);
}

void rst_keys_add(struct rst_keys *keys, const unsigned char key[RST_KEY_SIZE],
		  uint32_t uid, time_t now)
{
	const char *error;

	keys->last = make_record(key, keys->uid_validity, uid, now);
	note_record(keys, &keys->last);
	(void)rst_log_append(keys->log, &keys->last, RECORD_SIZE, FALSE,
			     &error);
}

static size_t record_count(const buffer_t *records)
{
	return records->used / RECORD_SIZE;
}

static const struct record *record_at(const buffer_t *records, size_t i)
{
	return CONST_PTR_OFFSET(records->data, i * RECORD_SIZE);
}

static const char *to_hex(const unsigned char *key)
{
	return binary_to_hex(key, KEY_SIZE);
}

static void add_to_index(struct rst_keys *keys, const char *hex)
{
	hash_table_update(keys->index, p_strdup(keys->pool, hex),
			  POINTER_CAST(1));
}

/* What cannot be read is added again, which does no harm. */
static void make_index(struct rst_keys *keys)
{
	buffer_t *records = buffer_create_dynamic(default_pool, 4096);
	const char *error;
	size_t i;

	keys->pool = pool_alloconly_create("keys", 64 * 1024);
	hash_table_create(&keys->index, keys->pool, 0, str_hash, strcmp);
	(void)rst_log_read(keys->log, MAX_SIZE, records, &error);
	for (i = 0; i < record_count(records); i++)
		T_BEGIN
		{
			add_to_index(keys, to_hex(record_at(records, i)->key));
		}
	T_END;
	buffer_free(&records);
}

void rst_keys_add_missing(struct rst_keys *keys,
			  const unsigned char key[RST_KEY_SIZE], time_t now)
{
	T_BEGIN
	{
		const char *hex = to_hex(key);

		if (keys->pool == NULL)
			make_index(keys);
		if (hash_table_lookup(keys->index, hex) == NULL) {
			add_to_index(keys, hex);
			rst_keys_add(keys, key, 0, now);
		}
	}
	T_END;
}

static bool is_old(const struct record *record, time_t oldest)
{
	return (time_t)record->when < oldest;
}

/* How many records at the start are older? They stand in order of time, unless
   the clock was set back. */
static size_t count_old(const buffer_t *records, time_t oldest)
{
	size_t i, count = record_count(records);

	for (i = 0; i < count; i++)
		if (!is_old(record_at(records, i), oldest))
			break;
	return i;
}

/* @return 1 if so many at the start may be old that the file is to be written
   anew, 0, -1 */
static int may_be_old(struct rst_keys *keys, time_t oldest,
		      const char **error_r)
{
	struct record record;
	ssize_t n = rst_log_read_at(keys->log,
				    keys->count / OLD_SHARE * RECORD_SIZE,
				    &record, RECORD_SIZE, error_r);

	if (n < 0)
		return -1;
	return n == (ssize_t)RECORD_SIZE && is_old(&record, oldest) ? 1 : 0;
}

static int drop_old(struct rst_keys *keys, time_t oldest, buffer_t *records,
		    const char **error_r)
{
	size_t old;

	if (rst_log_read(keys->log, MAX_SIZE, records, error_r) < 0)
		return -1;
	old = count_old(records, oldest);
	if (old * OLD_SHARE <= record_count(records))
		return 0;
	/* the last record tells how far the log has come */
	old = I_MIN(old, record_count(records) - 1);
	if (old == 0)
		return 0;
	buffer_delete(records, 0, old * RECORD_SIZE);
	if (rst_log_replace(keys->log, records->data, records->used, error_r) <
	    0)
		return -1;
	return read_records(keys, error_r);
}

int rst_keys_trim(struct rst_keys *keys, time_t oldest, const char **error_r)
{
	buffer_t *records;
	int ret = may_be_old(keys, oldest, error_r);

	if (ret <= 0)
		return ret;
	records = buffer_create_dynamic(default_pool, 4096);
	ret = drop_old(keys, oldest, records, error_r);
	buffer_free(&records);
	return ret;
}
