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
#define HEX_SIZE (2 * RST_KEY_SIZE)
#define NUMBER_SIZE 10
/* where each number begins, behind its blank */
#define VALIDITY_AT (HEX_SIZE + 1)
#define UID_AT (VALIDITY_AT + NUMBER_SIZE + 1)
#define TIME_AT (UID_AT + NUMBER_SIZE + 1)
#define RECORD_SIZE (TIME_AT + NUMBER_SIZE + 1)
/* the log is written anew when more than one record in this many is old */
#define OLD_SHARE 4
/* of the log; no user gets so much mail in a few weeks */
#define MAX_SIZE (256 * 1024 * 1024)

struct rst_keys {
	struct rst_log *log;
	uint32_t uid_validity;
	buffer_t *records; /* all of the file */

	/* made by the first rst_keys_add_missing(), which is called for many
	   keys */
	pool_t pool;
	HASH_TABLE(char *, void *) index;
};

static size_t record_count(const struct rst_keys *keys)
{
	return keys->records->used / RECORD_SIZE;
}

static const char *record_at(const struct rst_keys *keys, size_t i)
{
	return CONST_PTR_OFFSET(keys->records->data, i * RECORD_SIZE);
}

/* @return FALSE: it is no number */
static bool get_number(const char *record, size_t at, uint64_t *number_r)
{
	size_t i;

	*number_r = 0;
	for (i = at; i < at + NUMBER_SIZE; i++) {
		if (record[i] < '0' || record[i] > '9')
			return FALSE;
		*number_r = *number_r * 10 + (uint64_t)(record[i] - '0');
	}
	return record[at - 1] == ' ';
}

static bool is_record(const char *record)
{
	uint64_t number;

	return get_number(record, VALIDITY_AT, &number) &&
	       get_number(record, UID_AT, &number) &&
	       get_number(record, TIME_AT, &number) &&
	       record[RECORD_SIZE - 1] == '\n';
}

static bool is_whole(const struct rst_keys *keys)
{
	size_t i;

	if (keys->records->used % RECORD_SIZE != 0)
		return FALSE;
	for (i = 0; i < record_count(keys); i++)
		if (!is_record(record_at(keys, i)))
			return FALSE;
	return TRUE;
}

static int read_records(struct rst_keys *keys, const char **error_r)
{
	if (rst_log_read(keys->log, MAX_SIZE, keys->records, error_r) < 0)
		return -1;
	if (keys->records->used <= MAX_SIZE && is_whole(keys))
		return 0;
	/* a crash has damaged it: the caller finds the keys again */
	buffer_set_used_size(keys->records, 0);
	return rst_log_clear(keys->log, error_r);
}

int rst_keys_open(const char *dir, uint32_t uid_validity,
		  struct rst_keys **keys_r, const char **error_r)
{
	struct rst_keys *keys = i_new(struct rst_keys, 1);
	int ret;

	keys->uid_validity = uid_validity;
	keys->records = buffer_create_dynamic(default_pool, 4096);
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
	buffer_free(&keys->records);
	if (keys->pool != NULL) {
		hash_table_destroy(&keys->index);
		pool_unref(&keys->pool);
	}
	i_free(keys);
}

uint32_t rst_keys_last_uid(const struct rst_keys *keys)
{
	size_t count = record_count(keys);
	uint64_t validity, uid;

	if (count == 0 ||
	    !get_number(record_at(keys, count - 1), VALIDITY_AT, &validity) ||
	    !get_number(record_at(keys, count - 1), UID_AT, &uid) ||
	    validity != keys->uid_validity)
		return 0;
	return (uint32_t)uid;
}

bool rst_keys_find(const struct rst_keys *keys,
		   const unsigned char key[RST_KEY_SIZE], uint32_t *uid_r)
{
	const char *hex = binary_to_hex(key, RST_KEY_SIZE);
	size_t i = record_count(keys);
	uint64_t uid;

	/* from the end, as a message that comes again does so soon */
	while (i-- > 0) {
		const char *record = record_at(keys, i);

		if (memcmp(record, hex, HEX_SIZE) != 0 ||
		    !get_number(record, UID_AT, &uid))
			continue;
		*uid_r = (uint32_t)uid;
		return TRUE;
	}
	return FALSE;
}

static const char *format(const unsigned char key[RST_KEY_SIZE],
			  uint32_t uid_validity, uint32_t uid, time_t now)
{
	const char *record = t_strdup_printf(
		"%s %010u %010u %010u\n", binary_to_hex(key, RST_KEY_SIZE),
		uid_validity, uid, (unsigned int)now);

	i_assert(strlen(record) == RECORD_SIZE);
	return record;
}

bool rst_keys_tail(const char *dir, uint32_t *uid_validity_r, uint32_t *uid_r)
{
	char record[RECORD_SIZE];
	uint64_t validity, uid;
	struct rst_log *log;
	const char *error;
	bool found = FALSE;

	if (rst_log_open_readonly(dir, FILE_NAME, &log, &error) < 0)
		return FALSE;
	if (rst_log_read_tail(log, record, RECORD_SIZE) && is_record(record) &&
	    get_number(record, VALIDITY_AT, &validity) &&
	    get_number(record, UID_AT, &uid)) {
		*uid_validity_r = (uint32_t)validity;
		*uid_r = (uint32_t)uid;
		found = TRUE;
	}
	rst_log_close(&log);
	return found;
}

void rst_keys_restart(const char *dir, uint32_t uid_validity)
{
	static const unsigned char none[RST_KEY_SIZE];
	const char *record = format(none, uid_validity, 0, ioloop_time);
	struct rst_log *log;
	const char *error;

	if (rst_log_open(dir, FILE_NAME, FALSE, &log, &error) < 0)
		return;
	/* where that fails, the next open finds that uids have gone back */
	(void)rst_log_append(log, record, RECORD_SIZE, FALSE, &error);
	rst_log_close(&log);
}

void rst_keys_add(struct rst_keys *keys, const unsigned char key[RST_KEY_SIZE],
		  uint32_t uid, time_t now)
{
	const char *record = format(key, keys->uid_validity, uid, now), *error;

	buffer_append(keys->records, record, RECORD_SIZE);
	(void)rst_log_append(keys->log, record, RECORD_SIZE, FALSE, &error);
}

static void add_to_index(struct rst_keys *keys, const char *hex)
{
	hash_table_update(keys->index, p_strndup(keys->pool, hex, HEX_SIZE),
			  POINTER_CAST(1));
}

static void make_index(struct rst_keys *keys)
{
	size_t i;

	keys->pool = pool_alloconly_create("keys", 64 * 1024);
	hash_table_create(&keys->index, keys->pool, 0, str_hash, strcmp);
	for (i = 0; i < record_count(keys); i++)
		add_to_index(keys, record_at(keys, i));
}

void rst_keys_add_missing(struct rst_keys *keys,
			  const unsigned char key[RST_KEY_SIZE], time_t now)
{
	T_BEGIN
	{
		const char *hex = binary_to_hex(key, RST_KEY_SIZE);

		if (keys->pool == NULL)
			make_index(keys);
		if (hash_table_lookup(keys->index, hex) == NULL) {
			add_to_index(keys, hex);
			rst_keys_add(keys, key, 0, now);
		}
	}
	T_END;
}

/* How many records at the start are older? They stand in order of time, unless
   the clock was set back. */
static size_t count_old(const struct rst_keys *keys, time_t oldest)
{
	size_t i, count = record_count(keys);
	uint64_t when;

	for (i = 0; i < count; i++)
		if (get_number(record_at(keys, i), TIME_AT, &when) &&
		    (time_t)when >= oldest)
			break;
	return i;
}

int rst_keys_trim(struct rst_keys *keys, time_t oldest, const char **error_r)
{
	size_t old = count_old(keys, oldest);

	if (old * OLD_SHARE <= record_count(keys))
		return 0;
	/* the last record tells how far the log has come */
	old = I_MIN(old, record_count(keys) - 1);
	buffer_delete(keys->records, 0, old * RECORD_SIZE);
	if (old == 0)
		return 0;
	return rst_log_replace(keys->log, keys->records->data,
			       keys->records->used, error_r);
}
