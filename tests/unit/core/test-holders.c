/* SPDX-License-Identifier: MIT */
/* A real directory, with inotify; the test plays the core. */
#include "core/holders.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "restante/clock.h"
#include "restante/holder.h"
#include "test-util.h"

#define DUE "00000000001700000000\n"

static struct {
	char dir[64], path[128];
	struct event_base *base;
	struct holders *holders;
	const char *signed_in; /* names, each with a blank behind it */
	const char *known;
	char said[4096];
	char noted[16][64]; /* of the touched users, by session */
	int64_t touched_ns[16];
	unsigned int logged;
	const char *was_full;
	int64_t skip_ms; /* by which the monotonic clock was put on */
	int64_t up_secs; /* since the machine's start; 0: a day */
} t;

/* ---- played neighbours */

/** Replaces the C library's, also for libevent. */
int clock_gettime(clockid_t clock, struct timespec *now_r)
{
	int ret = (int)syscall(SYS_clock_gettime, clock, now_r);

	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
		now_r->tv_sec += t.skip_ms / 1000;
		now_r->tv_nsec += t.skip_ms % 1000 * 1000000;
		now_r->tv_sec += now_r->tv_nsec / 1000000000;
		now_r->tv_nsec %= 1000000000;
	} else if (clock == CLOCK_BOOTTIME) {
		now_r->tv_sec = t.up_secs == 0 ? 24 * 3600 : t.up_secs;
	}
	return ret;
}

void log_line(int level, const struct rst_logline *line)
{
	(void)line;
	t.logged += level <= LOG_WARNING;
}

static bool has(const char *names, struct rst_str user)
{
	char word[300];

	(void)snprintf(word, sizeof(word), "%.*s ", (int)user.n, user.p);
	return names != NULL && strstr(names, word) != NULL;
}

static void say(const char *what, struct rst_str user)
{
	size_t n = strlen(t.said);

	(void)snprintf(t.said + n, sizeof(t.said) - n, "%s%.*s ", what,
		       (int)user.n, user.p);
}

static unsigned int on_wanted(struct rst_str user, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	return (has(t.signed_in, user) ? HOLDERS_SESSION : 0) |
	       (has(t.known, user) ? 0 : HOLDERS_DUE);
}

static void on_held(struct rst_str user, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	say("held:", user);
}

/* As sessions_touched(). */
static void on_touched(struct rst_str user, int64_t touched_ns, void *ctx)
{
	unsigned int i = 0;

	ck_assert_ptr_eq(ctx, &t);
	while (t.noted[i][0] != '\0' && !rst_str_eq(user, rst_str(t.noted[i])))
		i++;
	(void)snprintf(t.noted[i], sizeof(t.noted[i]), "%.*s", (int)user.n,
		       user.p);
	if (touched_ns != 0 && t.touched_ns[i] == touched_ns)
		return;
	t.touched_ns[i] = touched_ns;
	say("touched:", user);
}

static void on_due(struct rst_str user, int64_t due, void *ctx)
{
	int64_t now = clock_wall_secs();

	ck_assert_ptr_eq(ctx, &t);
	if (due == 1700000000)
		say("due:", user);
	else if (due >= now - 60 && due <= now)
		say("now:", user);
	else if (due > now + 540 && due < now + 660)
		say("later:", user);
	else
		say("strange:", user);
}

/* That there is room is said of every entry that is written. */
static void on_full(struct rst_str user, bool full, void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	if (full)
		say("full:", user);
	else if (has(t.was_full, user))
		say("room:", user);
}

static void on_lost(void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	say("lost", RST_STR(""));
}

/* ---- */

static const char *file(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", t.path, name);
	return path;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(file(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void touch(const char *name)
{
	ck_assert_int_eq(
		utimensat(AT_FDCWD, file(name), NULL, AT_SYMLINK_NOFOLLOW), 0);
}

/* As it was an hour ago. */
static void age(const char *name)
{
	struct timespec then[2] = {{.tv_sec = clock_wall_secs() - 3600},
				   {.tv_sec = clock_wall_secs() - 3600}};

	ck_assert_int_eq(
		utimensat(AT_FDCWD, file(name), then, AT_SYMLINK_NOFOLLOW), 0);
}

/* Until nothing more happens at once. */
static void settle(void)
{
	unsigned int i;

	for (i = 0; i < 200; i++)
		ck_assert_int_ge(
			event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK),
			0);
}

static void tick(void)
{
	t.skip_ms += HOLDERS_LOOK_MS + 1;
	settle();
}

/* @return what was said since the last call */
static const char *heard(void)
{
	static char said[sizeof(t.said)];

	memcpy(said, t.said, sizeof(said));
	t.said[0] = '\0';
	return said;
}

static bool was_heard(const char *said, const char *what)
{
	return strstr(said, what) != NULL;
}

static void start(void)
{
	const struct holders_config config = {.path = t.path,
					      .wanted = on_wanted,
					      .held = on_held,
					      .touched = on_touched,
					      .due = on_due,
					      .full = on_full,
					      .lost = on_lost,
					      .ctx = &t};

	t.base = event_base_new();
	t.holders = holders_new(t.base, &config);
	settle();
}

static void setup(void)
{
	memset(&t, 0, sizeof(t));
	strcpy(t.dir, "/tmp/restante-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t.dir));
	(void)snprintf(t.path, sizeof(t.path), "%s/above/holders", t.dir);
	ck_assert(holders_make_directory(t.path, geteuid(), getegid()));
}

static void teardown(void)
{
	char command[128];

	holders_free(&t.holders);
	ck_assert_ptr_null(t.holders);
	holders_free(&t.holders);
	event_base_free(t.base);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", t.dir);
	ck_assert_int_eq(system(command), 0);
}

/* ---- */

START_TEST(test_start)
{
	put("due@x", DUE);
	put("known@x", DUE);
	put("on%2Fline", DUE);
	put("torn@x", "00000000001700000000 fu");
	put("empty@x", "");
	t.known = "known@x on/line ";
	t.signed_in = "on/line ";
	start();
	const char *said = heard();

	ck_assert(was_heard(said, "due:due@x "));
	ck_assert(was_heard(said, "now:torn@x "));
	ck_assert(was_heard(said, "now:empty@x "));
	ck_assert(was_heard(said, "touched:on/line "));
	ck_assert(!was_heard(said, "known@x"));
	ck_assert(!was_heard(said, "due:on/line"));
	ck_assert(!was_heard(said, "lost"));
	ck_assert_uint_eq(t.logged, 0);
}
END_TEST

/* More entries than are read at a stretch. */
START_TEST(test_many)
{
	char name[32];
	unsigned int i;
	const char *said;

	for (i = 0; i < 130; i++) {
		(void)snprintf(name, sizeof(name), "u%u@x", i);
		put(name, DUE);
	}
	start();
	said = heard();
	for (i = 0; i < 130; i++) {
		(void)snprintf(name, sizeof(name), "due:u%u@x ", i);
		ck_assert_msg(was_heard(said, name), "%s", name);
	}
}
END_TEST

START_TEST(test_touched)
{
	start();
	t.signed_in = "on@x ";
	t.known = "known@x ";
	put("on@x", DUE);
	put("off@x", DUE);
	put("known@x", DUE);
	settle();
	/* a file that is made says nothing, but for a user of whom another time
	   is known: that may be a later one */
	ck_assert_str_eq(heard(), "due:known@x ");
	touch("off@x");
	settle();
	ck_assert_str_eq(heard(), "due:off@x ");
	touch("on@x");
	settle();
	ck_assert_str_eq(heard(), "held:on@x due:on@x ");
	t.known = "known@x on@x ";
	/* each time */
	touch("on@x");
	settle();
	touch("on@x");
	settle();
	ck_assert_str_eq(heard(), "held:on@x held:on@x ");
	touch("known@x");
	settle();
	ck_assert_str_eq(heard(), "");
	/* from a backup */
	put(".part", DUE);
	ck_assert_int_eq(rename(file(".part"), t.dir) == 0, 0);
	{
		char from[512];

		strcpy(from, file(".part"));
		ck_assert_int_eq(rename(from, file("back@x")), 0);
	}
	settle();
	ck_assert_str_eq(heard(), "due:back@x ");
}
END_TEST

/* Whatever other users put there. */
START_TEST(test_junk)
{
	static const char *const junk[] = {"pipe@x", "dir@x", "full@x",
					   "link@x", "nowhere@x"};
	struct stat st;
	unsigned int i;

	start();
	ck_assert_int_eq(mkfifo(file("pipe@x"), 0666), 0);
	ck_assert_int_eq(mkdir(file("dir@x"), 0777), 0);
	ck_assert_int_eq(mkdir(file("full@x"), 0777), 0);
	ck_assert_int_eq(mkdir(file("full@x/below"), 0777), 0);
	ck_assert_int_eq(mkdir(file("not a user's"), 0777), 0);
	ck_assert_int_eq(symlink("/etc/passwd", file("link@x")), 0);
	ck_assert_int_eq(symlink("/nonexistent", file("nowhere@x")), 0);
	put("%61", DUE);
	put("a b", DUE);
	put("%", DUE);
	put(".hidden", DUE);
	put("closed@x", DUE);
	ck_assert_int_eq(chmod(file("closed@x"), 0), 0);
	put("long@x", "");
	ck_assert_int_eq(truncate(file("long@x"), 1 << 30), 0);
	touch("long@x");
	touch("pipe@x");
	touch("dir@x");
	touch("link@x");
	touch("%61");
	touch("a b");
	touch("%");
	touch(".hidden");
	settle();
	/* root may read what is closed to all */
	ck_assert_str_eq(heard(), geteuid() == 0 ? "due:closed@x now:long@x "
						 : "now:closed@x now:long@x ");
	t.signed_in = "pipe@x dir@x link@x nowhere@x ";
	holders_look_through(t.holders);
	settle();
	const char *said = heard();

	ck_assert(was_heard(said, "closed@x "));
	ck_assert(was_heard(said, "now:long@x "));
	ck_assert(!was_heard(said, "pipe") && !was_heard(said, "dir@") &&
		  !was_heard(said, "link") && !was_heard(said, "nowhere"));
	ck_assert(!was_heard(said, "a "));
	/* now a delivery can make entries of these names */
	for (i = 0; i < N_ELEMENTS(junk); i++)
		ck_assert_int_eq(lstat(file(junk[i]), &st), -1);
	ck_assert_int_eq(lstat(file("not a user's"), &st), 0);
	ck_assert_int_eq(lstat(file("closed@x"), &st), 0);
}
END_TEST

/* More changes than the queue has room for, while nobody reads it. */
START_TEST(test_overflow)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	unsigned int max = 0, i;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%u", &max), 1);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_uint_lt(max, 1000000);
	put("a@x", DUE);
	put("b@x", DUE);
	put("on@x", DUE);
	age("on@x");
	t.known = "a@x b@x on@x ";
	t.signed_in = "on@x ";
	start();
	ck_assert_str_eq(heard(), "touched:on@x ");
	/* two in turn: the kernel joins equal ones */
	for (i = 0; i < max; i++)
		touch(i % 2 == 0 ? "a@x" : "b@x");
	touch("on@x");
	put("new@x", DUE);
	touch("new@x");
	for (i = 0; i < 1 + max / 20; i++)
		ck_assert_int_ge(
			event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK),
			0);
	const char *said = heard();

	ck_assert(!was_heard(said, "held:on@x "));
	ck_assert(was_heard(said, "touched:on@x "));
	ck_assert(was_heard(said, "due:new@x "));
	ck_assert_uint_eq(t.logged, 1);
}
END_TEST

/* The net for a wake-up that was lost: once for each change. */
START_TEST(test_tick)
{
	put("on@x", DUE);
	put("off@x", DUE);
	age("on@x");
	t.known = "on@x off@x ";
	start();
	ck_assert_str_eq(heard(), "");
	t.signed_in = "on@x ";
	tick();
	ck_assert_str_eq(heard(), "touched:on@x ");
	tick();
	tick();
	ck_assert_str_eq(heard(), "");
	touch("on@x");
	settle();
	ck_assert_str_eq(heard(), "held:on@x ");
	/* more may come in the same instant of the kernel's clock */
	tick();
	tick();
	ck_assert_str_eq(heard(), "touched:on@x touched:on@x ");
}
END_TEST

/* An entry that says that nothing is held is removed in time, by a look into
   the hold; until then it wakes nobody. */
START_TEST(test_vacant)
{
	t.signed_in = "v@x ";
	start();
	put("v@x", "0\n");
	settle();
	ck_assert_str_eq(heard(), "later:v@x ");
	t.known = "v@x ";
	tick();
	ck_assert_str_eq(heard(), "");
	/* mail comes, and falls due sooner than the look that is known */
	put("v@x", DUE);
	settle();
	ck_assert_str_eq(heard(), "due:v@x ");
	touch("v@x");
	settle();
	ck_assert_str_eq(heard(), "held:v@x ");
	tick();
	ck_assert_str_eq(heard(), "touched:v@x ");
}
END_TEST

/* policyd's own start changes nothing. After the machine's start a vacancy of
   before says nothing: a crash may have undone what was written last. */
START_TEST(test_vacant_at_start)
{
	put("v@x", "0\n");
	put("old@x", "0\n");
	age("old@x");
	t.up_secs = RST_HOLDER_START_SECS + 5;
	start();
	ck_assert_msg(was_heard(t.said, "later:v@x "), "%s", t.said);
	ck_assert(was_heard(t.said, "now:old@x "));
	(void)heard();
	t.up_secs = RST_HOLDER_START_SECS - 5;
	holders_look_through(t.holders);
	settle();
	ck_assert(was_heard(t.said, "now:v@x "));
	ck_assert(was_heard(t.said, "now:old@x "));
}
END_TEST

/* A user without room: told when it is written, and at a start while that is
   not long ago. */
START_TEST(test_full)
{
	static const char full[] = "00000000001700000000 full\n";

	put("old@x", full);
	age("old@x");
	put("a@x", full);
	start();
	ck_assert(was_heard(t.said, "full:a@x "));
	ck_assert(!was_heard(t.said, "full:old@x "));
	t.known = t.was_full = "a@x b@x old@x ";
	(void)heard();
	put("b@x", full);
	settle();
	ck_assert_str_eq(heard(), "full:b@x due:b@x full:b@x ");
	touch("b@x");
	settle();
	ck_assert_str_eq(heard(), "");
	put("b@x", DUE);
	settle();
	ck_assert_str_eq(heard(), "room:b@x due:b@x ");
	put("a@x", "0\n");
	settle();
	ck_assert_str_eq(heard(), "room:a@x later:a@x ");
}
END_TEST

static void replace(int how)
{
	char away[256];

	(void)snprintf(away, sizeof(away), "%s/away", t.dir);
	switch (how) {
	case 0:
	case 3:
		(void)unlink(file("a@x"));
		ck_assert_int_eq(rmdir(t.path), 0);
		break;
	case 1:
		ck_assert_int_eq(rename(t.path, away), 0);
		break;
	case 2: { /* the one above: nobody is told */
		char above[256];

		(void)snprintf(above, sizeof(above), "%s/above", t.dir);
		ck_assert_int_eq(rename(above, away), 0);
		break;
	}
	}
	if (how == 3)
		ck_assert_int_eq(mkdir(t.path, 01733), 0);
}

START_TEST(test_replaced)
{
	struct stat st;

	put("a@x", DUE);
	t.known = "a@x ";
	start();
	ck_assert_str_eq(heard(), "");
	replace(_i);
	settle();
	if (_i == 2)
		tick();
	ck_assert_str_eq(heard(), "lost ");
	ck_assert_int_eq(stat(t.path, &st), 0);
	if (_i != 3)
		ck_assert_uint_eq(st.st_mode & 07777, 01733);
	ck_assert_uint_eq(st.st_uid, geteuid());
	put("new@x", DUE);
	touch("new@x");
	settle();
	ck_assert_str_eq(heard(), "due:new@x ");
	tick();
	/* its entry was removed before the directory, which has told so */
	ck_assert_str_eq(heard(), _i == 0 || _i == 3 ? "now:a@x " : "");
}
END_TEST

/* The directory cannot be made now. */
START_TEST(test_away)
{
	char above[256];

	(void)snprintf(above, sizeof(above), "%s/above", t.dir);
	if (_i == 1)
		start();
	ck_assert_int_eq(rmdir(t.path), 0);
	ck_assert_int_eq(rmdir(above), 0);
	ck_assert_int_eq(symlink("/nonexistent/x", above), 0);
	if (_i == 0)
		start();
	tick();
	tick();
	ck_assert_uint_eq(t.logged, 1); /* once */
	ck_assert_str_eq(heard(), "");
	ck_assert_int_eq(unlink(above), 0);
	ck_assert_int_eq(mkdir(above, 0755), 0);
	ck_assert_int_eq(mkdir(t.path, 01733), 0);
	put("a@x", DUE);
	tick();
	const char *said = heard();

	ck_assert(was_heard(said, "due:a@x "));
	ck_assert_int_eq(was_heard(said, "lost"), _i == 1);
	touch("a@x");
	settle();
	ck_assert_str_eq(heard(), "due:a@x ");
}
END_TEST

START_TEST(test_removed)
{
	put("gone@x", DUE);
	put("empty@x", DUE);
	put("back@x", DUE);
	t.known = "gone@x empty@x back@x ";
	start();
	ck_assert_int_eq(unlink(file("gone@x")), 0);
	ck_assert_int_eq(unlink(file("empty@x")), 0);
	ck_assert_int_eq(unlink(file("back@x")), 0);
	put("back@x", DUE);
	settle();
	ck_assert_str_eq(heard(), "due:back@x ");
	t.known = "gone@x back@x "; /* nothing is held of the other */
	tick();
	ck_assert_str_eq(heard(), "now:gone@x ");
	tick();
	ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(test_many_removed)
{
	char name[32];
	unsigned int i;

	start();
	t.known = "u1@x ";
	for (i = 0; i < 4200; i++) {
		(void)snprintf(name, sizeof(name), "u%u@x", i);
		put(name, DUE);
		ck_assert_int_eq(unlink(file(name)), 0);
		if (i % 40 == 0)
			settle();
	}
	settle();
	tick();
	ck_assert_str_eq(heard(), "lost ");
}
END_TEST

START_TEST(test_audited)
{
	struct stat st;
	struct timespec past[2] = {{.tv_sec = clock_wall_secs() - 500},
				   {.tv_sec = clock_wall_secs() - 500}};

	start();
	ck_assert_int_eq(holders_audit_age(t.path), -1);
	if (_i == 1)
		ck_assert_int_eq(symlink("/etc/passwd", file(".audited")), 0);
	if (_i == 2)
		ck_assert_int_eq(mkfifo(file(".audited"), 0666), 0);
	ck_assert_int_eq(holders_audit_age(t.path), -1);
	holders_audited(t.path);
	ck_assert_int_le(holders_audit_age(t.path), 1);
	ck_assert_int_ge(holders_audit_age(t.path), 0);
	ck_assert_int_eq(lstat(file(".audited"), &st), 0);
	ck_assert(S_ISREG(st.st_mode));
	ck_assert_int_eq(utimensat(AT_FDCWD, file(".audited"), past, 0), 0);
	ck_assert_int_ge(holders_audit_age(t.path), 500);
	past[1].tv_sec += 5000;
	ck_assert_int_eq(utimensat(AT_FDCWD, file(".audited"), past, 0), 0);
	ck_assert_int_eq(holders_audit_age(t.path), -1);
	settle();
	ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(test_directory)
{
	struct stat st;
	char path[256];

	start();
	ck_assert_int_eq(stat(t.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 01733);
	/* one that is there is left as it is */
	ck_assert_int_eq(chmod(t.path, 0700), 0);
	ck_assert(holders_make_directory(t.path, 1, 1));
	ck_assert_int_eq(stat(t.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	(void)snprintf(path, sizeof(path), "%s/a/b/c", t.dir);
	ck_assert(!holders_make_directory(path, geteuid(), getegid()));
	put("file", "");
	ck_assert(!holders_make_directory(file("file"), geteuid(), getegid()));
	if (geteuid() != 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/a/b", t.dir);
	ck_assert(holders_make_directory(path, 1, 2));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, 1);
	ck_assert_uint_eq(st.st_gid, 2);
	ck_assert_uint_eq(st.st_mode & 07777, 01733);
	*strrchr(path, '/') = '\0';
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holders");
	TCase *tcase = tcase_create("holders");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_start);
	tcase_add_test(tcase, test_many);
	tcase_add_test(tcase, test_touched);
	tcase_add_test(tcase, test_junk);
	tcase_add_test(tcase, test_overflow);
	tcase_add_test(tcase, test_tick);
	tcase_add_test(tcase, test_vacant);
	tcase_add_test(tcase, test_vacant_at_start);
	tcase_add_test(tcase, test_full);
	tcase_add_loop_test(tcase, test_replaced, 0, 4);
	tcase_add_loop_test(tcase, test_away, 0, 2);
	tcase_add_test(tcase, test_removed);
	tcase_add_test(tcase, test_many_removed);
	tcase_add_loop_test(tcase, test_audited, 0, 3);
	tcase_add_test(tcase, test_directory);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
