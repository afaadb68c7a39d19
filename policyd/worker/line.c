/* SPDX-License-Identifier: MIT */
#include "line.h"

#include <event2/buffer.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/listen.h"
#include "common/tls.h"

/** A small record: with what TLS adds, two packets on most lines. */
#define RECORD 2800
/** Octets that leave in small records, after the start or a pause ... */
#define RECORD_OCTETS (64 * 1024)
/** ... of so long. */
#define PAUSE_MS 1000
/** The kernel holds unsent what the line carries in this time ... */
#define UNSENT_MS 100
/** ... as measured over at least this time. */
#define MEASURE_MS 200

static void set_option(int fd, int level, int name, int64_t value)
{
	int n = value > INT_MAX ? INT_MAX : (int)value;

	/* a connection without the option works, but less well */
	(void)setsockopt(fd, level, name, &n, sizeof(n));
}

static void set_options(int fd, int64_t silence_ms)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, LINE_UNSENT_MIN);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (silence_ms > 0)
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, silence_ms);
}

void line_init(struct line *line, struct bufferevent *bev,
	       const char *congestion, int64_t silence_ms)
{
	evutil_socket_t fd = bufferevent_getfd(bev);

	*line = (struct line){.bev = bev, .congestion = congestion};
	if (fd >= 0)
		set_options(fd, silence_ms);
	bufferevent_setwatermark(bev, EV_WRITE, LINE_OUTPUT_MAX / 2, 0);
	(void)bufferevent_enable(bev, EV_READ | EV_WRITE);
}

void line_close(struct line *line)
{
	if (line->bev != NULL)
		bufferevent_free(line->bev);
	line->bev = NULL;
}

/* ---- input */

struct rst_str line_input(struct line *line)
{
	struct evbuffer *input = bufferevent_get_input(line->bev);
	size_t len = evbuffer_get_length(input);

	if (len == 0)
		return RST_STR("");
	if (len > LINE_INPUT_MAX)
		len = LINE_INPUT_MAX;
	return (struct rst_str){(char *)evbuffer_pullup(input, (ssize_t)len),
				len};
}

void line_take(struct line *line, size_t n)
{
	(void)evbuffer_drain(bufferevent_get_input(line->bev), n);
}

void line_restrain(struct line *line)
{
	size_t len = evbuffer_get_length(bufferevent_get_input(line->bev));

	if (len > LINE_INPUT_MAX)
		(void)bufferevent_disable(line->bev, EV_READ);
	else if ((bufferevent_get_enabled(line->bev) & EV_READ) == 0)
		(void)bufferevent_enable(line->bev, EV_READ);
}

/* ---- records */

static size_t queued(const struct line *line)
{
	return evbuffer_get_length(bufferevent_get_output(line->bev));
}

size_t line_room(const struct line *line)
{
	size_t n = queued(line);

	return n < LINE_OUTPUT_MAX ? LINE_OUTPUT_MAX - n : 0;
}

static void free_record(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

/* Queued as an element of its own, whatever stands before and after it. */
static void add_record(struct line *line, const char *data, size_t len)
{
	char *copy = rst_str_dup((struct rst_str){data, len});

	if (evbuffer_add_reference(bufferevent_get_output(line->bev), copy, len,
				   free_record, copy) < 0)
		abort(); /* out of memory */
}

void line_write(struct line *line, const char *data, size_t len, int64_t now_ms)
{
	if (now_ms - line->records.last_ms >= PAUSE_MS)
		line->records.octets = 0;
	line->records.last_ms = now_ms;
	while (len > 0 && line->records.octets < RECORD_OCTETS) {
		size_t n = len < RECORD ? len : RECORD;

		add_record(line, data, n);
		line->records.octets += n;
		data += n;
		len -= n;
	}
	if (len > 0 &&
	    evbuffer_add(bufferevent_get_output(line->bev), data, len) < 0)
		abort(); /* out of memory */
}

void line_write_lines(struct line *line, const char *data, size_t len)
{
	while (len > 0) {
		const char *lf = memchr(data, '\n', len);
		size_t n = lf == NULL ? len : (size_t)(lf - data) + 1;

		add_record(line, data, n);
		data += n;
		len -= n;
	}
}

/* ---- the kernel's part */

void line_measure(struct line *line, int64_t now_ms)
{
	line->unsent.since_ms = now_ms;
	line->unsent.octets = 0;
	line->unsent.limit = LINE_UNSENT_MIN;
}

static unsigned int clamp(uint64_t octets)
{
	if (octets < LINE_UNSENT_MIN)
		return LINE_UNSENT_MIN;
	return octets > LINE_UNSENT_MAX ? LINE_UNSENT_MAX
					: (unsigned int)octets;
}

/* @return whether the limit is another one now */
static bool adapt_limit(struct line *line, int64_t now_ms)
{
	int64_t elapsed_ms = now_ms - line->unsent.since_ms;
	unsigned int limit;

	if (elapsed_ms < MEASURE_MS)
		return false;
	limit = clamp(line->unsent.octets * UNSENT_MS / (uint64_t)elapsed_ms);
	line->unsent.since_ms = now_ms;
	line->unsent.octets = 0;
	/* a system call, so not for each wave of the line */
	if (limit <= line->unsent.limit && limit > line->unsent.limit / 2)
		return false;
	line->unsent.limit = limit;
	return true;
}

void line_moved(struct line *line, size_t octets, int64_t now_ms)
{
	evutil_socket_t fd = bufferevent_getfd(line->bev);

	line->unsent.octets += octets;
	if (!line->much && line->unsent.octets >= LINE_MUCH) {
		line->much = true;
		if (fd >= 0)
			(void)listen_congestion(fd, line->congestion);
	}
	if (adapt_limit(line, now_ms) && fd >= 0)
		set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT,
			   line->unsent.limit);
}

/* ---- the end */

void line_finish(struct line *line)
{
	bufferevent_setwatermark(line->bev, EV_WRITE, 0, 0);
}

bool line_is_flushed(const struct line *line)
{
	return queued(line) == 0;
}

bool line_shut(struct line *line)
{
	evutil_socket_t fd = bufferevent_getfd(line->bev);

	line->shut = true;
	tls_goodbye(line->bev);
	(void)bufferevent_enable(line->bev, EV_READ);
	return fd >= 0 && shutdown(fd, SHUT_WR) == 0;
}

void line_reset(struct line *line)
{
	static const struct linger at_once = {.l_onoff = 1};
	evutil_socket_t fd = bufferevent_getfd(line->bev);

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once,
				 sizeof(at_once));
}
