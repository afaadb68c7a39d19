/* SPDX-License-Identifier: MIT */
#include "session.h"

#include "common/log.h"

void session_begin_line(struct rst_logline *line, const char *message,
			const struct session *session)
{
	rst_logline_begin(line, message);
	/* the worker's own lines have these two, session and pid, as well */
	rst_logline_u64(line, "session", session->number);
	rst_logline_i64(line, "worker", worker_pid(session->group->worker));
	if (session->user != NULL)
		rst_logline_cstr(line, "user", session->user);
	rst_logline_cstr(line, "remote", session->remote);
}

void session_log(int level, const char *message, const struct session *session)
{
	struct rst_logline line;

	session_begin_line(&line, message, session);
	log_line(level, &line);
}

void session_tell(struct session *session, enum rst_ipc_type type, int fd)
{
	struct rst_ipc msg = {.type = type, .session = session->number};

	worker_send(session->group->worker, &msg, fd);
}

void session_tell_verdict(struct session *session, enum rst_ipc_type type,
			  uint32_t id, enum rst_verdict verdict,
			  struct rst_str user)
{
	struct rst_ipc msg = {.type = type,
			      .session = session->number,
			      .id = id,
			      .verdict = verdict,
			      .a = user};

	worker_send(session->group->worker, &msg, -1);
}

void session_forged(struct session *session, const char *what)
{
	struct rst_logline line;

	session_begin_line(&line, "worker asks for what it cannot have",
			   session);
	rst_logline_cstr(&line, "reason", what);
	log_line(LOG_ERR, &line);
	worker_kill(session->group->worker, what);
}
