/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#	define _GNU_SOURCE /* memmem() */
#endif
#include "lib.h"
#include "guid.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list.h"
#include "str.h"
#include "unlink-directory.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "hold/mailbox.h"
#include "hold/owner.h"
#include "probe.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAILBOX "Probe"
#define LINES 64
/* of the probe's files; a message that is not transformed is near the start */
#define LOOK_OCTETS 65536

/* ---- where */

static const char *mend_location(void)
{
	return t_strdup_printf(
		"let uid %s make and write it, or set " RST_SETTING_HOLD
		" to another place",
		dec2str(geteuid()));
}

static int failed(struct rst_probe *probe, const char *problem)
{
	probe->problem = problem;
	probe->mend = mend_location();
	return -1;
}

/* The nearest directory above path, or path itself, that is there. */
static const char *nearest(const char *path)
{
	struct stat st;
	const char *slash;

	while (stat(path, &st) < 0 && errno == ENOENT &&
	       (slash = strrchr(path, '/')) != NULL)
		path = slash == path ? "/" : t_strdup_until(path, slash);
	return path;
}

static bool is_writable(const char *path)
{
	return faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0;
}

/* The other directories that a location may name. */
static int check_others(struct mailbox_list *list, struct rst_probe *probe)
{
	static const enum mailbox_list_path_type types[] = {
		MAILBOX_LIST_PATH_TYPE_CONTROL, MAILBOX_LIST_PATH_TYPE_INDEX};
	const char *path;
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(types); i++) {
		if (!mailbox_list_get_root_path(list, types[i], &path) ||
		    is_writable(nearest(path)))
			continue;
		return failed(probe, t_strdup_printf(
					     "%s cannot be made or written: %m",
					     path));
	}
	return 0;
}

static int find(struct mail_user *owner, struct rst_probe *probe)
{
	struct mailbox_list *list = owner->namespaces->list;
	struct mail_storage *storage =
		mail_namespace_get_default_storage(owner->namespaces);
	const char *path;
	struct stat st;

	if (!mailbox_list_get_root_path(list, MAILBOX_LIST_PATH_TYPE_DIR,
					&path))
		return failed(probe, "the hold has no directory");
	probe->driver = t_strdup(storage->name);
	probe->root = t_strdup(path);
	probe->exists = stat(path, &st) == 0;
	if (!probe->exists && errno != ENOENT)
		return failed(probe,
			      t_strdup_printf("stat(%s) failed: %m", path));
	return check_others(list, probe);
}

int rst_probe_find(struct mail_user *user, const struct rst_settings *settings,
		   struct rst_probe *probe_r)
{
	struct mail_user *owner;
	const char *error;
	int ret;

	i_zero(probe_r);
	if (rst_owner_new(user, settings, &owner, &error) < 0)
		return failed(probe_r, error);
	ret = find(owner, probe_r);
	mail_user_deinit(&owner);
	return ret;
}

/* ---- the message */

static string_t *make_message(const char *token)
{
	string_t *text = t_str_new(8192);
	unsigned int i;

	str_append(text, "Subject: restante check\n\n");
	for (i = 0; i < LINES; i++)
		str_printfa(text, "%s %u \xc3\xa4 .\n.\n\n", token, i);
	return text;
}

/* Line ends may be CRLF, as the storage has them. */
static int compare(struct istream *input, const string_t *text)
{
	const unsigned char *data, *want = str_data(text);
	size_t i, size, at = 0;
	bool same = TRUE;

	while (i_stream_read_more(input, &data, &size) > 0) {
		for (i = 0; i < size; i++) {
			if (data[i] == '\r')
				continue;
			if (at >= str_len(text) || data[i] != want[at])
				same = FALSE;
			at++;
		}
		i_stream_skip(input, size);
	}
	return input->stream_errno == 0 && same && at == str_len(text) ? 0 : -1;
}

static int read_back(struct mailbox *box, uint32_t uid, const string_t *text,
		     const char **error_r)
{
	struct mailbox_transaction_context *trans =
		mailbox_transaction_begin(box, 0, __func__);
	struct mail *mail = mail_alloc(trans, MAIL_FETCH_STREAM_BODY, NULL);
	struct istream *input;
	int ret = -1;

	if (!mail_set_uid(mail, uid) ||
	    mail_get_stream(mail, NULL, NULL, &input) < 0)
		*error_r = t_strconcat("what was saved cannot be read: ",
				       rst_mailbox_error(box), NULL);
	else if ((ret = compare(input, text)) < 0)
		*error_r = "what is read is not what was saved";
	mail_free(&mail);
	mailbox_transaction_rollback(&trans);
	return ret;
}

static int save_and_read(struct mailbox *box, const string_t *text,
			 const char **error_r)
{
	struct istream *input =
		i_stream_create_from_data(str_data(text), str_len(text));
	uint32_t uid;
	int ret = rst_mailbox_save(box, input, ioloop_time, &uid, error_r);

	i_stream_unref(&input);
	if (ret < 0 ||
	    rst_mailbox_sync(box, MAILBOX_SYNC_FLAG_FULL_READ, error_r) < 0)
		return -1;
	return read_back(box, uid, text, error_r);
}

/* ---- its files */

static const char *sought;

/* nftw() has no context */
static int on_file(const char *path, const struct stat *st ATTR_UNUSED,
		   int type, struct FTW *at ATTR_UNUSED)
{
	static char data[LOOK_OCTETS];
	ssize_t n;
	int fd;

	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return 0;
	n = read(fd, data, sizeof(data));
	i_close_fd(&fd);
	return n > 0 && memmem(data, (size_t)n, sought, strlen(sought)) != NULL;
}

static bool has_octets(const char *dir, const char *token)
{
	sought = token;
	return nftw(dir, on_file, 16, FTW_PHYS) > 0;
}

/* ---- all of it */

/* A colon ends the path in a location. */
static const char *location(const char *driver, const char *dir)
{
	string_t *text = t_str_new(256);

	str_printfa(text, "%s:", driver);
	for (; *dir != '\0'; dir++) {
		if (*dir == ':')
			str_append_c(text, ':');
		str_append_c(text, *dir);
	}
	return str_c(text);
}

static int try_storage(struct mail_user *owner, const char *token,
		       const char **error_r)
{
	struct mailbox *box;
	int ret = rst_mailbox_open(owner, MAILBOX, 0, TRUE, &box, error_r);

	if (ret < 0)
		return -1;
	ret = save_and_read(box, make_message(token), error_r);
	mailbox_free(&box);
	return ret;
}

static int try_in(struct mail_user *user, const struct rst_settings *settings,
		  const char *dir, struct rst_probe *probe)
{
	struct rst_settings probe_settings = *settings;
	struct mail_user *owner;
	const char *error, *token = guid_generate();
	int ret;

	probe_settings.hold_location = location(probe->driver, dir);
	ret = rst_owner_new(user, &probe_settings, &owner, &error);
	if (ret == 0) {
		ret = try_storage(owner, token, &error);
		mail_user_deinit(&owner);
	}
	if (ret < 0)
		return failed(probe, error);
	probe->transformed = !has_octets(dir, token);
	return 0;
}

void rst_probe_run(struct mail_user *user, const struct rst_settings *settings,
		   struct rst_probe *probe)
{
	const char *above = nearest(probe->root), *dir, *error;

	dir = t_strdup_printf("%s/.restante-check-%s", above, guid_generate());
	if (mkdir(dir, 0700) < 0) {
		(void)failed(probe,
			     t_strdup_printf("%s: no directory can be made: %m",
					     above));
		return;
	}
	(void)try_in(user, settings, dir, probe);
	if (unlink_directory(dir, UNLINK_DIRECTORY_FLAG_RMDIR, &error) < 0 &&
	    probe->problem == NULL)
		(void)failed(probe, error);
}
