/* SPDX-License-Identifier: MIT */
/*
 * WAITING --timer--> DIALLING --connected--> CONNECTED --ended--> WAITING
 *                     ^   `--failed--> WAITING   `--the store failed--> NO_ROOM
 *                     `-----------the store can be opened again-----------'
 *
 * WAITING: `timer` runs. DIALLING: `dial` is set. CONNECTED: `conn` is set.
 * A store whose paths lead elsewhere has failed, too, and is found in DIALLING
 * as well. NO_ROOM: `store` is NULL, and `room_timer` runs. SIGUSR1 leads from
 * all but NO_ROOM to DIALLING. With `once` each end of a connection, and each
 * failure to get one, ends the loop.
 */
#include "registration.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

#include <event2/event.h>
#include <event2/util.h>

#include "backoff.h"
#include "dial.h"
#include "log.h"
#include "restante/clock.h"
#include "room.h"
#include "server-conn.h"

#define ADDRESS_TIMEOUT_MS 10000
#define REPLY_TIMEOUT_MS 60000
/* policyd says NOOP every four minutes */
#define IDLE_TIMEOUT_MS 900000
#define ONCE_TIMEOUT_MS 60000
#define CLOSE_TIMEOUT_MS 5000
/* About two fsyncs: waiting so long, to save some, pays. */
#define GATHER_MS 50
/* A session that lasted longer is no failure. */
#define STEADY_MS 30000
/* The same after CLOSE: two machines of one user would drive each other out. */
#define DISMISSED_STEADY_MS 600000
/* How often to look whether there is room again. */
#define ROOM_MS 1000

struct registration {
	const struct conf *conf;
	struct tls *tls;
	const struct store_settings *store_settings;
	struct store *store;
	struct place_disks disks; /* of the last one */
	int probe_errno;          /* that was reported; or 0 */
	bool once;
	struct event_base *base;
	struct event *timer;
	struct event *room_timer; /* then try_store() */
	struct event *signals[3];
	struct dial *dial;
	struct server_conn *conn;
	struct backoff backoff;
	struct backoff room_backoff; /* of room that turned out too small */
	int64_t connected_ms;
	const char *password_doubt; /* of the sign-in's; or NULL */
	bool stopping;
	int status;
};

static void start_dial(struct registration *reg);

static uint32_t chance(void)
{
	uint32_t value;

	evutil_secure_rng_get_bytes(&value, sizeof(value));
	return value;
}

static void leave(struct registration *reg, int status)
{
	reg->status = status;
	event_base_loopbreak(reg->base);
}

static void set_timer(struct event *timer, int64_t ms)
{
	const struct timeval wait = clock_timeval(ms);

	evtimer_add(timer, &wait);
}

static void wait_then_dial(struct registration *reg, int64_t ms)
{
	struct rst_logline line;

	rst_logline_begin(&line, "next try");
	rst_logline_i64(&line, "secs", (ms + 999) / 1000);
	log_line(LOG_INFO, &line);
	set_timer(reg->timer, ms);
}

static void failed(struct registration *reg)
{
	if (reg->stopping || reg->once)
		leave(reg, reg->once ? EX_TEMPFAIL : EX_OK);
	else
		wait_then_dial(reg, backoff_next_ms(&reg->backoff, chance()));
}

/* ---- the end of a connection */

static int once_status(const struct server_conn_result *result)
{
	switch (result->end) {
	case SERVER_CONN_FINISHED:
		return result->left == 0 ? EX_OK : EX_TEMPFAIL;
	case SERVER_CONN_REFUSED:
		return EX_NOPERM;
	default:
		return EX_TEMPFAIL;
	}
}

static void log_password_doubt(const struct registration *reg,
			       struct rst_logline *line)
{
	rst_logline_cstr(line, "hint", reg->password_doubt);
	rst_logline_cstr(line, "path", reg->conf->value[CONF_PASSWORD_FILE]);
}

static void log_end(const struct registration *reg,
		    const struct server_conn_result *result)
{
	struct rst_logline line;
	int level = LOG_INFO;

	switch (result->end) {
	case SERVER_CONN_FINISHED:
	case SERVER_CONN_STOPPED:
	case SERVER_CONN_ROOM_AGAIN:
		rst_logline_begin(&line, "signed out");
		break;
	case SERVER_CONN_DISMISSED:
		rst_logline_begin(&line, "sent away by the server");
		break;
	case SERVER_CONN_MOVED:
		level = LOG_WARNING;
		rst_logline_begin(&line, "left the mail at the server");
		break;
	case SERVER_CONN_NO_ROOM:
		level = LOG_ERR;
		rst_logline_begin(&line, "left the mail at the server");
		break;
	case SERVER_CONN_LOST:
		rst_logline_begin(&line, "lost connection");
		break;
	case SERVER_CONN_REFUSED:
		level = LOG_ERR;
		rst_logline_begin(&line, "sign-in refused");
		break;
	case SERVER_CONN_TEMPFAIL:
		level = LOG_WARNING;
		rst_logline_begin(&line, "sign-in failed for now");
		break;
	default:
		level = LOG_ERR;
		rst_logline_begin(&line, "sign-in or session failed");
	}
	rst_logline_cstr(&line, "reason", result->text);
	if (result->end == SERVER_CONN_REFUSED && reg->password_doubt != NULL)
		log_password_doubt(reg, &line);
	if (reg->once && result->signed_in)
		rst_logline_u64(&line, "left", result->left);
	log_line(level, &line);
}

/* A second, or longer each time that storing failed although there was room. */
static int64_t room_wait_ms(struct registration *reg)
{
	int64_t ms = backoff_next_ms(&reg->room_backoff, chance());

	return ms < ROOM_MS ? ROOM_MS : ms;
}

static void reopen_store(struct registration *reg)
{
	store_free(&reg->store);
	reg->probe_errno = 0;
	set_timer(reg->room_timer, room_wait_ms(reg));
}

static void wait_for_room(struct registration *reg)
{
	log_short(LOG_WARNING, "waiting for a disk that can be written to",
		  "maildir", reg->store_settings->maildir);
	reopen_store(reg);
}

static void wait_after(struct registration *reg,
		       const struct server_conn_result *result)
{
	int64_t lasted = clock_ms() - reg->connected_ms;
	bool dismissed = result->end == SERVER_CONN_DISMISSED;

	if (result->signed_in &&
	    lasted >= (dismissed ? DISMISSED_STEADY_MS : STEADY_MS))
		backoff_reset(&reg->backoff);
	switch (result->end) {
	case SERVER_CONN_NO_ROOM:
		wait_for_room(reg);
		break;
	case SERVER_CONN_MOVED:
		reopen_store(reg);
		break;
	case SERVER_CONN_ROOM_AGAIN:
		wait_then_dial(reg, room_wait_ms(reg) - ROOM_MS);
		break;
	case SERVER_CONN_REFUSED:
	case SERVER_CONN_FINISHED: /* a plain ODMR server: poll it */
		wait_then_dial(reg, backoff_refused_ms(chance()));
		break;
	case SERVER_CONN_DISMISSED:
		wait_then_dial(reg,
			       backoff_dismissed_ms(&reg->backoff, chance()));
		break;
	default:
		wait_then_dial(reg, backoff_next_ms(&reg->backoff, chance()));
	}
}

static void on_ended(const struct server_conn_result *result, void *ctx)
{
	struct registration *reg = ctx;

	log_end(reg, result);
	/* messages were stored before the disk was full again: there was
	   room */
	if (result->stored > 0 &&
	    (result->left == 0 || result->end == SERVER_CONN_NO_ROOM))
		backoff_reset(&reg->room_backoff);
	server_conn_free(&reg->conn); /* before its store */
	if (reg->once)
		leave(reg, once_status(result));
	else if (reg->stopping)
		leave(reg, EX_OK);
	else
		wait_after(reg, result);
}

/* ---- the beginning */

static void connect_server(struct registration *reg, struct bufferevent *bev,
			   char *password)
{
	const char *hostname = reg->conf->domain;
	const struct server_conn_settings settings = {
		.customer = {.hostname = hostname,
			     .user = reg->conf->value[CONF_USER],
			     .password = password,
			     .pipelined = tls_server_is_ours(bev),
			     .reply_timeout_ms = REPLY_TIMEOUT_MS},
		.hostname = hostname,
		.idle_timeout_ms = IDLE_TIMEOUT_MS,
		.once = reg->once,
		.once_timeout_ms = ONCE_TIMEOUT_MS,
		.room_interval_ms = reg->once ? 0 : ROOM_MS,
		.gather_ms = GATHER_MS,
		.close_timeout_ms = CLOSE_TIMEOUT_MS,
		.half_close = tls_half_close,
	};

	reg->connected_ms = clock_ms();
	reg->conn = server_conn_new(bev, reg->store, &settings, on_ended, reg);
}

static void log_connected(struct bufferevent *bev, const char *address)
{
	char tls[TLS_ERROR_SIZE];
	struct rst_logline line;

	tls_describe(bev, tls);
	rst_logline_begin(&line, "connected");
	rst_logline_cstr(&line, "address", address);
	rst_logline_cstr(&line, "tls", tls);
	log_line(LOG_DEBUG, &line);
}

/* The password is read for each connection, so that a change takes effect. */
static void use_connection(struct registration *reg, struct bufferevent *bev)
{
	const char *path = reg->conf->value[CONF_PASSWORD_FILE], *error;
	char *password = conf_password(path, &error);
	struct rst_logline line;

	if (password != NULL) {
		reg->password_doubt = conf_password_doubt(password);
		connect_server(reg, bev, password);
		conf_password_free(&password);
		return;
	}
	rst_logline_begin(&line, "cannot read the password");
	rst_logline_cstr(&line, "path", path);
	rst_logline_cstr(&line, "error", error);
	log_line(LOG_ERR, &line);
	bufferevent_free(bev);
	failed(reg);
}

static void on_dialled(struct bufferevent *bev, const char *text, void *ctx)
{
	struct registration *reg = ctx;
	struct rst_logline line;

	if (bev != NULL) {
		log_connected(bev, text);
		use_connection(reg, bev);
	} else {
		rst_logline_begin(&line, "cannot reach the server");
		rst_logline_cstr(&line, "server",
				 reg->conf->value[CONF_SERVER]);
		rst_logline_cstr(&line, "error", text);
		if (dial_untrusted(reg->dial))
			rst_logline_cstr(&line, "mend",
					 "if this is the right server, trust "
					 "its certificate's issuer: --ca-file "
					 "FILE, or the system's store");
		log_line(dial_untrusted(reg->dial) ? LOG_ERR : LOG_WARNING,
			 &line);
		failed(reg);
	}
	dial_free(&reg->dial);
}

static void start_dial(struct registration *reg)
{
	const struct dial_settings settings = {
		.host = reg->conf->host,
		.port = reg->conf->port,
		.tls = reg->tls,
		.address_timeout_ms = ADDRESS_TIMEOUT_MS,
	};

	evtimer_del(reg->timer);
	dial_free(&reg->dial);
	server_conn_free(&reg->conn);
	if (!reg->once && store_in_place(reg->store) < 0) {
		reopen_store(reg);
		return;
	}
	log_short(LOG_DEBUG, "dialling", "server",
		  reg->conf->value[CONF_SERVER]);
	reg->dial = dial_start(reg->base, &settings, on_dialled, reg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_dial(arg);
}

/* Once for each reason. That the disk is full was said. */
static void report_probe(struct registration *reg, int error)
{
	const char *text = strerror(error);
	struct rst_logline line;

	if (error == reg->probe_errno || room_is_missing(error))
		return;
	reg->probe_errno = error;
	if (error == ENODEV)
		text = "on another disk than before, and no Maildir or no "
		       "seen-log is there: mount the disk, or make them, or "
		       "start restante anew";
	rst_logline_begin(&line, "waiting for the Maildir");
	rst_logline_cstr(&line, "maildir", reg->store_settings->maildir);
	rst_logline_cstr(&line, "error", text);
	log_line(LOG_ERR, &line);
}

static void try_store(struct registration *reg)
{
	if (place_probe(reg->store_settings->maildir,
			reg->store_settings->state_dir, &reg->disks) < 0) {
		report_probe(reg, errno);
		set_timer(reg->room_timer, ROOM_MS);
		return;
	}
	reg->store = store_open(reg->store_settings);
	if (reg->store == NULL ||
	    store_disks(reg->store, &reg->disks) < 0) { /* logged */
		store_free(&reg->store);
		set_timer(reg->room_timer, room_wait_ms(reg));
		return;
	}
	log_short(LOG_INFO, "the Maildir is open again", "maildir",
		  reg->store_settings->maildir);
	start_dial(reg);
}

static void on_room_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	try_store(arg);
}

/* ---- signals */

static void on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct registration *reg = arg;

	(void)sig;
	(void)what;
	if (reg->conn == NULL || reg->stopping) {
		leave(reg, reg->once ? EX_TEMPFAIL : EX_OK);
		return;
	}
	reg->stopping = true;
	server_conn_stop(reg->conn);
}

static void on_dial_now(evutil_socket_t sig, short what, void *arg)
{
	struct registration *reg = arg;

	(void)sig;
	(void)what;
	if (reg->stopping)
		return;
	log_short(LOG_INFO, "told to dial now", NULL, NULL);
	backoff_reset(&reg->backoff);
	if (reg->store != NULL)
		start_dial(reg);
}

static void set_up(struct registration *reg)
{
	size_t i;

	reg->base = event_base_new();
	if (reg->base == NULL)
		abort(); /* out of memory, or of descriptors */
	reg->timer = evtimer_new(reg->base, on_timer, reg);
	reg->room_timer = evtimer_new(reg->base, on_room_timer, reg);
	reg->signals[0] = evsignal_new(reg->base, SIGTERM, on_stop, reg);
	reg->signals[1] = evsignal_new(reg->base, SIGINT, on_stop, reg);
	reg->signals[2] = evsignal_new(reg->base, SIGUSR1, on_dial_now, reg);
	for (i = 0; i < 3; i++)
		evsignal_add(reg->signals[i], NULL);
}

static void tear_down(struct registration *reg)
{
	size_t i;

	dial_free(&reg->dial);
	server_conn_free(&reg->conn);
	for (i = 0; i < 3; i++)
		event_free(reg->signals[i]);
	event_free(reg->timer);
	event_free(reg->room_timer);
	event_base_free(reg->base);
}

int registration_run(const struct conf *conf, struct tls *tls,
		     const struct store_settings *store_settings, bool once)
{
	struct registration reg = {.conf = conf,
				   .tls = tls,
				   .store_settings = store_settings,
				   .once = once};

	reg.store = store_open(store_settings);
	if (reg.store == NULL || store_disks(reg.store, &reg.disks) < 0) {
		store_free(&reg.store);
		return EX_TEMPFAIL;
	}
	set_up(&reg);
	start_dial(&reg);
	event_base_dispatch(reg.base);
	tear_down(&reg);
	store_free(&reg.store);
	return reg.status;
}
