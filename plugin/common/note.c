/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "note.h"
#include "restante/hold.h"
#include "root.h"
#include "settings.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int send_to(int fd, const struct sockaddr_un *sa, const char *note,
		   size_t len)
{
	if (sendto(fd, note, len, MSG_DONTWAIT | MSG_NOSIGNAL,
		   (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		return -1;
	return 0;
}

/* The socket may be open to policyd only, and at this moment the process has
   the user's rights. */
static int send_as_root(int fd, const struct sockaddr_un *sa, const char *note,
			size_t len)
{
	uid_t uid;
	int ret, saved_errno;

	if (!rst_root_enter(&uid)) {
		errno = EACCES;
		return -1;
	}
	ret = send_to(fd, sa, note, len);
	saved_errno = errno;
	rst_root_leave(uid);
	errno = saved_errno;
	return ret;
}

static int send_note(const char *path, const char *note, size_t len)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, ret, saved_errno;

	if (i_strocpy(sa.sun_path, path, sizeof(sa.sun_path)) < 0) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	ret = send_to(fd, &sa, note, len);
	if (ret < 0 && errno == EACCES)
		ret = send_as_root(fd, &sa, note, len);
	saved_errno = errno;
	i_close_fd(&fd);
	errno = saved_errno;
	return ret;
}

int rst_note_send(const struct rst_settings *set, const char *user,
		  const char *id, time_t due)
{
	struct rst_note note = {
		.user = rst_str(user), .id = rst_str(id), .due = due};
	char text[RST_NOTE_MAX];
	ssize_t len;

	if (*set->notify_socket == '\0')
		return 0;
	len = rst_note_format(&note, text);
	if (len < 0) {
		errno = EMSGSIZE;
		return -1;
	}
	return send_note(set->notify_socket, text, (size_t)len);
}
