/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "hash.h"
#include "dates.h"
#include "log.h"
#include "restante/envelope.h"

#include <unistd.h>

#define FILE_NAME "restante.clock"
/* the clocks of two machines that share a storage are not further apart */
#define FUTURE_SECS 60

struct rst_dates {
	pool_t pool;
	const char *dir;
	bool loaded;
	bool any_future;
	time_t previous;
	/* by id: when its arrival was first seen to be in the future */
	HASH_TABLE(char *, time_t *) seen;
};

struct rst_dates *rst_dates_new(const char *dir)
{
	pool_t pool = pool_alloconly_create("dates", 512);
	struct rst_dates *dates = p_new(pool, struct rst_dates, 1);

	dates->pool = pool;
	dates->dir = p_strdup(pool, dir);
	hash_table_create(&dates->seen, pool, 0, str_hash, strcmp);
	return dates;
}

void rst_dates_free(struct rst_dates **_dates)
{
	struct rst_dates *dates = *_dates;

	if (dates == NULL)
		return;
	*_dates = NULL;
	hash_table_destroy(&dates->seen);
	pool_unref(&dates->pool);
}

void rst_dates_restart(struct rst_dates *dates)
{
	dates->previous = 0;
	dates->any_future = FALSE;
}

static void remember(struct rst_dates *dates, const char *id, time_t when)
{
	time_t *value = p_new(dates->pool, time_t, 1);

	*value = when;
	hash_table_update(dates->seen, p_strdup(dates->pool, id), value);
}

/* id TAB second */
static void read_line(const char *line, void *context)
{
	const char *const *fields = t_strsplit(line, "\t");
	time_t when;

	if (str_array_length(fields) == 2 && str_to_time(fields[1], &when) == 0)
		remember(context, fields[0], when);
}

/* A message whose line cannot be read is seen for the first time now. */
static void load(struct rst_dates *dates)
{
	struct rst_log *log;
	const char *error;

	if (dates->loaded)
		return;
	dates->loaded = TRUE;
	if (rst_log_open_readonly(dates->dir, FILE_NAME, &log, &error) < 0)
		return;
	(void)rst_log_each_line(log, read_line, dates, &error);
	rst_log_close(&log);
}

/* With LF before the line, too: the one before it may be torn. */
static void append(struct rst_dates *dates, const char *id, time_t when)
{
	const char *line = t_strdup_printf("\n%s\t%s\n", id, dec2str(when));
	struct rst_log *log;
	const char *error;

	remember(dates, id, when);
	if (rst_log_open(dates->dir, FILE_NAME, FALSE, &log, &error) < 0 ||
	    rst_log_append(log, line, strlen(line), FALSE, &error) < 0)
		i_error("%s", error);
	rst_log_close(&log);
}

time_t rst_dates_seen(struct rst_dates *dates, const char *id, time_t received,
		      time_t now)
{
	const time_t *seen;

	load(dates);
	seen = hash_table_lookup(dates->seen, id);
	/* also when its arrival is not in the future any more */
	if (seen != NULL && *seen <= now + FUTURE_SECS) {
		dates->any_future = TRUE;
		return I_MIN(*seen, received);
	}
	if (received <= now + FUTURE_SECS)
		return received;
	dates->any_future = TRUE;
	T_BEGIN
	{
		append(dates, id, now);
	}
	T_END;
	return now;
}

time_t rst_dates_arrival(struct rst_dates *dates, const char *id,
			 time_t received, time_t now)
{
	received = rst_dates_seen(dates, id, received, now);
	dates->previous = I_MAX(dates->previous, received);
	return dates->previous;
}

void rst_dates_clean(struct rst_dates *dates)
{
	const char *path = t_strconcat(dates->dir, "/" FILE_NAME, NULL);

	if (!dates->any_future && unlink(path) < 0 && errno != ENOENT)
		i_error("unlink(%s) failed: %m", path);
}
