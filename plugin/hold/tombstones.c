/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "hash.h"
#include "hex-binary.h"
#include "str.h"
#include "key.h"
#include "log.h"
#include "tombstones.h"

#define FILE_NAME "restante.tombstones"
/* the file is written anew when more than one in this many is old */
#define OLD_SHARE 4

struct tombstone {
	char *id;
	unsigned char key[RST_KEY_SIZE];
	time_t time;
};

struct rst_tombstones {
	pool_t pool;
	struct rst_log *log;
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

/* Zeros that a crash has left, and the lines of another version, are passed
   over. */
static void read_line(const char *line, void *context)
{
	struct rst_tombstones *t = context;
	struct tombstone *tombstone;

	if (parse_line(t, line, &tombstone))
		insert(t, tombstone);
}

/* A line that a crash has torn is cut off: nobody was told that its message is
   gone. */
static int load(struct rst_tombstones *t, const char *dir, const char **error_r)
{
	if (rst_log_open(dir, FILE_NAME, TRUE, &t->log, error_r) < 0 ||
	    rst_log_each_line(t->log, read_line, t, error_r) < 0)
		return -1;
	return rst_log_cut(t->log, error_r);
}

static int load_readonly(struct rst_tombstones *t, const char *dir,
			 const char **error_r)
{
	if (rst_log_open_readonly(dir, FILE_NAME, &t->log, error_r) < 0)
		return -1;
	return rst_log_each_line(t->log, read_line, t, error_r);
}

/* ---- writing */

static void append_line(string_t *text, const struct tombstone *tombstone)
{
	str_printfa(text, "%s\t%s\t%s\n", tombstone->id,
		    binary_to_hex(tombstone->key, RST_KEY_SIZE),
		    dec2str(tombstone->time));
}

/* Replace the file by one with the tombstones that are in memory. */
static int write_anew(struct rst_tombstones *t, const char **error_r)
{
	struct hash_iterate_context *iter = hash_table_iterate_init(t->by_id);
	string_t *text = str_new(default_pool, 1024);
	struct tombstone *tombstone;
	char *id;
	int ret;

	while (hash_table_iterate(iter, t->by_id, &id, &tombstone))
		T_BEGIN
		{
			append_line(text, tombstone);
		}
	T_END;
	hash_table_iterate_deinit(&iter);
	ret = rst_log_replace(t->log, str_data(text), str_len(text), error_r);
	str_free(&text);
	return ret;
}

/* ---- what others call */

static struct rst_tombstones *create(void)
{
	pool_t pool = pool_alloconly_create("tombstones", 4096);
	struct rst_tombstones *t = p_new(pool, struct rst_tombstones, 1);

	t->pool = pool;
	hash_table_create(&t->by_id, pool, 0, str_hash, strcmp);
	hash_table_create(&t->by_key, pool, 0, rst_key_hash, rst_key_cmp);
	p_array_init(&t->added, pool, 16);
	return t;
}

int rst_tombstones_open(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r)
{
	*tombstones_r = create();
	if (load(*tombstones_r, dir, error_r) == 0)
		return 0;
	rst_tombstones_close(tombstones_r);
	return -1;
}

int rst_tombstones_read(const char *dir, struct rst_tombstones **tombstones_r,
			const char **error_r)
{
	*tombstones_r = create();
	if (load_readonly(*tombstones_r, dir, error_r) == 0)
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
	rst_log_close(&t->log);
	hash_table_destroy(&t->by_id);
	hash_table_destroy(&t->by_key);
	pool_unref(&t->pool);
}

/* Take the old ones out of memory, from which the file is written anew. */
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
	return write_anew(t, error_r);
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
	const char *error;

	array_foreach_elem(&t->added, tombstone) take_out(t, tombstone);
	/* half a line would spoil the next one */
	if (rst_log_cut(t->log, &error) < 0)
		i_error("%s", error);
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
	ret = rst_log_append(t->log, str_data(text), str_len(text), TRUE,
			     error_r);
	if (ret < 0)
		drop_added(t);
	array_clear(&t->added);
	str_free(&text);
	return ret;
}
