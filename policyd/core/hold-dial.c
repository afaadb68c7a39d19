/* SPDX-License-Identifier: MIT */
#include "hold-dial.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dial.h"
#include "restante/hold.h"

#define TIMEOUT_MS 5000

struct hold_dial {
	struct dial *dial;
	char *preamble;
	size_t preamble_len;
	hold_dial_func *done;
	void *ctx;
};

static void on_dialled(int fd, int error, void *ctx)
{
	struct hold_dial *dial = ctx;
	ssize_t n;

	if (fd >= 0) {
		/* the socket is still empty, so the preamble fits */
		n = send(fd, dial->preamble, dial->preamble_len, MSG_NOSIGNAL);
		if (n != (ssize_t)dial->preamble_len) {
			error = n < 0 ? errno : EMSGSIZE;
			(void)close(fd);
			fd = -1;
		}
	}
	dial->done(fd, error, dial->ctx);
}

struct hold_dial *hold_dial_start(struct event_base *base, const char *path,
				  struct rst_str user, hold_dial_func *done,
				  void *ctx)
{
	struct hold_dial *dial = rst_calloc(1, sizeof(*dial));

	dial->preamble = user.n == 0
				 ? rst_hold_scan_preamble(&dial->preamble_len)
				 : rst_hold_preamble(user, &dial->preamble_len);
	dial->done = done;
	dial->ctx = ctx;
	dial->dial = dial_start(base, path, TIMEOUT_MS, on_dialled, dial);
	return dial;
}

void hold_dial_free(struct hold_dial **_dial)
{
	struct hold_dial *dial = *_dial;

	*_dial = NULL;
	if (dial == NULL)
		return;
	dial_free(&dial->dial);
	free(dial->preamble);
	free(dial);
}
