/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "buffer.h"
#include "fdatasync-path.h"
#include "hash.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "istream.h"
#include "message-date.h"
#include "write-full.h"
#include "hold-handover.h"
#include "hold-tombstone.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "restante.handovers"
#define LINE_MAX_SIZE (RST_ID_MAX + 2 * RST_KEY_SIZE + 32)
#define FIELD_START "Received: from restante-hold by "

static const char letters[] = {
	[RST_HANDOVER_NONE] = '-',   [RST_HANDOVER_OPEN] = 'O',
	[RST_HANDOVER_BEGUN] = 'B',  [RST_HANDOVER_DELIVERED] = 'D',
	[RST_HANDOVER_FAILED] = 'F',
};

struct handover {
	char *id;
	unsigned char key[RST_KEY_SIZE];
	enum rst_handover state;
	time_t since;
};

struct rst_handovers {
	pool_t pool;
	HASH_TABLE(char *, struct handover *) by_id;
	bool any;
};

static const char *get_path(const char *dir)
{
	return t_strconcat(dir, "/" FILE_NAME, NULL);
}

static int failed(const char *what, const char *path, const char **error_r)
{
	*error_r = t_strdup_printf("%s(%s) failed: %m", what, path);
	return -1;
}

/* ---- reading */

static void advance(struct handover *h, enum rst_handover to, time_t when)
{
	if (h->state == RST_HANDOVER_DELIVERED)
		return;
	if (to == RST_HANDOVER_FAILED) {
		h->state = RST_HANDOVER_NONE;
		return;
	}
	if (h->state == RST_HANDOVER_NONE)
		h->since = when;
	/* opened again, what has begun has begun all the same */
	h->state = I_MAX(h->state, to);
}

static struct handover *get(struct rst_handovers *handovers, const char *id)
{
	struct handover *h = hash_table_lookup(handovers->by_id, id);

	if (h != NULL)
		return h;
	h = p_new(handovers->pool, struct handover, 1);
	h->id = p_strdup(handovers->pool, id);
	hash_table_insert(handovers->by_id, h->id, h);
	return h;
}

static void parse_line(struct rst_handovers *handovers, const char *line)
{
	const char *const *fields = t_strsplit(line, "\t");
	buffer_t *key = t_buffer_create(RST_KEY_SIZE);
	struct handover *h;
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
	h = get(handovers, fields[0]);
	/* the plugin does not know it */
	if (!rst_key_is_zero(key->data))
		memcpy(h->key, key->data, RST_KEY_SIZE);
	advance(h, (enum rst_handover)(letter - letters), when);
}

static int read_lines(struct rst_handovers *handovers, int fd, const char *path,
		      const char **error_r)
{
	struct istream *input = i_stream_create_fd(fd, LINE_MAX_SIZE * 64);
	const char *line;
	int ret = 0;

	while ((line = i_stream_read_next_line(input)) != NULL)
		T_BEGIN
		{
			handovers->any = TRUE;
			parse_line(handovers, line);
		}
	T_END;
	if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
					   i_stream_get_error(input));
		ret = -1;
	}
	i_stream_unref(&input);
	return ret;
}

int rst_handovers_read(const char *dir, struct rst_handovers **handovers_r,
		       const char **error_r)
{
	pool_t pool = pool_alloconly_create("handovers", 1024);
	struct rst_handovers *handovers = p_new(pool, struct rst_handovers, 1);
	const char *path = get_path(dir);
	int fd, ret = 0;

	handovers->pool = pool;
	hash_table_create(&handovers->by_id, pool, 0, str_hash, strcmp);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd != -1)
		ret = read_lines(handovers, fd, path, error_r);
	else if (errno != ENOENT)
		ret = failed("open", path, error_r);
	i_close_fd(&fd);
	if (ret < 0)
		rst_handovers_free(&handovers);
	*handovers_r = handovers;
	return ret;
}

void rst_handovers_free(struct rst_handovers **_handovers)
{
	struct rst_handovers *handovers = *_handovers;

	if (handovers == NULL)
		return;
	*_handovers = NULL;
	hash_table_destroy(&handovers->by_id);
	pool_unref(&handovers->pool);
}

enum rst_handover rst_handovers_state(const struct rst_handovers *handovers,
				      const char *id, time_t *since_r)
{
	const struct handover *h = hash_table_lookup(handovers->by_id, id);

	if (h == NULL)
		return RST_HANDOVER_NONE;
	if (since_r != NULL)
		*since_r = h->since;
	return h->state;
}

bool rst_handovers_any(const struct rst_handovers *handovers)
{
	return handovers->any;
}

int rst_handovers_each(const struct rst_handovers *handovers,
		       rst_handover_func *func, void *context)
{
	struct hash_iterate_context *iter =
		hash_table_iterate_init(handovers->by_id);
	struct handover *h;
	char *id;
	int ret = 0;

	while (ret == 0 && hash_table_iterate(iter, handovers->by_id, &id, &h))
		if (h->state != RST_HANDOVER_NONE)
			ret = func(id, h->key, h->state, context);
	hash_table_iterate_deinit(&iter);
	return ret;
}

/* ---- writing */

/* The entry of a new file must be as durable as its lines. */
static int open_log(const char *dir, const char *path, const char **error_r)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd != -1 || errno != ENOENT) {
		if (fd == -1)
			(void)failed("open", path, error_r);
		return fd;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1) {
		(void)failed("open", path, error_r);
	} else if (fdatasync_path(dir) < 0) {
		(void)failed("fdatasync", dir, error_r);
		i_close_fd(&fd);
	}
	return fd;
}

int rst_handover_write(const char *dir, const char *id,
		       const unsigned char key[RST_KEY_SIZE],
		       enum rst_handover state, bool durable,
		       const char **error_r)
{
	const char *line = t_strdup_printf(
		"\n%s\t%s\t%c\t%s\n", id, binary_to_hex(key, RST_KEY_SIZE),
		letters[state], dec2str(ioloop_time));
	const char *path = get_path(dir);
	int ret = 0, fd = open_log(dir, path, error_r);

	if (fd == -1)
		return -1;
	if (write_full(fd, line, strlen(line)) < 0)
		ret = failed("write", path, error_r);
	else if (durable && fdatasync(fd) < 0)
		ret = failed("fdatasync", path, error_r);
	i_close_fd(&fd);
	return ret;
}

int rst_handovers_clear(const char *dir, const char **error_r)
{
	const char *path = get_path(dir);

	if (truncate(path, 0) == 0 || errno == ENOENT)
		return 0;
	return failed("truncate", path, error_r);
}

/* ---- the field */

const char *rst_handover_needle(const char *id)
{
	return t_strdup_printf("\tid %s;", id);
}

const char *rst_handover_field(const char *id, const char *hostname)
{
	return t_strdup_printf(FIELD_START "%s (Restante)\r\n%s %s\r\n",
			       hostname, rst_handover_needle(id),
			       message_date_create(ioloop_time));
}

const char *rst_handover_parse(const unsigned char *data, size_t size)
{
	const char *text = t_strndup(data, size), *end;

	if (!str_begins(text, FIELD_START))
		return NULL;
	text = strchr(text, '\n');
	if (text == NULL || !str_begins(text, "\n\tid "))
		return NULL;
	text += strlen("\n\tid ");
	end = strchr(text, ';');
	if (end == NULL)
		return NULL;
	text = t_strdup_until(text, end);
	return rst_id_valid(rst_str(text)) ? text : NULL;
}
