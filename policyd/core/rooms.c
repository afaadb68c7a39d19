/* SPDX-License-Identifier: MIT */
#include "rooms.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "hold-job.h"
#include "restante/clock.h"

/** An answer that comes later than RST_HOLDER_FULL_SECS is of no use. */
#define MAX_WAITING 256
/** restante-hold opens a user for each question: then it rests for so many
    times as long. */
#define REST 3
#define MAX_REST_MS 1000

struct asked {
	STAILQ_ENTRY(asked) entry;
	char *user;
};

struct rooms {
	struct event_base *base;
	struct rooms_config config;
	STAILQ_HEAD(, asked) waiting; /* with the one that job asks for */
	unsigned int count;
	struct hold_job *job;
	int64_t job_ms; /* when it began */
	struct event *rest;
};

static void forget_first(struct rooms *rooms)
{
	struct asked *asked = STAILQ_FIRST(&rooms->waiting);

	STAILQ_REMOVE_HEAD(&rooms->waiting, entry);
	rooms->count--;
	free(asked->user);
	free(asked);
}

static void rest(struct rooms *rooms)
{
	int64_t ms = (clock_ms() - rooms->job_ms) * REST;
	struct timeval delay =
		clock_timeval(ms < MAX_REST_MS ? ms : MAX_REST_MS);

	(void)event_add(rooms->rest, &delay);
}

/* Where there is no answer, nothing is known: LMTP says 452 by itself. */
static void on_answer(const struct rst_hold_event *ev, const char *text,
		      void *ctx)
{
	struct rooms *rooms = ctx;

	(void)text;
	if (ev != NULL && ev->type == RST_HOLD_OPENED && ev->full)
		rooms->config.full(rst_str(STAILQ_FIRST(&rooms->waiting)->user),
				   rooms->config.ctx);
	hold_job_free(&rooms->job);
	forget_first(rooms);
	rest(rooms);
}

static void ask_next(struct rooms *rooms)
{
	struct asked *asked = STAILQ_FIRST(&rooms->waiting);

	if (asked == NULL || rooms->job != NULL)
		return;
	rooms->job_ms = clock_ms();
	rooms->job = hold_job_start(rooms->base, rooms->config.hold_socket,
				    HOLD_JOB_CHECK, rst_str(asked->user),
				    on_answer, rooms);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_next(arg);
}

static bool is_waiting(const struct rooms *rooms, struct rst_str user)
{
	const struct asked *asked;

	STAILQ_FOREACH(asked, &rooms->waiting, entry)
	if (rst_str_eq(user, rst_str(asked->user)))
		return true;
	return false;
}

void rooms_ask(struct rooms *rooms, struct rst_str user)
{
	struct asked *asked;

	if (rooms->count == MAX_WAITING || is_waiting(rooms, user))
		return;
	asked = rst_calloc(1, sizeof(*asked));
	asked->user = rst_str_dup(user);
	STAILQ_INSERT_TAIL(&rooms->waiting, asked, entry);
	rooms->count++;
	if (!event_pending(rooms->rest, EV_TIMEOUT, NULL))
		ask_next(rooms);
}

struct rooms *rooms_new(struct event_base *base,
			const struct rooms_config *config)
{
	struct rooms *rooms = rst_calloc(1, sizeof(*rooms));

	rooms->base = base;
	rooms->config = *config;
	STAILQ_INIT(&rooms->waiting);
	rooms->rest = evtimer_new(base, on_rested, rooms);
	if (rooms->rest == NULL)
		abort();
	return rooms;
}

void rooms_free(struct rooms **_rooms)
{
	struct rooms *rooms = *_rooms;

	*_rooms = NULL;
	if (rooms == NULL)
		return;
	hold_job_free(&rooms->job);
	while (rooms->count > 0)
		forget_first(rooms);
	event_free(rooms->rest);
	free(rooms);
}
