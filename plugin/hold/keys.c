/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "buffer.h"
#include "hash.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "read-full.h"
#include "str.h"
#include "write-full.h"
#include "keys.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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
/* a user who gets more in a few weeks has other troubles */
#define MAX_SIZE (256 * 1024 * 1024)

struct rst_keys {
	char *path;
	int fd;
	uint32_t uid_validity;
	buffer_t *records; /* all of the file */

	/* of rst_keys_add_missing(), which is called for many */
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

/* @return FALSE: no number */
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

static int failed(const struct rst_keys *keys, const char *what,
		  const char **error_r)
{
	*error_r = t_strdup_printf("%s(%s) failed: %m", what, keys->path);
	return -1;
}

static int read_records(struct rst_keys *keys, const char **error_r)
{
	struct stat st;
	size_t size;

	if (fstat(keys->fd, &st) < 0)
		return failed(keys, "fstat", error_r);
	size = st.st_size > MAX_SIZE ? 0 : (size_t)st.st_size;
	keys->records = buffer_create_dynamic(default_pool, size + RECORD_SIZE);
	if (read_full(keys->fd, buffer_append_space_unsafe(keys->records, size),
		      size) < 0)
		return failed(keys, "read", error_r);
	if (size == (size_t)st.st_size && is_whole(keys))
		return 0;
	/* a crash: the caller will find again what was in it */
	buffer_set_used_size(keys->records, 0);
	if (ftruncate(keys->fd, 0) < 0)
		return failed(keys, "ftruncate", error_r);
	return 0;
}

int rst_keys_open(const char *dir, uint32_t uid_validity,
		  struct rst_keys **keys_r, const char **error_r)
{
	struct rst_keys *keys = i_new(struct rst_keys, 1);
	int ret;

	keys->path = i_strconcat(dir, "/" FILE_NAME, NULL);
	keys->uid_validity = uid_validity;
	keys->fd =
		open(keys->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (keys->fd == -1)
		ret = failed(keys, "open", error_r);
	else
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
	i_close_fd(&keys->fd);
	buffer_free(&keys->records);
	if (keys->pool != NULL) {
		hash_table_destroy(&keys->index);
		pool_unref(&keys->pool);
	}
	i_free(keys->path);
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

	/* from the end: who tries again does it soon */
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
	bool found = FALSE;
	int fd = open(t_strconcat(dir, "/" FILE_NAME, NULL),
		      O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return FALSE;
	if (lseek(fd, -RECORD_SIZE, SEEK_END) >= 0 &&
	    read_full(fd, record, RECORD_SIZE) > 0 && is_record(record) &&
	    get_number(record, VALIDITY_AT, &validity) &&
	    get_number(record, UID_AT, &uid)) {
		*uid_validity_r = (uint32_t)validity;
		*uid_r = (uint32_t)uid;
		found = TRUE;
	}
	i_close_fd(&fd);
	return found;
}

void rst_keys_restart(const char *dir, uint32_t uid_validity)
{
	static const unsigned char none[RST_KEY_SIZE];
	const char *record = format(none, uid_validity, 0, ioloop_time);
	int fd = open(t_strconcat(dir, "/" FILE_NAME, NULL),
		      O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd == -1)
		return;
	/* else it is looked at once more */
	(void)write_full(fd, record, RECORD_SIZE);
	i_close_fd(&fd);
}

void rst_keys_add(struct rst_keys *keys, const unsigned char key[RST_KEY_SIZE],
		  uint32_t uid, time_t now)
{
	const char *record = format(key, keys->uid_validity, uid, now);

	buffer_append(keys->records, record, RECORD_SIZE);
	(void)write_full(keys->fd, record, RECORD_SIZE);
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

/* How many of the first ones are older? They stand in order of time, unless
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

static int write_anew(struct rst_keys *keys, const char **error_r)
{
	const char *new_path = t_strconcat(keys->path, ".new", NULL);
	int fd;

	fd = open(new_path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC,
		  0600);
	if (fd == -1)
		return failed(keys, "open", error_r);
	if (write_full(fd, keys->records->data, keys->records->used) < 0 ||
	    rename(new_path, keys->path) < 0) {
		(void)failed(keys, "write and rename", error_r);
		i_close_fd(&fd);
		return -1;
	}
	i_close_fd(&keys->fd);
	keys->fd = fd;
	return 0;
}

int rst_keys_trim(struct rst_keys *keys, time_t oldest, const char **error_r)
{
	size_t old = count_old(keys, oldest);

	if (old * OLD_SHARE <= record_count(keys))
		return 0;
	/* the last one tells how far the log has come */
	old = I_MIN(old, record_count(keys) - 1);
	buffer_delete(keys->records, 0, old * RECORD_SIZE);
	return old == 0 ? 0 : write_anew(keys, error_r);
}
