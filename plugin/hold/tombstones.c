/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "byteorder.h"
#include "fdatasync-path.h"
#include "hash.h"
#include "hex-binary.h"
#include "istream.h"
#include "str.h"
#include "write-full.h"
#include "tombstones.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_NAME "restante.tombstones"
/* id, K, a time, two TABs and NUL */
#define LINE_MAX_SIZE (RST_ID_MAX + 2 * RST_KEY_SIZE + 32)
/* the file is written anew when more than one in this many is old */
#define OLD_SHARE 4

struct tombstone {
	char *id;
	unsigned char key[RST_KEY_SIZE];
	time_t time;
};

struct rst_tombstones {
	pool_t pool;
	const char *dir;
	char *path;
	int fd;
	bool writable;
	uoff_t size; /* of the whole lines that are in the file */
	HASH_TABLE(char *, struct tombstone *) by_id;
	HASH_TABLE(unsigned char *, struct tombstone *) by_key;
	ARRAY(struct tombstone *) added; /* not committed */
};

/* ---- in memory */

static void insert(struct rst_tombstones *t, struct tombstone *tombstone)
{
	hash_table_update(t->by_id, tombstone->id, tombstone);
	if (!rst_key_is_zero(tombstone->key))
		hash_table_update(t->by_key, (unsigned char *)tombstone->key,
				  tombstone);
}

static void take_out(struct rst_tombstones *t, struct tombstone *tombstone)
{
	const unsigned char *key = tombstone->key;

	hash_table_remove(t->by_id, tombstone->id);
	if (hash_table_lookup(t->by_key, key) == tombstone)
		hash_table_remove(t->by_key, key);
}

/* ---- reading */

static bool parse_line(struct rst_tombstones *t, const char *line,
		       struct tombstone **tombstone_r)
{
	const char *const *fields = t_strsplit(line, "\t");
	struct tombstone *tombstone;
	buffer_t *key = t_buffer_create(RST_KEY_SIZE);
	time_t when;

	if (str_array_length(fields) != 3 ||
	    !rst_id_valid(rst_str(fields[0])) ||
	    hex_to_binary(fields[1], key) < 0 || key->used != RST_KEY_SIZE ||
	    str_to_time(fields[2], &when) < 0)
		return FALSE;
	tombstone = p_new(t->pool, struct tombstone, 1);
	memcpy(tombstone->key, key->data, RST_KEY_SIZE);
	tombstone->id = p_strdup(t->pool, fields[0]);
	tombstone->time = when;
	*tombstone_r = tombstone;
	return TRUE;
}

static void read_lines(struct rst_tombstones *t, struct istream *input)
{
	struct tombstone *tombstone;
	const char *line;

	while ((line = i_stream_read_next_line(input)) != NULL)
		T_BEGIN
		{
			/* zeros that a crash left, and another version's
			   lines, are passed over */
			if (parse_line(t, line, &tombstone))
				insert(t, tombstone);
		}
	T_END;
	t->size = input->v_offset;
}

static int read_file(struct rst_tombstones *t, const char **error_r)
{
	struct istream *input;
	int ret = 0;

	input = i_stream_create_fd(t->fd, LINE_MAX_SIZE * 64);
	read_lines(t, input);
	if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", t->path,
					   i_stream_get_error(input));
		ret = -1;
	}
	i_stream_unref(&input);
	/* a line that a crash has torn: its message was not said to be gone */
	if (ret == 0 && t->writable && ftruncate(t->fd, (off_t)t->size) < 0) {
		*error_r = t_strdup_printf("ftruncate(%s) failed: %m", t->path);
		ret = -1;
	}
	return ret;
}

/* ---- writing */

static void append_line(string_t *text, const struct tombstone *tombstone)
{
	str_printfa(text, "%s\t%s\t%s\n", tombstone->id,
		    binary_to_hex(tombstone->key, RST_KEY_SIZE),
		    dec2str(tombstone->time));
}

static int write_lines(int fd, const char *path, const string_t *text,
		       const char **error_r)
{
	if (write_full(fd, str_data(text), str_len(text)) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
		return -1;
	}
	if (fdatasync(fd) < 0) {
		*error_r = t_strdup_printf("fdatasync(%s) failed: %m", path);
		return -1;
	}
	return 0;
}

static int open_file(const char *path, int flags, const char **error_r)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | flags,
		      0600);

	if (fd == -1)
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
	return fd;
}

static int sync_dir(const struct rst_tombstones *t, const char **error_r)
{
	if (fdatasync_path(t->dir) == 0)
		return 0;
	*error_r = t_strdup_printf("fdatasync(%s) failed: %m", t->dir);
	return -1;
}

static string_t *all_lines(struct rst_tombstones *t)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(t->by_id);
	string_t *text = str_new(default_pool, 1024);
	struct tombstone *tombstone;
	char *id;

	while (hash_table_iterate(iter, t->by_id, &id, &tombstone))
		T_BEGIN
		{
			append_line(text, tombstone);
		}
	T_END;
	hash_table_iterate_deinit(&iter);
	return text;
}

/* Replace the file by one with what is in memory. */
static int compact(struct rst_tombstones *t, const char **error_r)
{
	const char *new_path = t_strconcat(t->path, ".new", NULL);
	string_t *text;
	int fd, ret;

	fd = open_file(new_path, O_TRUNC, error_r);
	if (fd == -1)
		return -1;
	text = all_lines(t);
	ret = write_lines(fd, new_path, text, error_r);
	if (ret == 0 && rename(new_path, t->path) < 0) {
		*error_r = t_strdup_printf("rename(%s) failed: %m", new_path);
		ret = -1;
	}
	if (ret == 0) {
		i_close_fd(&t->fd);
		t->fd = fd;
		t->size = str_len(text);
		ret = sync_dir(t, error_r);
	} else {
		i_close_fd(&fd);
	}
	str_free(&text);
	return ret;
}

static int load(struct rst_tombstones *t, const char **error_r)
{
	struct stat st;

	t->fd = open_file(t->path, 0, error_r);
	if (t->fd == -1)
		return -1;
	if (fstat(t->fd, &st) == 0 && st.st_size == 0)
		return sync_dir(t, error_r);
	return read_file(t, error_r);
}

/* For one who has no lock: nothing is mended. */
static int load_readonly(struct rst_tombstones *t, const char **error_r)
{
	t->fd = open(t->path, O_RDONLY | O_CLOEXEC);
	if (t->fd == -1 && errno == ENOENT)
		return 0;
	if (t->fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", t->path);
		return -1;
	}
	return read_file(t, error_r);
}

/* ---- what others call */

bool rst_key_is_zero(const unsigned char key[RST_KEY_SIZE])
{
	static const unsigned char zero[RST_KEY_SIZE];

	return memcmp(key, zero, RST_KEY_SIZE) == 0;
}

/* it is a hash already */
unsigned int rst_key_hash(const unsigned char *key)
{
	return be32_to_cpu_unaligned(key);
}

int rst_key_cmp(const unsigned char *a, const unsigned char *b)
{
	return memcmp(a, b, RST_KEY_SIZE);
}

static struct rst_tombstones *create(const char *dir)
{
	pool_t pool = pool_alloconly_create("tombstones", 4096);
	struct rst_tombstones *t = p_new(pool, struct rst_tombstones, 1);

	t->pool = pool;
	t->dir = p_strdup(pool, dir);
	t->path = p_strconcat(pool, dir, "/" FILE_NAME, NULL);
	t->fd = -1;
	hash_table_create(&t->by_id, pool, 0, str_hash, strcmp);
	hash_table_create(&t->by_key, pool, 0, rst_key_hash, rst_key_cmp);
	p_array_init(&t->added, pool, 16);
	return t;
}

int rst_tombstones_open(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r)
{
	struct rst_tombstones *t = create(dir);

	t->writable = TRUE;
	*tombstones_r = t;
	if (load(t, error_r) == 0)
		return 0;
	rst_tombstones_close(tombstones_r);
	return -1;
}

int rst_tombstones_read(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r)
{
	*tombstones_r = create(dir);
	if (load_readonly(*tombstones_r, error_r) == 0)
		return 0;
	rst_tombstones_close(tombstones_r);
	return -1;
}

void rst_tombstones_close(struct rst_tombstones **_t)
{
	struct rst_tombstones *t = *_t;

	if (t == NULL)
		return;
	*_t = NULL;
	i_close_fd(&t->fd);
	hash_table_destroy(&t->by_id);
	hash_table_destroy(&t->by_key);
	pool_unref(&t->pool);
}

/* Take the old ones out of memory, for what will be written. */
static void forget(struct rst_tombstones *t, time_t oldest)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(t->by_id);
	struct tombstone *tombstone;
	char *id;

	while (hash_table_iterate(iter, t->by_id, &id, &tombstone))
		if (tombstone->time < oldest)
			take_out(t, tombstone);
	hash_table_iterate_deinit(&iter);
}

int rst_tombstones_trim(struct rst_tombstones *t, time_t oldest,
			const char **error_r)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(t->by_id);
	unsigned int old = 0;
	struct tombstone *tombstone;
	char *id;

	while (hash_table_iterate(iter, t->by_id, &id, &tombstone))
		if (tombstone->time < oldest)
			old++;
	hash_table_iterate_deinit(&iter);
	if (old * OLD_SHARE <= hash_table_count(t->by_id))
		return 0;
	forget(t, oldest);
	return compact(t, error_r);
}

bool rst_tombstones_has(const struct rst_tombstones *t, const char *id)
{
	return hash_table_lookup(t->by_id, id) != NULL;
}

bool rst_tombstones_has_key(const struct rst_tombstones *t,
			    const unsigned char key[RST_KEY_SIZE])
{
	return hash_table_lookup(t->by_key, key) != NULL;
}

unsigned int rst_tombstones_count(const struct rst_tombstones *t)
{
	return hash_table_count(t->by_id);
}

void rst_tombstones_each_key(const struct rst_tombstones *t,
			     rst_tombstones_key_func *func, void *context)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(t->by_key);
	unsigned char *key;
	struct tombstone *tombstone;

	while (hash_table_iterate(iter, t->by_key, &key, &tombstone))
		func(key, context);
	hash_table_iterate_deinit(&iter);
}

void rst_tombstones_add(struct rst_tombstones *t, const char *id,
			const unsigned char key[RST_KEY_SIZE], time_t now)
{
	struct tombstone *tombstone;

	if (rst_tombstones_has(t, id))
		return;
	tombstone = p_new(t->pool, struct tombstone, 1);
	tombstone->id = p_strdup(t->pool, id);
	memcpy(tombstone->key, key, RST_KEY_SIZE);
	tombstone->time = now;
	insert(t, tombstone);
	array_push_back(&t->added, &tombstone);
}

static void drop_added(struct rst_tombstones *t)
{
	struct tombstone *tombstone;

	array_foreach_elem(&t->added, tombstone) take_out(t, tombstone);
	/* half a line would spoil the next one */
	if (ftruncate(t->fd, (off_t)t->size) < 0)
		i_error("ftruncate(%s) failed: %m", t->path);
}

int rst_tombstones_commit(struct rst_tombstones *t, const char **error_r)
{
	struct tombstone *tombstone;
	string_t *text;
	int ret;

	if (array_count(&t->added) == 0)
		return 0;
	text = str_new(default_pool, 1024);
	array_foreach_elem(&t->added, tombstone) T_BEGIN
	{
		append_line(text, tombstone);
	}
	T_END;
	ret = write_lines(t->fd, t->path, text, error_r);
	if (ret == 0)
		t->size += str_len(text);
	else
		drop_added(t);
	array_clear(&t->added);
	str_free(&text);
	return ret;
}
