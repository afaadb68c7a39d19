/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "istream.h"
#include "net.h"
#include "str.h"
#include "str-sanitize.h"
#include "write-full.h"
#include "holders.h"
#include "restante/hold.h"

#include <ctype.h>
#include <sys/time.h>
#include <unistd.h>

/* policyd answers from memory */
#define TIMEOUT_SECS 30

struct reading {
	struct rst_hold_dialler *hold;
	string_t *names;
	bool done;
	uint64_t unread;
	const char *error;
};

/* Any program on this machine can name users to policyd: so a name may be
   anything. */
static bool may_be_user(struct rst_str name)
{
	size_t i;

	if (name.n > RST_HOLD_USER_MAX)
		return FALSE;
	for (i = 0; i < name.n; i++)
		if (i_iscntrl(name.p[i]))
			return FALSE;
	return TRUE;
}

static void take_event(struct reading *reading, const struct rst_hold_event *ev)
{
	switch (ev->type) {
	case RST_HOLD_USER:
		if (may_be_user(ev->user)) {
			str_append_data(reading->names, ev->user.p, ev->user.n);
			str_append_c(reading->names, '\n');
		}
		break;
	case RST_HOLD_SCANNED:
		reading->done = TRUE;
		reading->unread = ev->failed;
		break;
	case RST_HOLD_REFUSED:
		reading->error =
			str_sanitize(t_strndup(ev->text.p, ev->text.n), 160);
		break;
	default:
		/* no other one follows SCAN */
		break;
	}
}

/* @return octets taken, or negative: not the protocol */
static ssize_t take(struct reading *reading, const char *buf, size_t len)
{
	struct rst_hold_event ev;
	size_t used = 0;
	ssize_t n;

	while ((n = rst_hold_dialler_recv(reading->hold, buf + used, len - used,
					  0)) > 0) {
		used += (size_t)n;
		if (rst_hold_dialler_next(reading->hold, &ev))
			take_event(reading, &ev);
	}
	return n < 0 ? n : (ssize_t)used;
}

static void read_all(struct reading *reading, int fd)
{
	char buf[RST_HOLD_LINE_MAX * 2];
	size_t used = 0;
	ssize_t n;

	while (!reading->done && reading->error == NULL) {
		n = read(fd, buf + used, sizeof(buf) - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			reading->error = n == 0 ? "the connection was closed"
						: t_strdup_printf("%m");
			return;
		}
		used += (size_t)n;
		n = take(reading, buf, used);
		if (n < 0) {
			reading->error = "it does not speak our protocol";
			return;
		}
		used -= (size_t)n;
		memmove(buf, buf + n, used);
	}
}

static void ask(struct reading *reading, int fd)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};
	char *preamble;
	size_t len;

	net_set_nonblock(fd, FALSE);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	preamble = rst_hold_scan_preamble(&len);
	if (write_full(fd, preamble, len) < 0)
		reading->error = t_strdup_printf("%m");
	else
		read_all(reading, fd);
	free(preamble);
}

int rst_holders_read(const char *path, struct istream **names_r,
		     uint64_t *unread_r, const char **error_r)
{
	const struct rst_hold_dialler_limits limits = {.reply_timeout_ms = 0};
	struct reading reading = {.names = str_new(default_pool, 4096)};
	int fd = net_connect_unix(path);

	if (fd < 0) {
		reading.error = t_strdup_printf("%m");
	} else {
		reading.hold = rst_hold_dialler_new(&limits, TRUE, 0);
		ask(&reading, fd);
		rst_hold_dialler_free(&reading.hold);
		i_close_fd(&fd);
	}
	if (reading.error == NULL) {
		*names_r = i_stream_create_copy_from_string(reading.names);
		*unread_r = reading.unread;
	} else {
		*error_r = t_strdup_printf("%s: %s", path, reading.error);
	}
	str_free(&reading.names);
	return reading.error == NULL ? 0 : -1;
}
