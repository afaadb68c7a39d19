/* SPDX-License-Identifier: MIT */
#include "notes.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"

/** datagrams read before other events get their turn */
#define MAX_AT_ONCE 16

struct notes {
	int fd;
	struct event *readable;
	notes_func *note;
	void *ctx;
};

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct notes *notes = arg;
	unsigned int left = MAX_AT_ONCE;
	char buf[RST_NOTE_MAX + 1]; /* one octet more shows a longer one */
	struct rst_note note;
	ssize_t n;

	(void)what;
	while (left-- > 0 &&
	       (n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) >= 0) {
		if (n <= RST_NOTE_MAX &&
		    rst_note_parse(buf, (size_t)n, &note) == 0)
			notes->note(&note, notes->ctx);
		else
			log_short(LOG_WARNING, "malformed note", NULL, NULL);
	}
}

struct notes *notes_new(struct event_base *base, int fd, notes_func *note,
			void *ctx)
{
	struct notes *notes = rst_calloc(1, sizeof(*notes));

	notes->fd = fd;
	notes->note = note;
	notes->ctx = ctx;
	notes->readable =
		event_new(base, fd, EV_READ | EV_PERSIST, on_readable, notes);
	if (notes->readable == NULL || event_add(notes->readable, NULL) < 0)
		abort();
	return notes;
}

void notes_free(struct notes **_notes)
{
	struct notes *notes = *_notes;

	*_notes = NULL;
	if (notes == NULL)
		return;
	event_free(notes->readable);
	(void)close(notes->fd);
	free(notes);
}
