/* SPDX-License-Identifier: MIT */
/*
 * A watch:
 *
 *   FRESH --+
 *   IDLE ---+--> ASKING --+--> IDLE    nothing has changed, or no answer
 *   SOON ---'             +--> SOON    a first "no", or the connection broke
 *              HOLDING <--'
 *
 *   FRESH    to be asked at once: nothing is known yet
 *   IDLE     to be asked when an interval is over
 *   SOON     to be asked when confirm_ms are over
 *   ASKING   PASS and USER are with Dovecot
 *   HOLDING  waits for restante-hold, or is with it
 *
 * Each state has a list. In IDLE and SOON all have waited for the same time, so
 * the first is the first to be due. However many are due at once, one is taken
 * each 1000 / per_second ms, and those of a few ms together.
 */
#include "recheck.h"

#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "hold-job.h"
#include "lookup-conn.h"
#include "restante/clock.h"
#include "restante/siphash.h"

/** Sessions whose answers are awaited: a passdb that is slow (LDAP) is not
    flooded, sign-ins have to be answered as well. */
#define MAX_ASKING 16
/** Turns that come so soon one after the other are taken together: a timer and
   a write for each of them would cost twice the CPU. */
#define TOGETHER_MS 25
/** A turn that came late is made up for, if it is not later than this. */
#define CATCH_UP_MS 50
/** Where nobody is asked, how often a session's age is looked at. */
#define AGE_MS 60000
/** restante-hold opens a user for each question: then it rests for so many
    times as long. */
#define REST 3
/** A session lives for 3/4 to 4/4 of its lifetime, so that those who signed in
    together do not come back together. */
#define LIFETIME_PARTS 4
#define QUESTIONS 2

enum watch_state {
	FRESH,
	IDLE,
	SOON,
	ASKING,
	HOLDING,
	STATES
};

/* What Dovecot said. A hash is that of a field, 0 where there is none. */
struct finding {
	enum rst_lookup_result result;
	uint64_t pass_changed, enrolled;
};

struct recheck_watch {
	TAILQ_ENTRY(recheck_watch) entry; /* in the list of its state */
	struct recheck *recheck;
	const char *user, *remote;
	void *session;
	enum watch_state state;
	int64_t due_ms;         /* IDLE, SOON */
	int64_t end_ms;         /* of its lifetime; -1: none */
	ssize_t ids[QUESTIONS]; /* ASKING: of the questions; 0: answered */
	struct finding before[QUESTIONS], now[QUESTIONS];
	enum recheck_reason doubt; /* the first "no" */
	uint64_t server; /* the auth process under which enrolment was sure */
};
TAILQ_HEAD(watch_list, recheck_watch);

struct recheck {
	struct event_base *base;
	struct recheck_config config;
	struct lookup_conn *conn;
	struct watch_list lists[STATES];
	unsigned int asking;
	struct event *timer;
	int64_t turn_ms; /* the next one may be taken */
	uint64_t server; /* process id of Dovecot's auth */
	unsigned char key[RST_SIPHASH_KEY];
	/* restante-hold */
	struct hold_job *job; /* for the first of HOLDING */
	struct event *rest;
	int64_t job_ms; /* when it began */
};

const char *recheck_text(enum recheck_reason reason)
{
	switch (reason) {
	case RECHECK_GONE:
		return "The account does not exist any more";
	case RECHECK_DISABLED:
		return "The account may not sign in any more";
	case RECHECK_UNENROLLED:
		return "Mail is not held for this account any more";
	case RECHECK_PASSWORD:
		return "The password was changed, sign in again";
	case RECHECK_LIFETIME:
		return "Signed in for long enough, sign in again";
	case RECHECK_NONE:
		break;
	}
	return "";
}

static void move(struct recheck_watch *watch, enum watch_state state,
		 int64_t due_ms)
{
	struct recheck *recheck = watch->recheck;

	TAILQ_REMOVE(&recheck->lists[watch->state], watch, entry);
	if (watch->state == ASKING)
		recheck->asking--;
	watch->state = state;
	watch->due_ms = due_ms;
	if (state == ASKING)
		recheck->asking++;
	TAILQ_INSERT_TAIL(&recheck->lists[state], watch, entry);
}

static int64_t interval_ms(const struct recheck *recheck)
{
	return recheck->config.interval_ms > 0 ? recheck->config.interval_ms
					       : AGE_MS;
}

static void rest_until_next(struct recheck_watch *watch)
{
	move(watch, IDLE, clock_ms() + interval_ms(watch->recheck));
}

/* ---- the verdict */

/* @return whether the watch has gone */
static bool end(struct recheck_watch *watch, enum recheck_reason reason)
{
	const struct recheck_config *config = &watch->recheck->config;

	if (config->out(watch->session, reason, config->ctx))
		return true;
	rest_until_next(watch);
	return false;
}

static void decide(struct recheck_watch *watch, enum recheck_reason reason)
{
	bool again = watch->doubt != RECHECK_NONE;

	watch->doubt = reason;
	if (reason == RECHECK_NONE)
		rest_until_next(watch);
	else if (again)
		(void)end(watch, reason);
	else
		move(watch, SOON,
		     clock_ms() + watch->recheck->config.confirm_ms);
}

/* A first answer is what later ones are compared with. A passdb that says NONE
   of somebody who has just signed in cannot be asked without a password; it may
   say FOUND later. */
static void learn(struct finding *before, const struct finding *now)
{
	if (now->result != RST_LOOKUP_UNKNOWN &&
	    before->result != RST_LOOKUP_FOUND)
		*before = *now;
}

static bool is_lost(const struct recheck_watch *watch,
		    enum rst_lookup_question question)
{
	return watch->before[question].result == RST_LOOKUP_FOUND &&
	       watch->now[question].result == RST_LOOKUP_NONE;
}

static bool both_found(const struct recheck_watch *watch,
		       enum rst_lookup_question question)
{
	return watch->before[question].result == RST_LOOKUP_FOUND &&
	       watch->now[question].result == RST_LOOKUP_FOUND;
}

static bool pass_changed(const struct recheck_watch *watch)
{
	unsigned int i;

	for (i = 0; i < QUESTIONS; i++) {
		if (both_found(watch, i) &&
		    watch->before[i].pass_changed != watch->now[i].pass_changed)
			return true;
	}
	return false;
}

static enum recheck_reason compare(const struct recheck_watch *watch)
{
	if (is_lost(watch, RST_LOOKUP_USER))
		return RECHECK_GONE;
	if (is_lost(watch, RST_LOOKUP_PASS))
		return RECHECK_DISABLED;
	return pass_changed(watch) ? RECHECK_PASSWORD : RECHECK_NONE;
}

/* The default, of plugin {}, is known to restante-hold only, and changes with
   Dovecot's configuration, which a new auth process reads. */
static bool enrolment_is_sure(const struct recheck_watch *watch)
{
	return watch->doubt != RECHECK_UNENROLLED &&
	       watch->server == watch->recheck->server &&
	       (!both_found(watch, RST_LOOKUP_USER) ||
		watch->before[RST_LOOKUP_USER].enrolled ==
			watch->now[RST_LOOKUP_USER].enrolled);
}

/* ---- restante-hold */

static enum recheck_reason reason_of(const struct rst_hold_event *ev)
{
	if (ev == NULL || ev->type != RST_HOLD_REFUSED)
		return RECHECK_NONE;
	if (rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_USER)))
		return RECHECK_GONE;
	if (rst_str_eq(ev->code, RST_STR(RST_HOLD_NO_ENROLLED)))
		return RECHECK_UNENROLLED;
	return RECHECK_NONE;
}

static void rest_hold(struct recheck *recheck)
{
	int64_t took_ms = clock_ms() - recheck->job_ms;
	struct timeval delay = clock_timeval(REST * (took_ms + 1));

	hold_job_free(&recheck->job);
	(void)event_add(recheck->rest, &delay);
}

static void run(struct recheck *recheck);

static void on_hold(const struct rst_hold_event *ev, const char *text,
		    void *ctx)
{
	struct recheck *recheck = ctx;
	struct recheck_watch *watch = TAILQ_FIRST(&recheck->lists[HOLDING]);
	enum recheck_reason reason = reason_of(ev);

	(void)text;
	if (ev != NULL && ev->type == RST_HOLD_OPENED) {
		watch->before[RST_LOOKUP_USER] = watch->now[RST_LOOKUP_USER];
		watch->server = recheck->server;
	}
	/* *ev lives until then */
	rest_hold(recheck);
	decide(watch, reason);
	run(recheck);
}

static void ask_hold(struct recheck *recheck)
{
	struct recheck_watch *watch = TAILQ_FIRST(&recheck->lists[HOLDING]);

	if (watch == NULL || recheck->job != NULL ||
	    evtimer_pending(recheck->rest, NULL))
		return;
	recheck->job_ms = clock_ms();
	recheck->job = hold_job_start(
		recheck->base, recheck->config.hold_socket, HOLD_JOB_CHECK,
		rst_str(watch->user), on_hold, recheck);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_hold(arg);
}

/* ---- Dovecot's answers */

static void judge(struct recheck_watch *watch)
{
	enum recheck_reason reason;
	unsigned int i;

	for (i = 0; i < QUESTIONS; i++)
		learn(&watch->before[i], &watch->now[i]);
	reason = compare(watch);
	if (reason != RECHECK_NONE || enrolment_is_sure(watch)) {
		decide(watch, reason);
	} else {
		move(watch, HOLDING, 0);
		ask_hold(watch->recheck);
	}
}

static uint64_t hash_field(const struct recheck *recheck, struct rst_str fields,
			   const char *name)
{
	struct rst_str value;

	return rst_lookup_field(fields, name, &value)
		       ? rst_siphash(recheck->key, value) | 1
		       : 0;
}

static void find(const struct recheck *recheck,
		 const struct rst_lookup_answer *answer,
		 enum rst_lookup_question question, struct finding *finding_r)
{
	struct rst_str fields = answer->fields, value;

	*finding_r = (struct finding){.result = answer->result};
	if (answer->result != RST_LOOKUP_FOUND)
		return;
	finding_r->pass_changed =
		hash_field(recheck, fields, "restante_pass_changed");
	if (question == RST_LOOKUP_USER) {
		/* either name is a setting of plugin {} */
		finding_r->enrolled =
			hash_field(recheck, fields, "restante") ^
			hash_field(recheck, fields, "plugin/restante") << 1;
	} else if (rst_lookup_field(fields, "nologin", &value) &&
		   !rst_lookup_field(fields, "proxy", &value)) {
		finding_r->result = RST_LOOKUP_NONE;
	}
}

static struct recheck_watch *find_asking(struct recheck *recheck, uint32_t id,
					 unsigned int *question_r)
{
	struct recheck_watch *watch;

	TAILQ_FOREACH(watch, &recheck->lists[ASKING], entry)
	{
		for (*question_r = 0; *question_r < QUESTIONS; (*question_r)++)
			if (watch->ids[*question_r] == (ssize_t)id)
				return watch;
	}
	return NULL;
}

static void on_answer(const struct rst_lookup_answer *answer, void *ctx)
{
	struct recheck *recheck = ctx;
	unsigned int question;
	struct recheck_watch *watch =
		find_asking(recheck, answer->id, &question);

	if (watch == NULL)
		return;
	find(recheck, answer, question, &watch->now[question]);
	watch->ids[question] = 0;
	if (watch->ids[RST_LOOKUP_PASS] != 0 ||
	    watch->ids[RST_LOOKUP_USER] != 0)
		return;
	judge(watch);
	run(recheck);
}

static void on_lost(void *ctx)
{
	struct recheck *recheck = ctx;
	struct recheck_watch *watch;

	while ((watch = TAILQ_FIRST(&recheck->lists[ASKING])) != NULL)
		move(watch, SOON, clock_ms() + recheck->config.confirm_ms);
	run(recheck);
}

static void on_ready(uint64_t server, void *ctx)
{
	struct recheck *recheck = ctx;

	recheck->server = server;
	run(recheck);
}

static const struct lookup_conn_callbacks calls = {on_ready, on_answer,
						   on_lost};

/* ---- whose turn it is */

static struct recheck_watch *next_due(struct recheck *recheck, int64_t now_ms)
{
	static const enum watch_state order[] = {FRESH, SOON, IDLE};
	unsigned int i;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct recheck_watch *watch =
			TAILQ_FIRST(&recheck->lists[order[i]]);

		if (watch != NULL && watch->due_ms <= now_ms)
			return watch;
	}
	return NULL;
}

static void ask(struct recheck_watch *watch)
{
	struct recheck *recheck = watch->recheck;
	unsigned int i;

	move(watch, ASKING, 0);
	for (i = 0; i < QUESTIONS; i++) {
		watch->now[i] = (struct finding){.result = RST_LOOKUP_UNKNOWN};
		watch->ids[i] =
			lookup_conn_ask(recheck->conn, i, rst_str(watch->user),
					rst_str(watch->remote));
	}
	/* a name that is too long for Dovecot: both are refused */
	if (watch->ids[RST_LOOKUP_PASS] < 0)
		rest_until_next(watch);
	else if (watch->ids[RST_LOOKUP_USER] < 0)
		watch->ids[RST_LOOKUP_USER] = 0;
}

static void take(struct recheck_watch *watch, int64_t now_ms)
{
	struct recheck *recheck = watch->recheck;

	/* a session that was just registered has its account looked at first */
	if (watch->state == IDLE && watch->end_ms >= 0 &&
	    watch->end_ms <= now_ms && end(watch, RECHECK_LIFETIME))
		return;
	if (recheck->config.interval_ms > 0)
		ask(watch);
	else
		rest_until_next(watch);
}

static void set_timer(struct recheck *recheck, int64_t now_ms)
{
	const struct recheck_watch *fresh = TAILQ_FIRST(&recheck->lists[FRESH]);
	const struct recheck_watch *idle = TAILQ_FIRST(&recheck->lists[IDLE]);
	const struct recheck_watch *soon = TAILQ_FIRST(&recheck->lists[SOON]);
	int64_t due_ms = fresh == NULL ? -1 : 0;
	struct timeval delay;

	due_ms = clock_sooner(due_ms, idle == NULL ? -1 : idle->due_ms);
	due_ms = clock_sooner(due_ms, soon == NULL ? -1 : soon->due_ms);
	if (due_ms < 0) {
		(void)event_del(recheck->timer);
		return;
	}
	if (due_ms < now_ms + TOGETHER_MS)
		due_ms = now_ms + TOGETHER_MS;
	delay = clock_timeval(due_ms - now_ms);
	(void)event_add(recheck->timer, &delay);
}

/* Where Dovecot is away no session ends because of its age either: its client
   could not sign in again. */
static void run(struct recheck *recheck)
{
	int64_t now_ms = clock_ms(), step = 1000 / recheck->config.per_second;
	struct recheck_watch *watch;
	bool stuck = false;

	while (now_ms >= recheck->turn_ms && !stuck &&
	       (watch = next_due(recheck, now_ms)) != NULL) {
		stuck = recheck->asking >= MAX_ASKING ||
			(recheck->config.interval_ms > 0 &&
			 !lookup_conn_open(recheck->conn));
		if (stuck)
			break;
		recheck->turn_ms += step;
		if (recheck->turn_ms < now_ms - CATCH_UP_MS)
			recheck->turn_ms = now_ms - CATCH_UP_MS;
		take(watch, now_ms);
	}
	if (stuck) /* an answer, or on_ready(), goes on */
		(void)event_del(recheck->timer);
	else
		set_timer(recheck, now_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	run(arg);
}

/* ---- beginning and end */

struct recheck *recheck_new(struct event_base *base,
			    const struct recheck_config *config)
{
	struct recheck *recheck = rst_calloc(1, sizeof(*recheck));
	unsigned int i;

	recheck->base = base;
	recheck->config = *config;
	evutil_secure_rng_get_bytes(recheck->key, sizeof(recheck->key));
	for (i = 0; i < STATES; i++)
		TAILQ_INIT(&recheck->lists[i]);
	recheck->conn =
		lookup_conn_new(base, config->userdb_socket, &calls, recheck);
	recheck->timer = evtimer_new(base, on_timer, recheck);
	recheck->rest = evtimer_new(base, on_rested, recheck);
	if (recheck->timer == NULL || recheck->rest == NULL)
		abort();
	/* the log says at once where it does not exist */
	if (config->interval_ms > 0)
		(void)lookup_conn_open(recheck->conn);
	return recheck;
}

void recheck_free(struct recheck **_recheck)
{
	struct recheck *recheck = *_recheck;

	*_recheck = NULL;
	if (recheck == NULL)
		return;
	hold_job_free(&recheck->job);
	lookup_conn_free(&recheck->conn);
	event_free(recheck->timer);
	event_free(recheck->rest);
	free(recheck);
}

static int64_t end_of_life(const struct recheck *recheck)
{
	int64_t spread = recheck->config.lifetime_ms / LIFETIME_PARTS;
	uint64_t random = 0;

	if (recheck->config.lifetime_ms == 0)
		return -1;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	return clock_ms() + recheck->config.lifetime_ms -
	       (int64_t)(random % (uint64_t)(spread + 1));
}

struct recheck_watch *recheck_add(struct recheck *recheck, const char *user,
				  const char *remote, void *session)
{
	struct recheck_watch *watch;
	unsigned int i;

	if (recheck == NULL)
		return NULL;
	watch = rst_calloc(1, sizeof(*watch));
	watch->recheck = recheck;
	watch->user = user;
	watch->remote = remote;
	watch->session = session;
	watch->end_ms = end_of_life(recheck);
	watch->server = recheck->server;
	for (i = 0; i < QUESTIONS; i++)
		watch->before[i].result = RST_LOOKUP_UNKNOWN;
	watch->state = FRESH;
	TAILQ_INSERT_TAIL(&recheck->lists[FRESH], watch, entry);
	/* not run(): the caller is in the middle of a registration */
	set_timer(recheck, clock_ms());
	return watch;
}

void recheck_remove(struct recheck_watch **_watch)
{
	struct recheck_watch *watch = *_watch;
	struct recheck *recheck;

	*_watch = NULL;
	if (watch == NULL)
		return;
	recheck = watch->recheck;
	if (recheck->job != NULL &&
	    watch == TAILQ_FIRST(&recheck->lists[HOLDING]))
		rest_hold(recheck);
	TAILQ_REMOVE(&recheck->lists[watch->state], watch, entry);
	if (watch->state == ASKING)
		recheck->asking--;
	free(watch);
}
