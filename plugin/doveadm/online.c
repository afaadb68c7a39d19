/* SPDX-License-Identifier: MIT */
/*
 * These are no mail commands: a user whose account is gone has to be signed out
 * as well, and no user's mail storage is opened.
 */
#include "lib.h"
#include "array.h"
#include "istream.h"
#include "net.h"
#include "str.h"
#include "str-sanitize.h"
#include "strescape.h"
#include "strnum.h"
#include "time-util.h"
#include "wildcard-match.h"
#include "write-full.h"
#include "doveadm.h"
#include "doveadm-print.h"
#include "doveadm-util.h"
#include "common/doveadm-compat.h"
#include "online.h"

#include <sys/time.h>

#define DEFAULT_CONTROL_SOCKET "/run/restante/control"
#define HELLO "VERSION\trestante-control\t1\t1\n"
/* policyd answers from memory */
#define TIMEOUT_SECS 30
/* of the protocol, and one octet more */
#define LINE_MAX_OCTETS 4096

struct control {
	const char *path;
	int fd;
	struct istream *input;
	const char **error_r; /* NULL: errors are logged */
};

/* ---- the conversation */

static void fail(const struct control *control, const char *error)
{
	if (control->error_r != NULL) {
		*control->error_r = t_strdup(error);
		return;
	}
	i_error("restante-policyd cannot be asked: %s: %s", control->path,
		error);
	doveadm_exit_code = EX_TEMPFAIL;
}

/* @return the fields of the next line, or NULL: reported */
static const char *const *read_line(struct control *control)
{
	const char *line = i_stream_read_next_line(control->input);

	if (line != NULL)
		return t_strsplit_tabescaped(line);
	if (control->input->stream_errno == EAGAIN)
		fail(control, "no answer in time");
	else
		fail(control, control->input->stream_errno != 0
				      ? i_stream_get_error(control->input)
				      : "the connection was closed");
	return NULL;
}

static int say(struct control *control, const char *line)
{
	if (write_full(control->fd, line, strlen(line)) == 0)
		return 0;
	fail(control, t_strdup_printf("%m"));
	return -1;
}

static int say_hello(struct control *control)
{
	const char *const *fields;

	if (say(control, HELLO) < 0)
		return -1;
	fields = read_line(control);
	if (fields == NULL)
		return -1;
	if (str_array_length(fields) >= 4 &&
	    strcmp(fields[0], "VERSION") == 0 &&
	    strcmp(fields[1], "restante-control") == 0 &&
	    strcmp(fields[2], "1") == 0)
		return 0;
	fail(control, "it does not speak our protocol");
	return -1;
}

static void hang_up(struct control *control)
{
	i_stream_unref(&control->input);
	i_close_fd(&control->fd);
}

const char *rst_online_path(void)
{
	const char *path = rst_doveadm_setting("restante_control_socket");

	return path == NULL ? DEFAULT_CONTROL_SOCKET : path;
}

static int dial(struct control *control_r, const char **error_r)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECS};

	i_zero(control_r);
	control_r->error_r = error_r;
	control_r->path = rst_online_path();
	control_r->fd = net_connect_unix(control_r->path);
	if (control_r->fd < 0) {
		fail(control_r, t_strdup_printf("%m"));
		return -1;
	}
	net_set_nonblock(control_r->fd, FALSE);
	(void)setsockopt(control_r->fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
			 sizeof(limit));
	control_r->input = i_stream_create_fd(control_r->fd, LINE_MAX_OCTETS);
	if (say_hello(control_r) == 0)
		return 0;
	hang_up(control_r);
	return -1;
}

/* @return the count of OK; -1: reported */
static int64_t read_count(struct control *control, const char *const *fields)
{
	int64_t count;

	if (fields == NULL)
		return -1;
	if (null_strcmp(fields[0], "OK") == 0 && fields[1] != NULL &&
	    str_to_int64(fields[1], &count) == 0 && count >= 0)
		return count;
	fail(control, null_strcmp(fields[0], "NO") == 0 && fields[1] != NULL
			      ? str_sanitize(fields[1], 160)
			      : "it does not speak our protocol");
	return -1;
}

/* ---- who is meant */

/* @return whether -u, -A or -F was given, one of them */
static bool get_selection(const struct doveadm_cmd_context *cctx,
			  const char **mask_r, struct istream **names_r)
{
	bool all = FALSE;

	*mask_r = NULL;
	*names_r = NULL;
	(void)doveadm_cmd_param_bool(cctx, "all-users", &all);
	(void)doveadm_cmd_param_str(cctx, "user", mask_r);
	(void)doveadm_cmd_param_istream(cctx, "user-file", names_r);
	if ((all ? 1 : 0) + (*mask_r != NULL ? 1 : 0) +
		    (*names_r != NULL ? 1 : 0) !=
	    1)
		return FALSE;
	if (all)
		*mask_r = "*";
	return TRUE;
}

static bool is_listed(const char *const *names, const char *user)
{
	for (; *names != NULL; names++)
		if (strcasecmp(*names, user) == 0)
			return TRUE;
	return FALSE;
}

static const char *const *read_names(struct istream *file)
{
	ARRAY_TYPE(const_string) names;
	const char *line;

	t_array_init(&names, 64);
	while ((line = i_stream_read_next_line(file)) != NULL) {
		if (*line != '\0') {
			line = t_strdup(line);
			array_push_back(&names, &line);
		}
	}
	array_append_zero(&names);
	return array_front(&names);
}

/* ---- who */

static bool is_wanted(const char *user, const char *mask,
		      const char *const *names)
{
	if (names != NULL)
		return is_listed(names, user);
	return mask == NULL || wildcard_match_icase(user, mask);
}

static void print_session(const char *const *fields)
{
	int64_t since;

	doveadm_print(fields[1]);
	doveadm_print(fields[2]);
	if (str_to_int64(fields[3], &since) < 0)
		since = 0;
	doveadm_print(unixdate2str((time_t)since));
	doveadm_print(fields[4]);
	doveadm_print(fields[5]);
}

static void who(struct control *control, const char *mask,
		const char *const *names)
{
	const char *const *fields;
	bool more = TRUE;

	if (say(control, "WHO\n") < 0)
		return;
	while (more) {
		T_BEGIN
		{
			fields = read_line(control);
			more = fields != NULL &&
			       null_strcmp(fields[0], "SESSION") == 0 &&
			       str_array_length(fields) >= 6;
			if (!more)
				(void)read_count(control, fields);
			else if (is_wanted(fields[1], mask, names))
				print_session(fields);
		}
		T_END;
	}
}

void rst_online_who(struct doveadm_cmd_context *cctx)
{
	const char *const *names = NULL;
	struct istream *file;
	struct control control;
	const char *mask;

	(void)get_selection(cctx, &mask, &file);
	if (file != NULL)
		names = read_names(file);
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header("user", "user", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	doveadm_print_header_simple("address");
	doveadm_print_header_simple("since");
	doveadm_print_header("epoch", "epoch",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY |
				     DOVEADM_PRINT_HEADER_FLAG_NUMBER);
	doveadm_print_header_simple("state");
	if (dial(&control, NULL) < 0)
		return;
	who(&control, mask, names);
	hang_up(&control);
}

/* ---- kick */

typedef bool match_func(const char *user, const char *wanted);

static bool is_same_name(const char *user, const char *wanted)
{
	return strcasecmp(user, wanted) == 0;
}

/* @return the users who are signed in and match, or NULL: reported */
static const char *const *find_users(struct control *control, match_func *match,
				     const char *wanted)
{
	ARRAY_TYPE(const_string) users;
	const char *const *fields;

	t_array_init(&users, 64);
	if (say(control, "WHO\n") < 0)
		return NULL;
	for (;;) {
		fields = read_line(control);
		if (fields == NULL || null_strcmp(fields[0], "SESSION") != 0 ||
		    str_array_length(fields) < 6)
			break;
		if (match(fields[1], wanted))
			array_push_back(&users, &fields[1]);
	}
	if (read_count(control, fields) < 0)
		return NULL;
	array_append_zero(&users);
	return array_front(&users);
}

/* @return how many sessions; -1: reported */
static int64_t kick_one(struct control *control, const char *user)
{
	int64_t count;

	if (say(control, t_strdup_printf("KICK\t%s\n", str_tabescape(user))) <
	    0)
		return -1;
	count = read_count(control, read_line(control));
	if (count > 0) {
		doveadm_print(user);
		doveadm_print_num((uint64_t)count);
	}
	return count;
}

/* Dovecot's auth may have another spelling than the operator, who has seen that
   of WHO or not. @return how many sessions; -1: reported */
static int64_t kick_name(struct control *control, const char *name)
{
	int64_t count = kick_one(control, name), total = count;
	const char *const *users;

	if (count != 0)
		return count;
	users = find_users(control, is_same_name, name);
	if (users == NULL)
		return -1;
	for (; *users != NULL && count >= 0; users++) {
		count = kick_one(control, *users);
		total += count;
	}
	return count < 0 ? -1 : total;
}

static void kick(struct control *control, const char *mask,
		 const char *const *users)
{
	int64_t count, total = 0;

	if (mask != NULL && strpbrk(mask, "*?") == NULL)
		users = t_strsplit(mask, "\n");
	else if (mask != NULL)
		users = find_users(control, wildcard_match_icase, mask);
	if (users == NULL)
		return;
	for (; *users != NULL; users++) {
		count = kick_name(control, *users);
		if (count < 0)
			return;
		total += count;
	}
	if (total == 0) {
		i_error("No such user is signed in; doveadm restante who "
			"shows the names of those who are");
		doveadm_exit_code = DOVEADM_EX_NOTFOUND;
	}
}

void rst_online_kick(struct doveadm_cmd_context *cctx)
{
	const char *const *users = NULL;
	struct istream *file;
	struct control control;
	const char *mask;

	if (!get_selection(cctx, &mask, &file))
		help_ver2(cctx->cmd);
	if (file != NULL)
		users = read_names(file);
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header("user", "user", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	doveadm_print_header("sessions", "sessions",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY |
				     DOVEADM_PRINT_HEADER_FLAG_NUMBER);
	if (dial(&control, NULL) < 0)
		return;
	kick(&control, mask, users);
	hang_up(&control);
}

/* ---- the holders directory */

static int holders(struct control *control, const char **path_r)
{
	const char *const *fields;

	if (say(control, "HOLDERS\n") < 0 ||
	    (fields = read_line(control)) == NULL)
		return -1;
	if (null_strcmp(fields[0], "HOLDERS") == 0 && fields[1] != NULL) {
		*path_r = fields[1];
		return 0;
	}
	(void)read_count(control, fields);
	return -1;
}

int rst_online_holders(const char **path_r, const char **error_r)
{
	struct control control;
	int ret;

	/* OK is no answer to this question */
	*error_r = "it does not speak our protocol";
	if (dial(&control, error_r) < 0)
		return -1;
	ret = holders(&control, path_r);
	hang_up(&control);
	return ret;
}
