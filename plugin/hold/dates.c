/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "hash.h"
#include "istream.h"
#include "write-full.h"
#include "dates.h"
#include "restante/envelope.h"

#include <fcntl.h>
#include <unistd.h>

#define FILE_NAME "restante.clock"
#define LINE_MAX_SIZE (RST_ID_MAX + 32)
/* two machines that share a storage are not more apart */
#define FUTURE_SECS 60

struct rst_dates {
	pool_t pool;
	char *path;
	bool loaded;
	bool any_future;
	time_t previous;
	/* first seen to be in the future */
	HASH_TABLE(char *, time_t *) seen;
};

struct rst_dates *rst_dates_new(const char *dir)
{
	pool_t pool = pool_alloconly_create("clock", 512);
	struct rst_dates *clock = p_new(pool, struct rst_dates, 1);

	clock->pool = pool;
	clock->path = p_strconcat(pool, dir, "/" FILE_NAME, NULL);
	hash_table_create(&clock->seen, pool, 0, str_hash, strcmp);
	return clock;
}

void rst_dates_free(struct rst_dates **_clock)
{
	struct rst_dates *clock = *_clock;

	if (clock == NULL)
		return;
	*_clock = NULL;
	hash_table_destroy(&clock->seen);
	pool_unref(&clock->pool);
}

void rst_dates_restart(struct rst_dates *clock)
{
	clock->previous = 0;
	clock->any_future = FALSE;
}

static void remember(struct rst_dates *clock, const char *id, time_t when)
{
	time_t *value = p_new(clock->pool, time_t, 1);

	*value = when;
	hash_table_update(clock->seen, p_strdup(clock->pool, id), value);
}

/* Lines: id TAB second. What cannot be read is seen for the first time now. */
static void load(struct rst_dates *clock)
{
	const char *line, *const *fields;
	struct istream *input;
	time_t when;

	if (clock->loaded)
		return;
	clock->loaded = TRUE;
	input = i_stream_create_file(clock->path, LINE_MAX_SIZE * 16);
	while ((line = i_stream_read_next_line(input)) != NULL)
		T_BEGIN
		{
			fields = t_strsplit(line, "\t");
			if (str_array_length(fields) == 2 &&
			    str_to_time(fields[1], &when) == 0)
				remember(clock, fields[0], when);
		}
	T_END;
	i_stream_unref(&input);
}

static void store(struct rst_dates *clock, const char *id, time_t when)
{
	const char *line = t_strdup_printf("\n%s\t%s\n", id, dec2str(when));
	int fd = open(clock->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
		      0600);

	remember(clock, id, when);
	if (fd == -1 || write_full(fd, line, strlen(line)) < 0)
		i_error("write(%s) failed: %m", clock->path);
	i_close_fd(&fd);
}

/* What it was said to be once, also when that is not in the future any more. */
time_t rst_dates_seen(struct rst_dates *clock, const char *id, time_t received,
		      time_t now)
{
	const time_t *seen;

	load(clock);
	seen = hash_table_lookup(clock->seen, id);
	if (seen != NULL && *seen <= now + FUTURE_SECS) {
		clock->any_future = TRUE;
		return I_MIN(*seen, received);
	}
	if (received <= now + FUTURE_SECS)
		return received;
	clock->any_future = TRUE;
	T_BEGIN
	{
		store(clock, id, now);
	}
	T_END;
	return now;
}

time_t rst_dates_arrival(struct rst_dates *clock, const char *id,
			 time_t received, time_t now)
{
	received = rst_dates_seen(clock, id, received, now);
	clock->previous = I_MAX(clock->previous, received);
	return clock->previous;
}

void rst_dates_clean(struct rst_dates *clock)
{
	if (!clock->any_future && unlink(clock->path) < 0 && errno != ENOENT)
		i_error("unlink(%s) failed: %m", clock->path);
}
