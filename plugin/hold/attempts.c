/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "buffer.h"
#include "hash.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "str.h"
#include "attempts.h"
#include "key.h"
#include "log.h"

#define FILE_NAME "restante.handovers"
#define LINE_MAX_SIZE (RST_ID_MAX + 2 * RST_KEY_SIZE + 32)
/* the log is written anew when it has more lines than this for each message */
#define LINES_EACH 8

static const char letters[] = {
	[RST_ATTEMPT_NONE] = '-',   [RST_ATTEMPT_OPEN] = 'O',
	[RST_ATTEMPT_BEGUN] = 'B',  [RST_ATTEMPT_DELIVERED] = 'D',
	[RST_ATTEMPT_FAILED] = 'F',
};

struct attempt {
	char *id;
	unsigned char key[RST_KEY_SIZE];
	enum rst_attempt_state state;
	bool tried;   /* an attempt has begun once */
	time_t since; /* tried: when the first attempt began */
};

struct rst_attempts {
	pool_t pool;
	HASH_TABLE(char *, struct attempt *) by_id;
	unsigned int lines;
};

/* ---- reading */

static void advance(struct attempt *h, enum rst_attempt_state to, time_t when)
{
	if (h->state == RST_ATTEMPT_DELIVERED)
		return;
	if (to == RST_ATTEMPT_BEGUN && !h->tried) {
		h->tried = TRUE;
		h->since = when;
	}
	if (to == RST_ATTEMPT_FAILED) {
		h->state = RST_ATTEMPT_NONE;
		return;
	}
	/* a message that is opened again has begun all the same */
	h->state = I_MAX(h->state, to);
}

static struct attempt *get(struct rst_attempts *attempts, const char *id)
{
	struct attempt *h = hash_table_lookup(attempts->by_id, id);

	if (h != NULL)
		return h;
	h = p_new(attempts->pool, struct attempt, 1);
	h->id = p_strdup(attempts->pool, id);
	hash_table_insert(attempts->by_id, h->id, h);
	return h;
}

static void parse_line(struct rst_attempts *attempts, const char *line)
{
	const char *const *fields = t_strsplit(line, "\t");
	buffer_t *key = t_buffer_create(RST_KEY_SIZE);
	struct attempt *h;
	time_t when;
	const char *letter;

	if (str_array_length(fields) != 4 ||
	    !rst_id_valid(rst_str(fields[0])) ||
	    hex_to_binary(fields[1], key) < 0 || key->used != RST_KEY_SIZE ||
	    strlen(fields[2]) != 1 || str_to_time(fields[3], &when) < 0)
		return;
	letter = memchr(letters, fields[2][0], sizeof(letters));
	if (letter == NULL)
		return;
	h = get(attempts, fields[0]);
	/* the plugin writes zeros, as it does not know K */
	if (!rst_key_is_zero(key->data))
		memcpy(h->key, key->data, RST_KEY_SIZE);
	advance(h, (enum rst_attempt_state)(letter - letters), when);
}

static void read_line(const char *line, void *context)
{
	struct rst_attempts *attempts = context;

	if (*line != '\0')
		attempts->lines++;
	parse_line(attempts, line);
}

int rst_attempts_read(const char *dir, struct rst_attempts **attempts_r,
		      const char **error_r)
{
	pool_t pool = pool_alloconly_create("attempts", 1024);
	struct rst_attempts *attempts = p_new(pool, struct rst_attempts, 1);
	struct rst_log *log;
	int ret;

	attempts->pool = pool;
	hash_table_create(&attempts->by_id, pool, 0, str_hash, strcmp);
	ret = rst_log_open_readonly(dir, FILE_NAME, &log, error_r);
	if (ret == 0)
		ret = rst_log_each_line(log, read_line, attempts, error_r);
	rst_log_close(&log);
	if (ret < 0)
		rst_attempts_free(&attempts);
	*attempts_r = attempts;
	return ret;
}

void rst_attempts_free(struct rst_attempts **_attempts)
{
	struct rst_attempts *attempts = *_attempts;

	if (attempts == NULL)
		return;
	*_attempts = NULL;
	hash_table_destroy(&attempts->by_id);
	pool_unref(&attempts->pool);
}

enum rst_attempt_state rst_attempts_state(const struct rst_attempts *attempts,
					  const char *id)
{
	const struct attempt *h = hash_table_lookup(attempts->by_id, id);

	return h == NULL ? RST_ATTEMPT_NONE : h->state;
}

bool rst_attempts_tried(const struct rst_attempts *attempts, const char *id,
			time_t *since_r)
{
	const struct attempt *h = hash_table_lookup(attempts->by_id, id);

	if (h == NULL || !h->tried)
		return FALSE;
	*since_r = h->since;
	return TRUE;
}

bool rst_attempts_any(const struct rst_attempts *attempts)
{
	return attempts->lines > 0;
}

int rst_attempts_each(const struct rst_attempts *attempts,
		      rst_attempts_func *func, void *context)
{
	struct hash_iterate_context *iter =
		hash_table_iterate_init(attempts->by_id);
	struct attempt *h;
	char *id;
	int ret = 0;

	while (ret == 0 && hash_table_iterate(iter, attempts->by_id, &id, &h))
		ret = func(id, h->key, h->state, context);
	hash_table_iterate_deinit(&iter);
	return ret;
}

/* ---- writing */

static void append_line(string_t *text, const char *id,
			const unsigned char *key, enum rst_attempt_state state,
			time_t when)
{
	/* LF before it, too: the line before it may be torn */
	str_printfa(text, "\n%s\t%s\t%c\t%s\n", id,
		    binary_to_hex(key, RST_KEY_SIZE), letters[state],
		    dec2str(when));
}

int rst_attempts_write(const char *dir, const char *id,
		       const unsigned char key[RST_KEY_SIZE],
		       enum rst_attempt_state state, bool durable,
		       const char **error_r)
{
	string_t *line = t_str_new(LINE_MAX_SIZE);
	struct rst_log *log;
	int ret;

	if (rst_log_open(dir, FILE_NAME, TRUE, &log, error_r) < 0)
		return -1;
	append_line(line, id, key, state, ioloop_time);
	ret = rst_log_append(log, str_data(line), str_len(line), durable,
			     error_r);
	rst_log_close(&log);
	return ret;
}

/* ---- writing anew */

static void append_all(string_t *text, const struct attempt *h)
{
	if (h->tried)
		append_line(text, h->id, h->key, RST_ATTEMPT_BEGUN, h->since);
	if (h->tried && h->state < RST_ATTEMPT_BEGUN)
		append_line(text, h->id, h->key, RST_ATTEMPT_FAILED, h->since);
	if (h->state != RST_ATTEMPT_NONE && h->state != RST_ATTEMPT_BEGUN)
		append_line(text, h->id, h->key, h->state, ioloop_time);
}

/* @return how many are kept */
static unsigned int append_kept(const struct rst_attempts *attempts,
				rst_attempts_keep_func *keep, void *context,
				string_t *text)
{
	struct hash_iterate_context *iter =
		hash_table_iterate_init(attempts->by_id);
	unsigned int kept = 0;
	struct attempt *h;
	char *id;

	while (hash_table_iterate(iter, attempts->by_id, &id, &h))
		T_BEGIN
		{
			if (keep(id, context)) {
				append_all(text, h);
				kept++;
			}
		}
	T_END;
	hash_table_iterate_deinit(&iter);
	return kept;
}

/* @param text NULL: no line is kept */
static int write_anew(const char *dir, const string_t *text,
		      const char **error_r)
{
	struct rst_log *log;
	int ret;

	if (rst_log_open(dir, FILE_NAME, TRUE, &log, error_r) < 0)
		return -1;
	/* no fdatasync(): each line that came back would be of a message with a
	   tombstone */
	ret = text == NULL ? rst_log_clear(log, error_r)
			   : rst_log_replace(log, str_data(text), str_len(text),
					     error_r);
	rst_log_close(&log);
	return ret;
}

int rst_attempts_trim(const struct rst_attempts *attempts, const char *dir,
		      rst_attempts_keep_func *keep, void *context,
		      const char **error_r)
{
	string_t *text = str_new(default_pool, 1024);
	unsigned int kept = append_kept(attempts, keep, context, text);
	int ret = 0;

	if (kept == 0 || attempts->lines > LINES_EACH * (kept + 10))
		ret = write_anew(dir, kept == 0 ? NULL : text, error_r);
	str_free(&text);
	return ret;
}
