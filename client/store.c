/* SPDX-License-Identifier: MIT */
/*
 * A message:
 *
 *   WRITING     its octets go to a file in tmp
 *   WHOLE       store_end(): all are written
 *   SYNCED      store_commit(): the file is synced
 *   RENAMED     it is in new, and its id is noted
 *   LOGGED      new is synced, then the seen-log is written and synced, and
 *               then the paths are found to lead here: only now is it
 *               answered 250
 *   FAILED      from any of the first four: the file is removed again
 *
 * A message stays RENAMED when only the seen-log failed: it is in the Maildir,
 * but is not answered 250, and the server's next try finds its id noted.
 *
 * It stays so as well when the Maildir was moved away after its line was
 * written: where it is now, the file and the line are together.
 *
 * A crash leaves a file in tmp, which the next start removes, or a file in new
 * or cur whose id is not in the seen-log, which the next start finds by its
 * name: place_open().
 */
#include "restante-config.h"

#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "path.h"
#include "restante/clock.h"
#include "restante/smtp.h"
#include "room.h"

#define WRITE_SIZE 65536
/* Room for a message's trace fields, its names, its line in the log. */
#define ROOM_BESIDE 65536

struct store {
	struct place place;
	char *domain, *server;
	char *host;       /* for file names */
	int last_errno;   /* of the last logged failure; 0: storing works */
	int failed;       /* errno for store_failed(); 0: none */
	uint64_t missing; /* room for the largest message that did not fit */
};

enum state {
	STATE_WRITING,
	STATE_WHOLE,
	STATE_SYNCED,
	STATE_RENAMED,
	STATE_LOGGED,
	STATE_FAILED,
};

struct store_message {
	struct store *store;
	enum state state;
	bool repeated;
	struct rst_str id; /* a view of id_octets */
	char id_octets[RST_ID_MAX];
	char name[MAILDIR_NAME_SIZE];
	char work_name[MAILDIR_NAME_SIZE]; /* before it is renamed */
	bool no_room;                      /* it failed for want of room */
	uint64_t announced, came;          /* octets */
	int fd;                            /* of the file in tmp, or -1 */
	bool last_cr; /* the last octet was a CR that may begin a CRLF */
	char *buf;
	size_t used;
};

/* ---- opening */

struct store *store_open(const struct store_settings *settings)
{
	struct store *store = rst_calloc(1, sizeof(*store));

	store->domain = rst_strdup(settings->domain);
	store->server = rst_strdup(settings->server);
	store->host = maildir_host(settings->hostname);
	if (place_open(&store->place, settings->maildir, settings->state_dir) <
	    0)
		store_free(&store);
	return store;
}

void store_free(struct store **_store)
{
	struct store *store = *_store;

	*_store = NULL;
	if (store == NULL)
		return;
	place_close(&store->place);
	free(store->domain);
	free(store->server);
	free(store->host);
	free(store);
}

int store_disks(const struct store *store, struct place_disks *disks_r)
{
	return place_disks(&store->place, disks_r);
}

int store_in_place(struct store *store)
{
	if (place_check(&store->place) == 0)
		return 0;
	store->failed = errno;
	return -1;
}

bool store_moved(const struct store *store)
{
	return store->place.moved != 0;
}

/* ---- one message */

/* The time for a name and its line. Never before the log's last line, even
   where the clock was set back. */
static int64_t stamp(const struct store *store)
{
	int64_t now = clock_wall_secs(),
		newest = seen_newest(store->place.seen);

	return now < newest ? newest : now;
}

/* Log a failure once for each errno: a full disk fails every message. */
static void report(struct store *store, const char *dir, const char *name)
{
	char *path;

	store->failed = errno;
	if (errno == store->last_errno)
		return;
	store->last_errno = errno;
	path = path_join(dir, name);
	log_errno("cannot store, the mail stays at the server", "path", path);
	free(path);
}

static void report_maildir(struct store *store, const char *sub,
			   const char *name)
{
	char *dir = path_join(store->place.maildir.path, sub);

	report(store, dir, name);
	free(dir);
}

/* Was it no fault of the disk? Keeps errno. */
static bool failed_as_moved(struct store *store)
{
	int saved = errno;
	bool moved = store_in_place(store) < 0; /* and reported */

	errno = saved;
	return moved;
}

static void free_buf(struct store_message *msg)
{
	free(msg->buf);
	msg->buf = NULL;
}

static void close_file(struct store_message *msg)
{
	if (msg->fd >= 0)
		close(msg->fd);
	msg->fd = -1;
	free_buf(msg);
}

static void fail(struct store_message *msg)
{
	const struct maildir *maildir = &msg->store->place.maildir;

	msg->no_room = room_is_missing(errno);
	if (!failed_as_moved(msg->store))
		report_maildir(msg->store, maildir->apart ? "new" : "tmp",
			       msg->work_name);
	close_file(msg);
	(void)unlinkat(maildir_work_fd(maildir), msg->work_name, 0);
	msg->state = STATE_FAILED;
}

static void flush(struct store_message *msg)
{
	size_t done = 0;
	ssize_t n;

	while (msg->state == STATE_WRITING && done < msg->used) {
		n = write(msg->fd, msg->buf + done, msg->used - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			fail(msg);
	}
	msg->used = 0;
}

static void put(struct store_message *msg, const char *p, size_t n)
{
	size_t part;

	while (n > 0 && msg->state == STATE_WRITING) {
		part = WRITE_SIZE - msg->used;
		if (part > n)
			part = n;
		memcpy(msg->buf + msg->used, p, part);
		msg->used += part;
		p += part;
		n -= part;
		if (msg->used == WRITE_SIZE)
			flush(msg);
	}
}

static void puts_str(struct store_message *msg, struct rst_str s)
{
	put(msg, s.p, s.n);
}

/* An address in a header field must not add a line. */
static void put_address(struct store_message *msg, struct rst_str address)
{
	size_t i;

	for (i = 0; i < address.n; i++) {
		unsigned char c = (unsigned char)address.p[i];

		put(msg, c < 32 || c == 127 ? "?" : &address.p[i], 1);
	}
}

static void put_path(struct store_message *msg, struct rst_str address)
{
	put(msg, "<", 1);
	put_address(msg, address);
	put(msg, ">", 1);
}

/* RFC 5321 4.1.3: an IP address in place of a name stands in brackets. */
static void put_host(struct store_message *msg, const char *host)
{
	bool ip6 = strchr(host, ':') != NULL;
	bool ip = ip6 || host[strspn(host, "0123456789.")] == '\0';

	puts_str(msg, rst_str(ip6 ? "[IPv6:" : ip ? "[" : ""));
	puts_str(msg, rst_str(host));
	puts_str(msg, rst_str(ip ? "]" : ""));
}

/* RFC 5321 4.4 */
static void put_trace(struct store_message *msg,
		      const struct store_envelope *env)
{
	bool utf8 = rst_smtp_address_is_utf8(env->mail_from) ||
		    rst_smtp_address_is_utf8(env->rcpt_to);
	time_t now = (time_t)clock_wall_secs();
	char date[64];
	struct tm tm;

	puts_str(msg, RST_STR("Return-Path: "));
	put_path(msg, env->mail_from);
	puts_str(msg, RST_STR("\nDelivered-To: "));
	put_address(msg, env->rcpt_to);
	puts_str(msg, RST_STR("\nReceived: from "));
	put_host(msg, msg->store->server);
	puts_str(msg, RST_STR("\n\tby "));
	put_host(msg, msg->store->domain);
	puts_str(msg, rst_str(utf8 ? " (Restante) with UTF8SMTPS"
				   : " (Restante) with ESMTPS"));
	if (msg->id.n > 0) {
		puts_str(msg, RST_STR("\n\tid "));
		puts_str(msg, msg->id);
	}
	puts_str(msg, RST_STR("\n\tfor "));
	put_path(msg, env->rcpt_to);
	localtime_r(&now, &tm);
	strftime(date, sizeof(date), ";\n\t%a, %d %b %Y %H:%M:%S %z\n", &tm);
	puts_str(msg, rst_str(date));
}

static void open_file(struct store_message *msg,
		      const struct store_envelope *env)
{
	const struct maildir *maildir = &msg->store->place.maildir;

	msg->buf = rst_malloc(WRITE_SIZE);
	maildir_name(msg->name, msg->store->host, msg->id, stamp(msg->store));
	maildir_work_name(maildir, msg->name, msg->work_name);
	msg->fd = openat(maildir_work_fd(maildir), msg->work_name,
			 O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (msg->fd < 0)
		fail(msg);
	else
		put_trace(msg, env);
}

struct store_message *store_begin(struct store *store,
				  const struct store_envelope *env)
{
	struct store_message *msg = rst_calloc(1, sizeof(*msg));

	msg->store = store;
	msg->announced = env->size;
	msg->fd = -1;
	msg->id = (struct rst_str){msg->id_octets, 0};
	if (rst_id_valid(env->id)) {
		memcpy(msg->id_octets, env->id.p, env->id.n);
		msg->id.n = env->id.n;
	}
	if (store_in_place(store) < 0) {
		msg->state = STATE_FAILED;
		return msg;
	}
	switch (seen_find(store->place.seen, msg->id)) {
	case SEEN_LOGGED:
	case SEEN_FORGOTTEN: /* the server has broken its promise */
		msg->state = STATE_LOGGED;
		msg->repeated = true;
		break;
	case SEEN_NOTED:
		msg->state = STATE_RENAMED;
		msg->repeated = true;
		break;
	case SEEN_UNKNOWN:
		msg->state = STATE_WRITING;
		open_file(msg, env);
	}
	return msg;
}

bool store_decided(const struct store_message *msg)
{
	return msg->state == STATE_LOGGED || msg->state == STATE_FAILED;
}

/* CRLF becomes LF, as Dovecot stores it; a lone CR or LF stays. */
void store_octets(struct store_message *msg, struct rst_str octets)
{
	const char *p = octets.p, *end = octets.p + octets.n, *cr;

	msg->came += octets.n;
	if (msg->state != STATE_WRITING || octets.n == 0)
		return;
	if (msg->last_cr && *p != '\n')
		put(msg, "\r", 1);
	msg->last_cr = false;
	while (p < end) {
		cr = memchr(p, '\r', (size_t)(end - p));
		put(msg, p, (size_t)((cr == NULL ? end : cr) - p));
		if (cr == NULL)
			return;
		p = cr + 1;
		if (p == end)
			msg->last_cr = true;
		else if (*p != '\n')
			put(msg, "\r", 1);
	}
}

/* At its end it is known how large the message is. */
static void note_missing(const struct store_message *msg)
{
	uint64_t octets =
		msg->came > msg->announced ? msg->came : msg->announced;

	if (octets < INT64_MAX && octets + ROOM_BESIDE > msg->store->missing)
		msg->store->missing = octets + ROOM_BESIDE;
}

/*
 * Begin to write the file to disk before its fsync. The writes of many files
 * then form one stream, and their metadata shares a commit of the file system's
 * journal: for 256 messages, 64 at a time, ext4 made 15 commits, and 264
 * without this. fsync may not report again an error that is reported here. Not
 * every file system supports it.
 */
static int start_writing_back(int fd)
{
	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0)
		return 0;
	return errno == EINVAL || errno == ESPIPE || errno == ENOSYS ||
			       errno == EOPNOTSUPP
		       ? 0
		       : -1;
}

void store_end(struct store_message *msg)
{
	if (msg->state == STATE_WRITING && msg->last_cr)
		put(msg, "\r", 1);
	flush(msg);
	if (msg->state == STATE_WRITING && start_writing_back(msg->fd) < 0)
		fail(msg);
	if (msg->state == STATE_WRITING) {
		free_buf(msg);
		msg->state = STATE_WHOLE;
	} else if (msg->no_room) {
		note_missing(msg);
	}
}

/* A failed fsync is not tried again: the next one would succeed although octets
   were lost. The server sends the message again, to a new file. */
static void sync_file(struct store_message *msg)
{
	if (fsync(msg->fd) < 0) {
		fail(msg);
		if (msg->no_room)
			note_missing(msg);
		return;
	}
	close_file(msg);
	msg->state = STATE_SYNCED;
}

static void rename_file(struct store_message *msg)
{
	struct store *store = msg->store;

	if (seen_find(store->place.seen, msg->id) != SEEN_UNKNOWN) {
		/* the same id twice in one commit: the first one counts */
		(void)unlinkat(maildir_work_fd(&store->place.maildir),
			       msg->work_name, 0);
		msg->repeated = true;
		msg->state = STATE_RENAMED;
		return;
	}
	if (renameat(maildir_work_fd(&store->place.maildir), msg->work_name,
		     store->place.maildir.new_fd, msg->name) < 0) {
		fail(msg);
		return;
	}
	seen_note(store->place.seen, msg->id, stamp(store));
	msg->state = STATE_RENAMED;
}

/* Remove a message that will not be answered 250: it may be delivered elsewhere
   in the end. Only before its line is written, which may be durable even though
   the write or its sync failed. */
static void take_back(struct store_message *msg)
{
	if (msg->state != STATE_RENAMED || msg->repeated ||
	    unlinkat(msg->store->place.maildir.new_fd, msg->name, 0) < 0)
		return;
	seen_unnote(msg->store->place.seen, msg->id);
	msg->state = STATE_FAILED;
}

/* The files are not under the path any more. Where the log still is, it must
   not have them; a log that was moved away with them keeps them. */
static void retract(struct store *store, struct store_message *const *msgs,
		    size_t count)
{
	size_t i;

	if (seen_in_place(store->place.seen) < 0)
		return;
	for (i = 0; i < count; i++) {
		if (msgs[i]->state == STATE_RENAMED)
			seen_retract(store->place.seen, msgs[i]->id);
	}
	seen_mend(store->place.seen);
}

/* @return -1: no message of them may be answered 250 */
static int sync_renamed(struct store *store, struct store_message *const *msgs,
			size_t count)
{
	bool synced = path_sync_dir(store->place.maildir.new_fd) == 0;
	size_t i;

	if (!failed_as_moved(store) && !synced)
		report_maildir(store, "new", "");
	if (!synced || store->place.moved) {
		for (i = 0; i < count; i++)
			take_back(msgs[i]);
		return -1;
	}
	if (seen_flush(store->place.seen) < 0) {
		report(store, store->place.state_dir, SEEN_FILE);
		return -1;
	}
	if (store_in_place(store) == 0)
		return 0;
	retract(store, msgs, count);
	return -1;
}

/* @param done its line in the log is synced. If not, a message with an id stays
   in new: its id is known when it comes again. */
static void finish(struct store_message *msg, bool done)
{
	if (done) {
		msg->state = STATE_LOGGED;
	} else if (msg->id.n == 0) {
		(void)unlinkat(msg->store->place.maildir.new_fd, msg->name, 0);
		msg->state = STATE_FAILED;
	}
}

/* Without room for their lines in the log the messages fail. */
static void check_log_room(struct store *store,
			   struct store_message *const *msgs, size_t count)
{
	int error;
	size_t i;

	if (seen_reserve(store->place.seen, count) == 0)
		return;
	error = errno;
	report(store, store->place.state_dir, SEEN_FILE);
	for (i = 0; i < count; i++) {
		errno = error;
		if (msgs[i]->state == STATE_WHOLE)
			fail(msgs[i]);
	}
}

void store_commit(struct store *store, struct store_message *const *msgs,
		  size_t count)
{
	bool any = false, in_place, done;
	size_t i;

	check_log_room(store, msgs, count);
	for (i = 0; i < count; i++) {
		if (msgs[i]->state == STATE_WHOLE)
			sync_file(msgs[i]);
	}
	in_place = store_in_place(store) == 0;
	for (i = 0; i < count; i++) {
		if (msgs[i]->state == STATE_SYNCED && !in_place)
			fail(msgs[i]);
		else if (msgs[i]->state == STATE_SYNCED)
			rename_file(msgs[i]);
		any = any || msgs[i]->state == STATE_RENAMED;
	}
	if (!any)
		return;
	done = sync_renamed(store, msgs, count) == 0;
	for (i = 0; i < count; i++) {
		if (msgs[i]->state == STATE_RENAMED)
			finish(msgs[i], done);
	}
	if (!done)
		return;
	if (store->last_errno != 0)
		log_short(LOG_INFO, "storing works again", "maildir",
			  store->place.maildir.path);
	store->last_errno = 0;
}

enum rst_verdict store_verdict(const struct store_message *msg)
{
	return msg->state == STATE_LOGGED ? RST_VERDICT_OK
					  : RST_VERDICT_TEMPFAIL;
}

bool store_repeated(const struct store_message *msg)
{
	return msg->repeated;
}

void store_message_free(struct store_message **_msg)
{
	struct store_message *msg = *_msg;

	*_msg = NULL;
	if (msg == NULL)
		return;
	if (msg->state <= STATE_SYNCED)
		(void)unlinkat(maildir_work_fd(&msg->store->place.maildir),
			       msg->work_name, 0);
	close_file(msg);
	free(msg);
}

int store_failed(struct store *store)
{
	int error = store->failed;

	store->failed = 0;
	if (error != 0 && room_is_missing(error) &&
	    place_probe_small(&store->place) == 0)
		return 0;
	return error;
}

bool store_lacks_room(const struct store *store)
{
	return store->missing > 0;
}

bool store_has_room_again(struct store *store)
{
	if (store->missing == 0 ||
	    room_probe(maildir_work_fd(&store->place.maildir), store->missing) <
		    0)
		return false;
	store->missing = 0;
	return true;
}

void store_forget(struct store *store, struct rst_str id)
{
	seen_forget(store->place.seen, id);
}
