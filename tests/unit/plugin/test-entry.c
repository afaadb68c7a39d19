/* SPDX-License-Identifier: MIT */
/* The entry in the holders directory: durable before a message is held, and
   gone when nothing is. */
#include "hold-fixture.h"

#include "file-lock.h"
#include "ioloop.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "deliver/arrival.h"
#include "fault.h"
#include "hold/entry.h"
#include "restante/holder.h"

#define WITH_ID "Received: from x\r\n\tby y (Postfix) with ESMTP id 4Bx2;\r\n"
#define MESSAGE WITH_ID "Subject: s\r\n\r\nx\r\n"
#define ARRIVED 1700000000
#define TEXT "00000000001701209600\n" /* two weeks later */
#define UNKNOWN "00000000000000000000\n"
#define NOBODY 65534

static enum rst_arrival bring_with(const char *text, const char **error_r)
{
	struct rst_delivery delivery = {
		.trace = "",
		.mail_from = "a@example.org",
		.rcpt_to = "b@example.test",
		.mail_params = "",
		.rcpt_params = "",
		.arrived = {.tv_sec = ARRIVED},
	};
	struct rst_hold hold = hold_of_user();
	struct rst_saved saved;
	enum rst_arrival result;

	delivery.input = i_stream_create_from_data(text, strlen(text));
	ck_assert_int_eq(rst_delivery_prepare(&delivery, error_r), 0);
	result = rst_arrive(&hold, &delivery, &saved, error_r);
	i_stream_unref(&delivery.input);
	return result;
}

static enum rst_arrival bring(const char *text)
{
	const char *error;

	return bring_with(text, &error);
}

static const char *entry_path(void)
{
	return t_strconcat(hold_fixture.holders, "/",
			   hold_fixture.ctx->user->username, NULL);
}

/* An entry that says that something is held. */
static bool has_entry(void)
{
	struct stat st;

	return lstat(entry_path(), &st) == 0 &&
	       !rst_holder_is_vacant(st.st_size);
}

static bool is_gone(void)
{
	struct stat st;

	return lstat(entry_path(), &st) < 0;
}

static void check_content(const char *want)
{
	struct stat st;
	char text[64];
	int fd;

	ck_assert_int_eq(lstat(entry_path(), &st), 0);
	ck_assert(S_ISREG(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 0777, 0644);
	ck_assert_uint_eq(st.st_uid, geteuid());
	fd = open(entry_path(), O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, text, sizeof(text)), strlen(want));
	ck_assert_mem_eq(text, want, strlen(want));
	i_close_fd(&fd);
}

static void age(void)
{
	const struct timespec then[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

	ck_assert_int_eq(utimensat(AT_FDCWD, entry_path(), then, 0), 0);
}

static bool was_touched(void)
{
	struct stat st;

	ck_assert_int_eq(lstat(entry_path(), &st), 0);
	return st.st_mtim.tv_sec > 1;
}

static unsigned int drain_all(void)
{
	struct rst_locked *locked = hold_open();
	struct rst_message *message;
	unsigned int count = 0;
	const char *error;

	while (rst_locked_next(locked, &message, &error) > 0) {
		rst_locked_bury(locked, message->id, message->key,
				message->uid);
		count++;
	}
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	return count;
}

/* A drain that takes nothing. */
static void look_in(void)
{
	struct rst_locked *locked = hold_open();

	rst_locked_close(&locked);
}

/* ---- made, touched */

START_TEST(test_made)
{
	mode_t before = umask(077);
	int steps;

	hold_user(hold_drivers[_i], NULL);
	ck_assert(!has_entry());
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	(void)umask(before);
	steps = fault_step;
	check_content(TEXT);
	age();
	/* the next ones touch it and no more */
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	ck_assert_int_lt(fault_step, steps);
	ck_assert(was_touched());
	check_content(TEXT);
	/* the process that saved it may have died before it touched the
	   entry */
	age();
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	ck_assert(was_touched());
	ck_assert_uint_eq(hold_count_held(), 2);
	/* what has left needs none */
	ck_assert_uint_eq(drain_all(), 2);
	ck_assert(!has_entry());
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	ck_assert(!has_entry());
}
END_TEST

/* Of mail that an earlier version holds, or whose entry was lost, it is not
   known when the oldest falls due. */
START_TEST(test_made_late)
{
	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	i_unlink(entry_path());
	if (_i == 0)
		ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	else
		ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	check_content(UNKNOWN);
	ck_assert(was_touched());
}
END_TEST

/* ---- it cannot be made */

START_TEST(test_no_directory)
{
	const char *error = "";

	hold_user("sdbox", NULL);
	hold_fixture.set.holders = _i == 0 ? "" : "/nonexistent/holders";
	ck_assert_int_eq(bring_with(MESSAGE, &error), RST_ARRIVAL_FAILED);
	ck_assert_ptr_nonnull(strstr(error, _i == 0 ? "restante_holders"
						    : "/nonexistent/holders"));
	ck_assert_uint_eq(hold_count_stored(), 0);
	/* what is held already is not given to others */
	hold_fixture.set.holders = hold_fixture.holders;
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	i_unlink(entry_path());
	hold_fixture.set.holders = "/nonexistent/holders";
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_UNSURE);
	ck_assert_uint_eq(hold_count_held(), 1);
}
END_TEST

/* Each call that makes it durable fails: nothing is saved before it is. */
START_TEST(test_not_durable)
{
	struct rst_hold hold;
	const char *error;
	int step = 0;

	hold_user("sdbox", NULL);
	hold = hold_of_user();
	/* the hold itself is there */
	ck_assert_int_eq(bring("first\r\n"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(drain_all(), 1);
	i_unlink(entry_path());
	for (;;) {
		fault_set(0, ++step, EIO);
		if (rst_entry_ensure(&hold, ARRIVED, &error) == 0)
			break;
		fault_set(0, 0, 0);
		i_unlink_if_exists(entry_path());
		/* the same within an arrival */
		ck_assert(!has_entry());
		fault_set(0, step, EIO);
		ck_assert_int_ne(bring(MESSAGE), RST_ARRIVAL_HELD);
		fault_set(0, 0, 0);
		ck_assert_uint_eq(hold_count_stored(), 0);
		i_unlink_if_exists(entry_path());
	}
	fault_set(0, 0, 0);
	/* fsync of the file, and of the directory, and its text */
	ck_assert_int_eq(step, 4);
}
END_TEST

/* A process has died, or an fsync has failed, before the entry was durable: the
   next one does not rely on it. */
START_TEST(test_empty)
{
	int fd, steps;

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	steps = fault_step;
	fd = open(entry_path(), O_WRONLY | O_TRUNC);
	i_close_fd(&fd);
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_HELD);
	ck_assert_int_eq(fault_step, steps + 3);
	check_content(UNKNOWN);
}
END_TEST

/* ---- what others have put there */

static void put_junk(int how)
{
	const char *path = entry_path();
	int fd;

	switch (how) {
	case 0:
		ck_assert_int_eq(mkfifo(path, 0666), 0);
		break;
	case 1:
		ck_assert_int_eq(symlink("/etc/passwd", path), 0);
		break;
	case 2:
		ck_assert_int_eq(symlink(path, path), 0);
		break;
	case 3: /* a file that its owner could take away */
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		ck_assert_int_eq(write(fd, TEXT, strlen(TEXT)), strlen(TEXT));
		if (geteuid() == 0)
			ck_assert_int_eq(fchown(fd, NOBODY, NOBODY), 0);
		i_close_fd(&fd);
		break;
	case 4:
		ck_assert_int_eq(mkdir(path, 0777), 0);
		break;
	case 5:
		ck_assert_int_eq(mkdir(path, 0777), 0);
		ck_assert_int_eq(mkdir(t_strconcat(path, "/below", NULL), 0777),
				 0);
		break;
	}
}

START_TEST(test_junk)
{
	hold_user("sdbox", NULL);
	if (geteuid() != 0 && _i == 3)
		return;
	put_junk(_i);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	check_content(TEXT);
}
END_TEST

/* As a process that cannot become root. @return whether it could */
static bool ensure_as_nobody(void)
{
	struct rst_hold hold = hold_of_user();
	const char *error;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(9);
		_exit(rst_entry_ensure(&hold, ARRIVED, &error) == 0 &&
				      rst_entry_touch(&hold, ARRIVED, &error) ==
					      0
			      ? 0
			      : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 9);
	return WEXITSTATUS(status) == 0;
}

/* The directory is closed to those who would list it; and to all. */
START_TEST(test_without_rights)
{
	struct stat st;

	hold_user("sdbox", NULL);
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chmod(hold_fixture.dir, 0755), 0);
	ck_assert(ensure_as_nobody());
	ck_assert_int_eq(lstat(entry_path(), &st), 0);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_int_eq(st.st_size, strlen(TEXT));
	ck_assert(ensure_as_nobody());
	/* somebody else's */
	ck_assert_int_eq(chown(entry_path(), 1, 1), 0);
	ck_assert(!ensure_as_nobody());
	ck_assert_int_eq(chown(entry_path(), 0, 0), 0);
	ck_assert(!ensure_as_nobody());
	i_unlink(entry_path());
	ck_assert_int_eq(chmod(hold_fixture.holders, 0700), 0);
	ck_assert(!ensure_as_nobody());
}
END_TEST

/* A process with the rights of a user for the time being, as lmtp has. */
START_TEST(test_root_for_a_moment)
{
	struct rst_hold hold;
	const char *error;
	struct stat st;

	hold_user("sdbox", NULL);
	if (geteuid() != 0)
		return;
	hold = hold_of_user();
	ck_assert_int_eq(chmod(hold_fixture.dir, 0755), 0);
	put_junk(3);
	ck_assert_int_eq(chown(entry_path(), 1, 1), 0);
	ck_assert_int_eq(seteuid(NOBODY), 0);
	ck_assert_int_eq(rst_entry_ensure(&hold, ARRIVED, &error), 0);
	ck_assert_uint_eq(geteuid(), NOBODY);
	ck_assert_int_eq(lstat(entry_path(), &st), 0);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	/* a directory that is closed to the user: made, found, and touched as
	   root */
	ck_assert_int_eq(seteuid(0), 0);
	i_unlink(entry_path());
	ck_assert_int_eq(chmod(hold_fixture.holders, 0700), 0);
	ck_assert_int_eq(seteuid(NOBODY), 0);
	ck_assert_int_eq(rst_entry_ensure(&hold, ARRIVED, &error), 0);
	ck_assert_int_eq(rst_entry_ensure(&hold, ARRIVED, &error), 0);
	ck_assert_int_eq(rst_entry_touch(&hold, ARRIVED, &error), 0);
	ck_assert(rst_entry_exists(&hold));
	ck_assert_uint_eq(geteuid(), NOBODY);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(lstat(entry_path(), &st), 0);
	ck_assert_uint_eq(st.st_uid, 0);
}
END_TEST

START_TEST(test_touch_lost)
{
	struct rst_hold hold;
	const char *error;

	hold_user("sdbox", NULL);
	hold = hold_of_user();
	ck_assert_int_eq(rst_entry_touch(&hold, ARRIVED, &error), 0);
	check_content("00000000001700000000\n");
	hold_fixture.set.holders = "/nonexistent";
	ck_assert_int_lt(rst_entry_touch(&hold, ARRIVED, &error), 0);
	hold_fixture.set.holders = "";
	ck_assert_int_lt(rst_entry_touch(&hold, ARRIVED, &error), 0);
	ck_assert(!rst_entry_exists(&hold));
}
END_TEST

/* ---- removed */

START_TEST(test_stays)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;

	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	look_in();
	ck_assert(has_entry());
	/* one is left */
	locked = hold_open();
	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert(has_entry());
	/* nothing is held, but a message that has left is still there */
	locked = hold_open();
	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_held(), 0);
	ck_assert(has_entry());
	ck_assert_uint_eq(drain_all(), 0);
	ck_assert(!has_entry());
	/* an incomplete message */
	hold_put_part(MESSAGE, strlen(MESSAGE), 3);
	put_junk(3);
	look_in();
	ck_assert(has_entry());
}
END_TEST

/* An entry that is there need not be made durable again: it says that nothing
   is held, and goes when no mail came for a while. */
START_TEST(test_vacant)
{
	int steps;

	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	steps = fault_step;
	ck_assert_uint_eq(drain_all(), 2);
	check_content(RST_HOLDER_VACANT);
	look_in();
	check_content(RST_HOLDER_VACANT);
	fault_set(0, 0, 0);
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_HELD);
	/* only its text is written */
	ck_assert_int_eq(fault_step, steps + 1);
	check_content(TEXT);
	ck_assert_uint_eq(drain_all(), 1);
	check_content(RST_HOLDER_VACANT);
	age();
	look_in();
	ck_assert(is_gone());
}
END_TEST

/* What a crash has left behind. */
START_TEST(test_stale)
{
	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(drain_all(), 1);
	put_junk(3);
	ck_assert(has_entry());
	age();
	look_in();
	ck_assert(is_gone());
}
END_TEST

/* A fallback delivery is under way. */
START_TEST(test_unresolved)
{
	struct rst_locked *locked;
	struct rst_message *message;
	struct file_lock *lock;
	struct rst_hold hold;
	const char *error;
	int status, fds[2];
	pid_t pid;

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	locked = hold_open();
	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	ck_assert_int_eq(rst_locked_begin_attempt(locked, message, &error), 0);
	rst_locked_close(&locked);
	/* the mailbox has lost the message meanwhile */
	hold_expunge_first();
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		hold = hold_opened();
		if (rst_hold_lock(&hold, RST_LOCK_RELEASE, 0, &lock, &error) <=
			    0 ||
		    write(fds[1], "x", 1) != 1)
			_exit(1);
		(void)pause();
		_exit(1);
	}
	ck_assert_int_eq(read(fds[0], &status, 1), 1);
	look_in();
	ck_assert(has_entry());
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	look_in();
	ck_assert(!has_entry());
}
END_TEST

/* A message is coming: its process has the lock, and has seen the entry. */
START_TEST(test_arrival_under_way)
{
	struct file_lock *lock;
	struct rst_hold hold;
	const char *error;
	int status, fds[2];
	pid_t pid;

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		hold = hold_opened();
		if (rst_hold_lock(&hold, RST_LOCK_ARRIVAL, 0, &lock, &error) <=
			    0 ||
		    write(fds[1], "x", 1) != 1)
			_exit(1);
		(void)pause();
		_exit(1);
	}
	ck_assert_int_eq(read(fds[0], &status, 1), 1);
	ck_assert_uint_eq(drain_all(), 1);
	ck_assert(has_entry());
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	look_in();
	ck_assert(!has_entry());
}
END_TEST

/* The last moment in which a message may come: before the lock is had. */
static bool bring_before_lock;

int __real_rst_hold_lock(const struct rst_hold *hold, const char *name,
			 unsigned int secs, struct file_lock **lock_r,
			 const char **error_r);
int __wrap_rst_hold_lock(const struct rst_hold *hold, const char *name,
			 unsigned int secs, struct file_lock **lock_r,
			 const char **error_r);

int __wrap_rst_hold_lock(const struct rst_hold *hold, const char *name,
			 unsigned int secs, struct file_lock **lock_r,
			 const char **error_r)
{
	int status;
	pid_t pid;

	if (bring_before_lock && secs == 0 &&
	    strcmp(name, RST_LOCK_ARRIVAL) == 0) {
		bring_before_lock = FALSE;
		pid = fork();
		if (pid == 0)
			_exit(bring("late\r\n") == RST_ARRIVAL_HELD ? 0 : 1);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	return __real_rst_hold_lock(hold, name, secs, lock_r, error_r);
}

START_TEST(test_arrival_before_lock)
{
	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	bring_before_lock = TRUE;
	ck_assert_uint_eq(drain_all(), 1);
	ck_assert(!bring_before_lock);
	ck_assert_uint_eq(hold_count_held(), 1);
	ck_assert(has_entry());
	ck_assert_uint_eq(drain_all(), 1);
	ck_assert(!has_entry());
}
END_TEST

/* Entries go under this lock only: so nothing changes under it. */
static bool invariant_holds(void)
{
	struct rst_hold hold = hold_opened(), other = hold_of_user();
	struct rst_hold_status status;
	struct file_lock *lock;
	const char *error;
	bool holds;

	if (rst_hold_lock(&hold, RST_LOCK_DRAIN, 30, &lock, &error) <= 0)
		return FALSE;
	holds = rst_look_peek(&other, &status, &error) == 0 &&
		(status.messages == 0 || has_entry());
	file_lock_free(&lock);
	rst_hold_close(&hold);
	return holds;
}

static void try_drain(void)
{
	struct rst_hold hold = hold_of_user();
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;

	if (rst_locked_open(&hold, &locked, &error) <= 0)
		return;
	while (rst_locked_next(locked, &message, &error) > 0)
		rst_locked_bury(locked, message->id, message->key,
				message->uid);
	if (rst_locked_commit(locked, &error) == 0)
		(void)rst_locked_expunge(locked, &error);
	rst_locked_close(&locked);
}

/* Messages come and go at the same time. */
START_TEST(test_race)
{
	enum {
		ROUNDS = 60
	};
	pid_t pids[3];
	unsigned int i, n;
	int status;

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	for (i = 0; i < 3; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] > 0)
			continue;
		for (n = 0; n < ROUNDS; n++)
			T_BEGIN
			{
				if (i == 2)
					try_drain();
				else if (bring(t_strdup_printf("%u %u\r\n", i,
							       n)) !=
						 RST_ARRIVAL_HELD ||
					 !invariant_holds())
					_exit(1);
			}
		T_END;
		_exit(0);
	}
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert(invariant_holds());
	(void)drain_all();
	ck_assert(!has_entry());
}
END_TEST

/* ---- names */

/* For a while, and of the user's own entry only. */
static void check_believed(const struct rst_hold *hold)
{
	const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

	ck_assert(rst_entry_is_full(hold));
	ck_assert_int_eq(utimensat(AT_FDCWD, entry_path(), old, 0), 0);
	ck_assert(!rst_entry_is_full(hold));
	ck_assert_int_eq(utimensat(AT_FDCWD, entry_path(), NULL, 0), 0);
	ck_assert(rst_entry_is_full(hold));
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chown(entry_path(), NOBODY, NOBODY), 0);
	ck_assert(!rst_entry_is_full(hold));
	ck_assert_int_eq(chown(entry_path(), 0, 0), 0);
}

/* "Full" is noted where something is held, and goes with the first message that
   leaves, or with the entry's becoming vacant. */
START_TEST(test_full)
{
	static const char full[] = "00000000001701209600 full\n";
	struct rst_locked *locked;
	struct rst_message *message;
	struct rst_hold hold;
	const char *error;

	hold_user("sdbox", NULL);
	hold = hold_of_user();
	rst_entry_set_full(&hold, TRUE);
	ck_assert(is_gone());
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	rst_entry_set_full(&hold, FALSE);
	check_content(TEXT);
	ck_assert(!rst_entry_is_full(&hold));
	rst_entry_set_full(&hold, TRUE);
	check_content(full);
	rst_entry_set_full(&hold, TRUE);
	check_content(full);
	check_believed(&hold);
	/* a full one is no vacant one, and another arrival leaves it so */
	ck_assert(has_entry());
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_HELD);
	check_content(full);
	locked = hold_open();
	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	check_content(full);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	check_content(TEXT);
	rst_locked_close(&locked);
	rst_entry_set_full(&hold, TRUE);
	ck_assert_uint_eq(drain_all(), 2);
	ck_assert(!has_entry());
	rst_entry_set_full(&hold, TRUE);
	ck_assert(!has_entry());
}
END_TEST

START_TEST(test_name)
{
	struct mail_user user;
	struct rst_hold hold = {.user = &user, .settings = &hold_fixture.set};
	const char *error;

	hold_user("sdbox", NULL);
	i_zero(&user);
	user.username = "../a b";
	ck_assert(rst_entry_has_name(&hold));
	ck_assert_int_eq(rst_entry_ensure(&hold, ARRIVED, &error), 0);
	ck_assert_int_eq(
		access(t_strconcat(hold_fixture.holders, "/%2E.%2Fa%20b", NULL),
		       F_OK),
		0);
	user.username = t_strconcat(
		t_strdup_printf("%0*u", RST_HOLDER_NAME_MAX, 0), "@", NULL);
	ck_assert(!rst_entry_has_name(&hold));
	ck_assert_int_lt(rst_entry_ensure(&hold, ARRIVED, &error), 0);
	ck_assert_int_lt(rst_entry_touch(&hold, ARRIVED, &error), 0);
	ck_assert(!rst_entry_exists(&hold));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-entry");
	TCase *tc = tcase_create("entry");

	tcase_add_checked_fixture(tc, hold_setup, hold_teardown);
	tcase_add_loop_test(tc, test_made, 0, (int)N_ELEMENTS(hold_drivers));
	tcase_add_loop_test(tc, test_made_late, 0, 2);
	tcase_add_loop_test(tc, test_no_directory, 0, 2);
	tcase_add_test(tc, test_not_durable);
	tcase_add_test(tc, test_empty);
	tcase_add_loop_test(tc, test_junk, 0, 6);
	tcase_add_test(tc, test_without_rights);
	tcase_add_test(tc, test_root_for_a_moment);
	tcase_add_test(tc, test_touch_lost);
	tcase_add_loop_test(tc, test_stays, 0, (int)N_ELEMENTS(hold_drivers));
	tcase_add_loop_test(tc, test_vacant, 0, (int)N_ELEMENTS(hold_drivers));
	tcase_add_test(tc, test_stale);
	tcase_add_test(tc, test_unresolved);
	tcase_add_test(tc, test_arrival_under_way);
	tcase_add_loop_test(tc, test_arrival_before_lock, 0,
			    (int)N_ELEMENTS(hold_drivers));
	tcase_add_test(tc, test_race);
	tcase_add_test(tc, test_full);
	tcase_add_test(tc, test_name);
	suite_add_tcase(s, tc);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
