/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "fault.h"
#include "log.h"
#include "maildir.h"
#include "store.h"

static const char *hostname = "laptop.example.org";

static bool own_state_dir;

static struct store_settings make_settings(void)
{
	static char maildir[128], state[128];
	const struct store_settings settings = {
		.maildir = maildir,
		.state_dir = own_state_dir ? state : maildir,
		.hostname = hostname,
		.domain = "laptop.example.org",
		.server = "mx.example.org",
	};

	(void)snprintf(maildir, sizeof(maildir), "%s/Maildir", temp_dir);
	(void)snprintf(state, sizeof(state), "%s/state", temp_dir);
	return settings;
}

static struct store *try_open(void)
{
	const struct store_settings settings = make_settings();

	return store_open(&settings);
}

static struct store *open_store(void)
{
	struct store *store = try_open();

	ck_assert_ptr_nonnull(store);
	return store;
}

static int probe(const struct store_settings *settings,
		 const struct place_disks *disks)
{
	return place_probe(settings->maildir, settings->state_dir, disks);
}

static struct store_message *begin(struct store *store, const char *id)
{
	const struct store_envelope env = {
		.id = rst_str(id),
		.mail_from = RST_STR("sender@example.net"),
		.rcpt_to = RST_STR("me@example.org"),
	};

	return store_begin(store, &env);
}

static enum rst_verdict put(struct store *store, const char *id,
			    struct rst_str octets)
{
	struct store_message *msg = begin(store, id);
	enum rst_verdict verdict;

	store_octets(msg, octets);
	store_end(msg);
	store_commit(store, &msg, 1);
	verdict = store_verdict(msg);
	store_message_free(&msg);
	return verdict;
}

#define NEW "Maildir/new"
#define TMP "Maildir/tmp"

/* @return the message below the client's three trace fields; free() it */
static char *stored_body(const char *id, size_t *n_r)
{
	char path[1024], *octets, *body;
	unsigned int lines = 0;
	size_t n;

	ck_assert_uint_eq(temp_count(NEW, id, path), 1);
	octets = temp_read(path, &n);
	body = octets;
	while (lines < 7) {
		body = memchr(body, '\n', n - (size_t)(body - octets));
		ck_assert_ptr_nonnull(body);
		body++;
		lines++;
	}
	*n_r = n - (size_t)(body - octets);
	memmove(octets, body, *n_r);
	return octets;
}

#define OCTETS(literal) RST_STR(literal)

static const struct {
	struct rst_str in, out;
} conversions[] = {
	{OCTETS(""), OCTETS("")},
	{OCTETS("a: b\r\n\r\nc\r\n"), OCTETS("a: b\n\nc\n")},
	{OCTETS("\r\n"), OCTETS("\n")},
	{OCTETS("\r"), OCTETS("\r")},
	{OCTETS("\n"), OCTETS("\n")},
	{OCTETS("a\rb"), OCTETS("a\rb")},
	{OCTETS("a\nb\r\n"), OCTETS("a\nb\n")},
	{OCTETS("\r\r\n"), OCTETS("\r\n")},
	{OCTETS("\r\r\r"), OCTETS("\r\r\r")},
	{OCTETS("\n\r"), OCTETS("\n\r")},
	{OCTETS("\r\n\r"), OCTETS("\n\r")},
	{OCTETS("a\0b\r\n\0"), OCTETS("a\0b\n\0")},
	{OCTETS("From x\r\n.\r\n..\r\n\xff\xfe"),
	 OCTETS("From x\n.\n..\n\xff\xfe")},
};

static void check_body(const char *id, struct rst_str want)
{
	size_t n;
	char *body = stored_body(id, &n);

	ck_assert_uint_eq(n, want.n);
	ck_assert_int_eq(memcmp(body, want.p, n), 0);
	free(body);
}

/* Whole, cut once at every octet, and octet by octet. */
START_TEST(test_conversion)
{
	struct rst_str in = conversions[_i].in;
	struct store *store = open_store();
	struct store_message *msg;
	char id[32];
	size_t cut, i;

	for (cut = 0; cut <= in.n + 1; cut++) {
		(void)snprintf(id, sizeof(id), "cut-%zu", cut);
		msg = begin(store, id);
		if (cut <= in.n) {
			store_octets(msg, (struct rst_str){in.p, cut});
			store_octets(msg,
				     (struct rst_str){in.p + cut, in.n - cut});
		}
		for (i = 0; cut > in.n && i < in.n; i++)
			store_octets(msg, (struct rst_str){in.p + i, 1});
		store_end(msg);
		store_commit(store, &msg, 1);
		ck_assert_int_eq(store_verdict(msg), RST_VERDICT_OK);
		store_message_free(&msg);
		check_body(id, conversions[_i].out);
	}
	store_free(&store);
}
END_TEST

/* Larger than the store's buffer, with a CRLF across its end. */
START_TEST(test_large)
{
	enum {
		SIZE = 300000
	};
	char *in = rst_malloc(SIZE), *out = rst_malloc(SIZE);
	struct store *store = open_store();
	size_t i, n = 0;

	for (i = 0; i < SIZE; i++)
		in[i] = i % 3 == 0 ? '\r' : i % 3 == 1 ? '\n' : 'x';
	for (i = 0; i < SIZE; i++) {
		if (in[i] != '\r')
			out[n++] = in[i];
	}
	ck_assert_int_eq(put(store, "big", (struct rst_str){in, SIZE}),
			 RST_VERDICT_OK);
	check_body("big", (struct rst_str){out, n});
	store_free(&store);
	free(in);
	free(out);
}
END_TEST

START_TEST(test_trace)
{
	static const char want[] = "Return-Path: <sender@example.net>\n"
				   "Delivered-To: me@example.org\n"
				   "Received: from mx.example.org\n"
				   "\tby laptop.example.org (Restante) with "
				   "ESMTPS\n"
				   "\tid T1\n"
				   "\tfor <me@example.org>;\n\t";
	struct store *store = open_store();
	char path[1024], *octets;
	struct stat st;
	size_t n;

	put(store, "T1", RST_STR("Subject: x\r\n\r\n"));
	ck_assert_uint_eq(temp_count(NEW, "restante=T1", path), 1);
	octets = temp_read(path, &n);
	ck_assert_int_eq(strncmp(octets, want, strlen(want)), 0);
	ck_assert_ptr_nonnull(strstr(octets, "\nSubject: x\n\n"));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	free(octets);
	store_free(&store);
}
END_TEST

static const struct {
	const char *hostname, *host;
} hosts[] = {
	{"my_laptop-2.example.org", "my_laptop-2.example.org"},
	{"a/b", "a\\057b"},
	{"a:b", "a\\072b"},
	{"../x", "..\\057x"},
	{"a b\\c", "a\\040b\\134c"},
	{"t\xc3\xa4st", "t\\303\\244st"},
	/* would be taken for our label */
	{"x,restante=y", "x\\054restante\\075y"},
	/* cut at 64, and not inside of an octet */
	{"0123456789012345678901234567890123456789012345678901234567890:x",
	 "0123456789012345678901234567890123456789012345678901234567890"},
	{"0123456789012345678901234567890123456789012345678901234567890123456",
	 "0123456789012345678901234567890123456789012345678901234567890123"},
};

/* Any name of the machine: the id in the file's name is found again. */
START_TEST(test_host)
{
	struct store *store;
	char path[1024], *host = maildir_host(hosts[_i].hostname), part[128];

	ck_assert_str_eq(host, hosts[_i].host);
	free(host);
	hostname = hosts[_i].hostname;
	store = open_store();
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	store_free(&store);
	(void)snprintf(part, sizeof(part), ".%s,restante=a", hosts[_i].host);
	ck_assert_uint_eq(temp_count(NEW, part, path), 1);
	ck_assert_int_eq(unlink(temp_path("Maildir/restante.seen")), 0);
	store = open_store();
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 1);
	store_free(&store);
}
END_TEST

/* An address with a line end in it adds no line to the header. */
START_TEST(test_nasty_envelope)
{
	const struct store_envelope env = {
		.id = RST_STR("../../etc/x"),
		.mail_from = RST_STR("a\r\nX-Evil: 1\n"),
		.rcpt_to = RST_STR("b\r\n\r\nbody\0"),
	};
	struct store *store = open_store();
	struct store_message *msg = store_begin(store, &env);
	char path[1024], *octets;
	size_t n;

	store_octets(msg, RST_STR("x\r\n"));
	store_end(msg);
	store_commit(store, &msg, 1);
	ck_assert_int_eq(store_verdict(msg), RST_VERDICT_OK);
	store_message_free(&msg);
	ck_assert_uint_eq(temp_count(NEW, ",restante=", path), 1);
	octets = temp_read(path, &n);
	ck_assert_ptr_null(strstr(octets, "\nX-Evil"));
	ck_assert_ptr_null(strstr(octets, "\n\n"));
	ck_assert_ptr_nonnull(strstr(octets, "Return-Path: <a??X-Evil: 1?>\n"));
	free(octets);
	store_free(&store);
}
END_TEST

START_TEST(test_seen_twice)
{
	struct store *store = open_store();
	struct store_message *msg;
	int i;

	for (i = 0; i < 2; i++) {
		ck_assert_int_eq(put(store, "twice", RST_STR("x")),
				 RST_VERDICT_OK);
		msg = begin(store, "twice");
		ck_assert(store_decided(msg));
		ck_assert(store_repeated(msg));
		ck_assert_int_eq(store_verdict(msg), RST_VERDICT_OK);
		store_message_free(&msg);
		store_free(&store); /* and again after a restart */
		store = open_store();
	}
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 1);
	store_forget(store, RST_STR("twice"));
	/* the server sends it all the same: its hold is from a backup, say */
	for (i = 0; i < 2; i++) {
		ck_assert_int_eq(put(store, "twice", RST_STR("x")),
				 RST_VERDICT_OK);
		ck_assert_uint_eq(temp_count(NEW, "", NULL), 1);
		store_free(&store);
		store = open_store();
	}
	/* a message without an id is always new */
	put(store, "", RST_STR("x"));
	put(store, "", RST_STR("x"));
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 3);
	store_free(&store);
}
END_TEST

/* A message forgotten in order is not taken for one that a crash left. */
START_TEST(test_forgotten_stays_so)
{
	struct store *store = open_store();
	char *log;
	size_t n;
	int i;

	put(store, "a", RST_STR("x"));
	store_forget(store, RST_STR("a"));
	for (i = 0; i < 3; i++) {
		store_free(&store);
		store = open_store();
	}
	log = temp_read(temp_path("Maildir/restante.seen"), &n);
	ck_assert_ptr_nonnull(strstr(log, "a\t-\n"));
	ck_assert_uint_lt(n, 20); /* two lines */
	free(log);
	store_free(&store);
}
END_TEST

START_TEST(test_same_id_in_one_commit)
{
	struct store *store = open_store();
	struct store_message *msgs[] = {begin(store, "a"), begin(store, "a"),
					begin(store, "b")};
	size_t i;

	for (i = 0; i < 3; i++)
		store_end(msgs[i]);
	store_commit(store, msgs, 3);
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(store_verdict(msgs[i]), RST_VERDICT_OK);
		ck_assert_int_eq(store_repeated(msgs[i]), i == 1);
		store_message_free(&msgs[i]);
	}
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 2);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	store_free(&store);
}
END_TEST

#define GROUP 3

static void begin_group(struct store *store, struct store_message *msgs[GROUP])
{
	static const char *const names[GROUP] = {"a", "b", "c"};
	size_t i;

	for (i = 0; i < GROUP; i++) {
		msgs[i] = begin(store, names[i]);
		store_octets(msgs[i], RST_STR("x\r\n"));
		store_end(msgs[i]);
	}
}

/* @return how many verdicts were OK */
static unsigned int end_group(struct store *store,
			      struct store_message *msgs[GROUP])
{
	unsigned int ok = 0;
	size_t i;

	store_commit(store, msgs, GROUP);
	for (i = 0; i < GROUP; i++) {
		if (store_verdict(msgs[i]) == RST_VERDICT_OK)
			ok++;
		store_message_free(&msgs[i]);
	}
	return ok;
}

/* The steps of a commit: each file's fsync, each rename, and once for all the
   directory's fsync, the write to the log, and its fdatasync. */
START_TEST(test_group_steps)
{
	struct store *store = open_store();
	struct store_message *msgs[GROUP];

	fault_set(0, 0, 0);
	begin_group(store, msgs);
	ck_assert_int_eq(fault_step, GROUP); /* written, and no more */
	ck_assert_uint_eq(end_group(store, msgs), GROUP);
	ck_assert_int_eq(fault_step, 3 * GROUP + 3);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), GROUP);
	store_free(&store);
}
END_TEST

/* The kernel reports an error once, so another fsync of the file would succeed:
   the file is thrown away, and the others are stored. */
START_TEST(test_fsync_fails_in_group)
{
	static const int codes[] = {EIO, ENOSPC};
	struct store *store = open_store();
	struct store_message *msgs[GROUP];

	begin_group(store, msgs);
	fault_set(0, 2, codes[_i]);
	ck_assert_uint_eq(end_group(store, msgs), GROUP - 1);
	/* an fsync each, an unlink, the renames, and three for the group */
	ck_assert_int_eq(fault_step, GROUP + 1 + GROUP - 1 + 3);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), GROUP - 1);
	ck_assert_uint_eq(temp_count(NEW, "=b", NULL), 0);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_int_eq(store_lacks_room(store), codes[_i] == ENOSPC);
	ck_assert_int_eq(put(store, "b", RST_STR("x\r\n")), RST_VERDICT_OK);
	check_body("b", RST_STR("x\n"));
	ck_assert_uint_eq(temp_count(NEW, "", NULL), GROUP);
	store_free(&store);
}
END_TEST

static const struct {
	int error;
	bool harmless;
} write_backs[] = {
	{ENOSYS, true},
	{EINVAL, true},
	{EIO, false},
	{ENOSPC, false},
};

/* The fsync that follows may not report this error again. */
START_TEST(test_write_back_fails)
{
	bool harmless = write_backs[_i].harmless;
	struct store *store = open_store();
	struct store_message *msgs[GROUP];

	fault_write_back = write_backs[_i].error;
	begin_group(store, msgs);
	ck_assert_uint_eq(end_group(store, msgs), harmless ? GROUP : 0);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), harmless ? GROUP : 0);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_int_eq(store_lacks_room(store),
			 write_backs[_i].error == ENOSPC);
	fault_write_back = 0;
	ck_assert_int_eq(put(store, "a", RST_STR("x\r\n")), RST_VERDICT_OK);
	store_free(&store);
}
END_TEST

/* A failure of a shared sync fails all messages of the group. */
START_TEST(test_group_fails)
{
	struct store *store = open_store();
	struct store_message *msgs[GROUP];

	begin_group(store, msgs);
	fault_set(0, 2 * GROUP + 1, EIO); /* the directory */
	ck_assert_uint_eq(end_group(store, msgs), 0);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
	begin_group(store, msgs);
	fault_set(0, 2 * GROUP + 3, EIO); /* the log */
	ck_assert_uint_eq(end_group(store, msgs), 0);
	fault_set(0, 0, 0);
	begin_group(store, msgs);
	ck_assert_uint_eq(end_group(store, msgs), GROUP);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), GROUP);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	store_free(&store);
}
END_TEST

START_TEST(test_given_up)
{
	struct store *store = open_store();
	struct store_message *msg = begin(store, "a");

	store_octets(msg, RST_STR("half"));
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 1);
	store_message_free(&msg);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	msg = begin(store, "a");
	store_octets(msg, RST_STR("whole, and not committed"));
	store_end(msg);
	ck_assert_int_eq(store_verdict(msg), RST_VERDICT_TEMPFAIL);
	store_message_free(&msg);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_int_eq(put(store, "a", RST_STR("whole")), RST_VERDICT_OK);
	store_free(&store);
}
END_TEST

/* A reader moved the message to cur, and a power cut took the seen-log. */
START_TEST(test_found_by_name)
{
	struct store *store = open_store();
	char path[1024], moved[1024], log[1024];
	struct store_message *msg;

	put(store, "a", RST_STR("x"));
	put(store, "b", RST_STR("x"));
	store_free(&store);
	ck_assert_uint_eq(temp_count(NEW, "=a", path), 1);
	(void)snprintf(moved, sizeof(moved), "%s/Maildir/cur/%s:2,FS", temp_dir,
		       strrchr(path, '/') + 1);
	ck_assert_int_eq(rename(path, moved), 0);
	(void)snprintf(log, sizeof(log), "%s/Maildir/restante.seen", temp_dir);
	ck_assert_int_eq(unlink(log), 0);
	temp_write("Maildir/cur/somebody.elses", "x", 1);
	temp_write("Maildir/tmp/somebody.elses", "x", 1);
	temp_write("Maildir/tmp/1.M2P3Q4.host,restante=c", "x", 1);
	/* new was on another file system, and is not any more */
	temp_write("Maildir/new/.1.M2P3Q5.host,restante=d", "x", 1);
	temp_write("Maildir/new/.somebody.elses", "x", 1);

	store = open_store();
	msg = begin(store, "a");
	ck_assert(store_decided(msg));
	store_message_free(&msg);
	msg = begin(store, "b");
	ck_assert(store_decided(msg));
	store_message_free(&msg);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 1);
	ck_assert_uint_eq(temp_count(TMP, "somebody", NULL), 1);
	ck_assert_int_ne(access(temp_path("Maildir/new/"
					  ".1.M2P3Q5.host,restante=d"),
				F_OK),
			 0);
	ck_assert_int_eq(access(temp_path("Maildir/new/.somebody.elses"), F_OK),
			 0);
	ck_assert_int_eq(put(store, "d", RST_STR("x")), RST_VERDICT_OK);
	store_free(&store);
}
END_TEST

/* The clock went back, by a minute or to 1970, and the program ended before the
   log was written: the next start finds the file all the same. */
START_TEST(test_clock_went_back)
{
	char log[64];
	struct store *store = open_store();
	int n = snprintf(log, sizeof(log), "old\t%lld\n",
			 (long long)time(NULL) + 40 * 86400);

	store_free(&store);
	temp_write("Maildir/restante.seen", log, (size_t)n);
	store = open_store();
	fault_set(0, 5, EIO); /* the log's line */
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(fault_step, 5);
	store_free(&store);
	store = open_store();
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	ck_assert_uint_eq(temp_count(NEW, "=a", NULL), 1);
	store_free(&store);
}
END_TEST

/* A line in the middle was lost: its message is found by name, however old. */
START_TEST(test_damaged_log)
{
	static const char bad[] = "\0\0\0\0\0\n";
	struct store *store = open_store();
	char log[64];
	size_t i, n;

	temp_write("Maildir/cur/1000.M2P3Q4.h,restante=a:2,S", "x", 1);
	store_free(&store);
	for (i = 0; i < 2; i++) {
		n = (size_t)snprintf(log, sizeof(log), "b\t%lld\n",
				     (long long)time(NULL));
		memcpy(log + n, bad, sizeof(bad) - 1);
		if (i == 0)
			temp_write("Maildir/restante.seen", log,
				   n + sizeof(bad) - 1);
		store = open_store(); /* mends the log */
		ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
		ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
		store_free(&store);
	}
}
END_TEST

/* Some file systems in user space answer an fsync of a directory like this. */
START_TEST(test_directories_cannot_be_synced)
{
	struct store *store = open_store();

	fault_set(0, 4, EINVAL);
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	fault_set(0, 4, EIO);
	ck_assert_int_eq(put(store, "b", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	store_free(&store);
}
END_TEST

/* Failures, and whether the store is of use after them. */
START_TEST(test_failed)
{
	struct store *store = open_store();
	struct store_message *msg;

	ck_assert_int_eq(store_failed(store), 0);
	fault_set(0, 1, EIO);
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(store_failed(store), EIO);
	ck_assert_int_eq(store_failed(store), 0);
	ck_assert(!store_lacks_room(store));
	/* there is no room for this message, but for smaller ones */
	fault_set(0, 1, ENOSPC);
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(store_failed(store), 0);
	ck_assert(store_lacks_room(store));
	fault_set(0, 1, ENOSPC);
	ck_assert(!store_has_room_again(store));
	ck_assert(store_has_room_again(store));
	ck_assert(!store_lacks_room(store));
	ck_assert(!store_has_room_again(store));
	/* there is no room at all */
	fault_disk_full = true;
	msg = begin(store, "a");
	store_end(msg);
	ck_assert_int_eq(store_failed(store), ENOSPC);
	store_message_free(&msg);
	fault_disk_full = false;
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	store_free(&store);
}
END_TEST

START_TEST(test_probe)
{
	char maildir[128], log[512];
	const struct store_settings settings = {.maildir = maildir,
						.state_dir = maildir};
	struct place_disks disks;
	struct store *store;

	(void)snprintf(maildir, sizeof(maildir), "%s/Maildir", temp_dir);
	store = open_store();
	ck_assert_int_eq(store_disks(store, &disks), 0);
	store_free(&store);
	ck_assert_int_eq(probe(&settings, &disks), 0);
	fault_disk_full = true;
	ck_assert_int_eq(probe(&settings, &disks), -1);
	ck_assert_int_eq(errno, ENOSPC);
	fault_disk_full = false;
	(void)snprintf(log, sizeof(log), "%s/restante.seen", maildir);
	ck_assert_int_eq(unlink(log), 0);
	ck_assert_int_eq(probe(&settings, &disks), 0);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_uint_eq(temp_count("Maildir", "probe", NULL), 0);
	ck_assert_int_ne(access(temp_path(TMP "/.restante.probe"), F_OK), 0);
	ck_assert_int_ne(access(temp_path(NEW "/.restante.probe"), F_OK), 0);
	ck_assert_int_ne(access(temp_path("Maildir/.restante.probe"), F_OK), 0);
}
END_TEST

/* Without its three directories, or missing, it may be the empty place of a
   disk that is not mounted: it will do on the disk where it was. */
START_TEST(test_probe_unmounted)
{
	char maildir[128], state[128];
	const struct store_settings settings = {.maildir = maildir,
						.state_dir = state};
	struct place_disks disks, other;
	struct stat st;

	(void)snprintf(maildir, sizeof(maildir), "%s/Maildir", temp_dir);
	(void)snprintf(state, sizeof(state), "%s/state", temp_dir);
	ck_assert_int_eq(stat(temp_dir, &st), 0);
	disks.maildir = disks.state_dir = st.st_dev;
	other.maildir = other.state_dir = st.st_dev + 1;
	ck_assert_int_eq(probe(&settings, &disks), 0);
	ck_assert_int_eq(probe(&settings, &other), -1);
	ck_assert_int_eq(errno, ENODEV);
	ck_assert_int_eq(mkdir(maildir, 0700), 0);
	ck_assert_int_eq(mkdir(state, 0700), 0);
	ck_assert_int_eq(probe(&settings, &disks), 0);
	ck_assert_int_eq(probe(&settings, &other), -1);
	ck_assert_int_eq(mkdir(temp_path("Maildir/cur"), 0700), 0);
	ck_assert_int_eq(mkdir(temp_path(TMP), 0700), 0);
	ck_assert_int_eq(probe(&settings, &other), -1);
	ck_assert_int_eq(mkdir(temp_path(NEW), 0700), 0);
	/* a Maildir, and no seen-log */
	ck_assert_int_eq(probe(&settings, &other), -1);
	temp_write("state/restante.seen", "", 0);
	ck_assert_int_eq(probe(&settings, &other), 0);
	/* no directory at all above it */
	(void)snprintf(maildir, sizeof(maildir), "%s/a/b", temp_dir);
	ck_assert_int_eq(probe(&settings, &disks), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(test_lock)
{
	struct store *store = open_store();

	ck_assert_ptr_null(try_open());
	store_free(&store);
	store = open_store();
	store_free(&store);
}
END_TEST

START_TEST(test_two_directories)
{
	char maildir[128], state[128];
	const struct store_settings settings = {
		.maildir = maildir,
		.state_dir = state,
		.hostname = "laptop",
		.domain = "laptop",
		.server = "::1",
	};
	struct store *store;

	(void)snprintf(maildir, sizeof(maildir), "%s/Maildir", temp_dir);
	(void)snprintf(state, sizeof(state), "%s/state", temp_dir);
	store = store_open(&settings);
	ck_assert_ptr_nonnull(store);
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	ck_assert_uint_eq(temp_count("state", "restante.seen", NULL), 1);
	ck_assert_uint_eq(temp_count("Maildir", "restante.seen", NULL), 0);
	/* another program with another state directory is refused too */
	ck_assert_ptr_null(try_open());
	store_free(&store);
}
END_TEST

START_TEST(test_no_maildir)
{
	temp_write("Maildir", "a file", 6);
	ck_assert_ptr_null(try_open());
}
END_TEST

/* A really full disk, as far as that is possible without root. */
START_TEST(test_no_room)
{
	struct rlimit small = {100000, RLIM_INFINITY};
	struct rlimit large = {RLIM_INFINITY, RLIM_INFINITY};
	char *octets = rst_calloc(1, 200000);
	struct rst_str large_one = {octets, 200000};
	struct store *store = open_store();

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(put(store, "a", large_one), RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(put(store, "a", large_one), RST_VERDICT_TEMPFAIL);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_int_eq(put(store, "b", RST_STR("x")), RST_VERDICT_OK);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
	ck_assert_int_eq(put(store, "a", large_one), RST_VERDICT_OK);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 2);
	store_free(&store);
	free(octets);
}
END_TEST

/* ---- stopped or failing at each step */

static const char *const ids[] = {"one", "two", "three", "four"};

/* The messages answered 250, in memory that outlives a crash. */
static bool *answered;

/* Two messages alone, two in one commit, and an end in order. */
static void deliver_all(void)
{
	struct store *store = try_open();
	struct store_message *msgs[2];
	size_t i;

	if (store == NULL) /* the program ends, and is started again */
		return;
	for (i = 0; i < 2; i++) {
		if (put(store, ids[i], RST_STR("x\r\n")) == RST_VERDICT_OK)
			answered[i] = true;
	}
	for (i = 0; i < 2; i++) {
		msgs[i] = begin(store, ids[2 + i]);
		store_octets(msgs[i], RST_STR("x\r\n"));
		store_end(msgs[i]);
	}
	store_commit(store, msgs, 2);
	for (i = 0; i < 2; i++) {
		if (store_verdict(msgs[i]) == RST_VERDICT_OK)
			answered[2 + i] = true;
		store_message_free(&msgs[i]);
	}
	store_free(&store);
}

static void check_all_once(void)
{
	size_t i;

	for (i = 0; i < 4; i++) {
		ck_assert(answered[i]);
		check_body(ids[i], RST_STR("x\n")); /* exactly one file */
	}
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
}

static void share_answered(void)
{
	answered = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(answered, MAP_FAILED);
}

static void start_over(void)
{
	temp_dir_remove();
	temp_dir_make();
	memset(answered, 0, 4096);
}

START_TEST(test_crash)
{
	bool crashed = true;
	int step;
	size_t i;

	share_answered();
	for (step = 1; crashed; step++) {
		start_over();
		crashed = fault_crashes(step, deliver_all);
		for (i = 0; i < 4; i++) {
			if (answered[i])
				check_body(ids[i], RST_STR("x\n"));
		}
		deliver_all(); /* the server sends again */
		check_all_once();
	}
	ck_assert_int_gt(step, 20);
	munmap(answered, 4096);
}
END_TEST

/* Each step fails, alone or with all that follow, in one run of the program;
   the next run mends it. */
START_TEST(test_step_fails)
{
	int step, last = 0;
	size_t i;

	share_answered();
	for (step = 1; step <= last || last == 0; step++) {
		start_over();
		if (_i == 0)
			fault_set(0, step, ENOSPC);
		else
			fault_set_for_good(step, EIO);
		deliver_all();
		if (fault_step < step)
			last = step;
		fault_set(0, 0, 0);
		for (i = 0; i < 4; i++) {
			if (answered[i])
				check_body(ids[i], RST_STR("x\n"));
		}
		deliver_all();
		check_all_once();
	}
	ck_assert_int_gt(last, 20);
	munmap(answered, 4096);
}
END_TEST

/* The steps of one message: its write, its fsync, the rename, the directory's
   fsync, the line of the seen-log, its fdatasync. */
#define STEPS 6

static const int errors[] = {ENOSPC, EDQUOT, EROFS, EIO};

START_TEST(test_recovers)
{
	int error = errors[_i / STEPS / 2], step = _i / 2 % STEPS + 1, i;
	struct store *store = open_store();

	if (_i % 2 == 0)
		fault_set(0, step, error);
	else
		fault_set_for_good(step, error);
	for (i = 0; i <= _i % 2; i++)
		ck_assert_int_eq(put(store, "a", RST_STR("x\r\n")),
				 RST_VERDICT_TEMPFAIL);
	/* a refused message is not there, unless its line may be in the log */
	if (_i % 2 == 0)
		ck_assert_uint_eq(temp_count(NEW, "", NULL), step > 4);
	if (_i % 2 == 1)
		ck_assert_int_eq(store_failed(store), error);
	fault_set(0, 0, 0);
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(put(store, "a", RST_STR("x\r\n")),
				 RST_VERDICT_OK);
	check_body("a", RST_STR("x\n"));
	store_free(&store);
	store = open_store();
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	check_body("a", RST_STR("x\n"));
	ck_assert_uint_eq(temp_count(TMP, ",restante=", NULL), 0);
	store_free(&store);
}
END_TEST

/* A message without room for its line is refused, and is not in the Maildir. */
START_TEST(test_no_room_in_log)
{
	struct store *store = open_store();

	fault_no_reserve = true;
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	ck_assert_int_eq(store_failed(store), ENOSPC);
	fault_no_reserve = false;
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	fault_no_reserve = true; /* an earlier call has reserved more */
	ck_assert_int_eq(put(store, "b", RST_STR("x")), RST_VERDICT_OK);
	fault_no_reserve = false;
	store_free(&store);
}
END_TEST

/* A directory of the Maildir was removed. */
START_TEST(test_no_tmp)
{
	struct store *store = open_store();

	ck_assert_int_eq(rmdir(temp_path(TMP)), 0);
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(store_failed(store), ENOENT);
	store_free(&store);
	store = open_store();
	ck_assert_int_eq(put(store, "a", RST_STR("x")), RST_VERDICT_OK);
	store_free(&store);
}
END_TEST

/* The next try of a message without an id would be a second copy. */
START_TEST(test_step_fails_without_id)
{
	struct store *store = open_store();
	int step;

	for (step = 1; step <= 4; step++) {
		fault_set(0, step, EIO);
		ck_assert_int_eq(put(store, "", RST_STR("x")),
				 RST_VERDICT_TEMPFAIL);
		ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
		ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	}
	store_free(&store);
}
END_TEST

/* ---- another Maildir at the path */

static void shell(const char *format)
{
	char command[1024];

	(void)snprintf(command, sizeof(command), "cd '%s' && %s", temp_dir,
		       format);
	ck_assert_int_eq(system(command), 0);
}

static void replace_by_empty(void)
{
	shell("mv Maildir away && mkdir Maildir");
}

static void replace_by_whole(void)
{
	shell("mv Maildir away && mkdir -p Maildir/tmp Maildir/new "
	      "Maildir/cur");
}

static void move_away(void)
{
	shell("mv Maildir away");
}

static void remove_all(void)
{
	shell("rm -r Maildir");
}

static void remove_and_make(void)
{
	shell("rm -r Maildir && mkdir Maildir");
}

static void replace_by_copy(void)
{
	shell("cp -a Maildir copy && mv Maildir away && mv copy Maildir");
}

static void replace_by_link(void)
{
	shell("mv Maildir away && mkdir -p big/tmp big/new big/cur && "
	      "ln -s big Maildir");
}

static void replace_new(void)
{
	shell("mv Maildir/new away && mkdir Maildir/new");
}

static void replace_tmp(void)
{
	shell("mv Maildir/tmp away && mkdir Maildir/tmp");
}

static void remove_log(void)
{
	shell("rm -f Maildir/restante.seen state/restante.seen");
}

static void remove_lock(void)
{
	shell("rm Maildir/restante.lock");
}

static void (*const replaces[])(void) = {
	replace_by_empty, replace_by_whole, move_away,       remove_all,
	remove_and_make,  replace_by_copy,  replace_by_link, replace_new,
	replace_tmp,      remove_log,       remove_lock,
};

/* Nothing is answered 250 that is not under the path, and the store can be
   opened anew: then each message that is sent again is there once, whatever the
   seen-log was told. */
static void check_replaced(struct store **store, bool old_too)
{
	const struct store_settings settings = make_settings();
	const char *const names[] = {"=one", "=old"};
	struct place_disks disks;
	unsigned int i;

	ck_assert(store_moved(*store));
	ck_assert_int_ne(store_failed(*store), 0);
	ck_assert_int_eq(store_disks(*store, &disks), 0);
	ck_assert_int_eq(put(*store, "two", RST_STR("x")),
			 RST_VERDICT_TEMPFAIL);
	ck_assert_int_eq(put(*store, "old", RST_STR("x")),
			 RST_VERDICT_TEMPFAIL);
	store_free(store);
	ck_assert_int_eq(probe(&settings, &disks), 0);
	*store = open_store();
	for (i = 0; i < 4; i++) {
		ck_assert_int_eq(
			put(*store, names[i / 2] + 1, RST_STR("x\r\n")),
			RST_VERDICT_OK);
		if (i < 2 || old_too)
			check_body(names[i / 2], RST_STR("x\n"));
	}
	ck_assert_uint_eq(temp_count(TMP, "", NULL), 0);
	store_free(store);
}

/* Before each step of a commit, and before the message begins. */
START_TEST(test_replaced)
{
	size_t n = (size_t)_i / 2;
	struct store *store;
	int step, moved = 0;

	own_state_dir = _i % 2 == 1;
	for (step = 0;; step++) {
		temp_dir_remove();
		temp_dir_make();
		store = open_store();
		ck_assert_int_eq(put(store, "old", RST_STR("x\r\n")),
				 RST_VERDICT_OK);
		fault_set_hook(step, replaces[n]);
		if (step == 0)
			replaces[n]();
		if (put(store, "one", RST_STR("x\r\n")) == RST_VERDICT_OK)
			break;
		fault_set(0, 0, 0);
		ck_assert_int_ge(step, moved);
		moved = step;
		/* what is not in the log yet is taken back */
		if (replaces[n] == replace_by_empty)
			ck_assert_uint_eq(temp_count("away/new", "=one", NULL),
					  step > 4);
		/* new alone: as if a reader had deleted old messages */
		check_replaced(&store, replaces[n] != replace_new);
	}
	ck_assert_int_ge(moved, 5);
	store_free(&store);
}
END_TEST

/* A message whose acknowledgement got lost, then the client ends, and the
   Maildir is another one when it starts: the log of its own directory does not
   answer for it. That of the same Maildir does. */
START_TEST(test_bound)
{
	struct store *store;
	size_t i;

	own_state_dir = true;
	for (i = 0; i < N_ELEMENTS(replaces); i++) {
		if (replaces[i] == replace_tmp)
			break;
		temp_dir_remove();
		temp_dir_make();
		store = open_store();
		put(store, "old", RST_STR("x\r\n"));
		store_free(&store);
		shell("rm Maildir/new/*");
		store = open_store();
		put(store, "old", RST_STR("x\r\n"));
		ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
		store_free(&store);
		replaces[i]();
		store = open_store();
		put(store, "old", RST_STR("x\r\n"));
		ck_assert_uint_eq(temp_count(NEW, "=old", NULL),
				  replaces[i] != replace_new);
		store_free(&store);
	}
}
END_TEST

/* A log that was written by an earlier version counts. */
START_TEST(test_not_bound)
{
	struct store *store;
	size_t i;

	own_state_dir = true;
	shell("mkdir state Maildir && printf 'old\\t1\\n' "
	      ">state/restante.seen && touch state/restante.lock");
	for (i = 0; i < 3; i++) {
		store = open_store();
		put(store, "old", RST_STR("x\r\n"));
		store_free(&store);
		ck_assert_uint_eq(temp_count(NEW, "", NULL), 0);
	}
	/* a record that was torn is of no Maildir */
	shell("printf 0123 >state/restante.lock");
	store = open_store();
	put(store, "old", RST_STR("x\r\n"));
	store_free(&store);
	ck_assert_uint_eq(temp_count(NEW, "", NULL), 1);
}
END_TEST

static Suite *store_suite(void)
{
	Suite *suite = suite_create("store");
	TCase *tc = tcase_create("store");

	tcase_add_checked_fixture(tc, temp_dir_make, temp_dir_remove);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, test_conversion, 0,
			    (int)N_ELEMENTS(conversions));
	tcase_add_test(tc, test_large);
	tcase_add_test(tc, test_trace);
	tcase_add_loop_test(tc, test_host, 0, (int)N_ELEMENTS(hosts));
	tcase_add_test(tc, test_nasty_envelope);
	tcase_add_test(tc, test_seen_twice);
	tcase_add_test(tc, test_forgotten_stays_so);
	tcase_add_test(tc, test_same_id_in_one_commit);
	tcase_add_test(tc, test_group_steps);
	tcase_add_loop_test(tc, test_fsync_fails_in_group, 0, 2);
	tcase_add_loop_test(tc, test_write_back_fails, 0,
			    (int)N_ELEMENTS(write_backs));
	tcase_add_test(tc, test_group_fails);
	tcase_add_test(tc, test_given_up);
	tcase_add_test(tc, test_found_by_name);
	tcase_add_test(tc, test_clock_went_back);
	tcase_add_test(tc, test_damaged_log);
	tcase_add_test(tc, test_directories_cannot_be_synced);
	tcase_add_test(tc, test_failed);
	tcase_add_test(tc, test_probe);
	tcase_add_test(tc, test_probe_unmounted);
	tcase_add_test(tc, test_lock);
	tcase_add_test(tc, test_two_directories);
	tcase_add_test(tc, test_no_maildir);
	tcase_add_test(tc, test_no_room);
	tcase_add_test(tc, test_crash);
	tcase_add_loop_test(tc, test_step_fails, 0, 2);
	tcase_add_loop_test(tc, test_recovers, 0,
			    (int)N_ELEMENTS(errors) * STEPS * 2);
	tcase_add_test(tc, test_no_room_in_log);
	tcase_add_test(tc, test_no_tmp);
	tcase_add_test(tc, test_step_fails_without_id);
	tcase_add_loop_test(tc, test_replaced, 0,
			    (int)N_ELEMENTS(replaces) * 2);
	tcase_add_test(tc, test_bound);
	tcase_add_test(tc, test_not_bound);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return test_run(store_suite());
}
