/* SPDX-License-Identifier: MIT */
/* Messages that Postfix brings again, before and after they have left. */
#include "hold-fixture.h"

#include "ioloop.h"
#include "str.h"
#include "write-full.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deliver/arrival.h"
#include "hold/keys.h"
#include "hold/tombstones.h"

#define N_DRIVERS ((int)N_ELEMENTS(hold_drivers))
#define WITH_ID "Received: from x\r\n\tby y (Postfix) with ESMTP id 4Bx2;\r\n"
#define MESSAGE WITH_ID "Subject: s\r\n\r\nx\r\n"

static const char *known_id;

static enum rst_arrival bring_to(const char *text, const char *rcpt_to)
{
	struct rst_delivery delivery = {
		.trace = "Return-Path: <a@example.org>\r\n",
		.mail_from = "a@example.org",
		.rcpt_to = rcpt_to,
		.mail_params = "",
		.rcpt_params = "",
		.arrived = {.tv_sec = 1700000000},
		.queue_lifetime_secs = hold_fixture.set.queue_lifetime_secs,
	};
	const char *whole = t_strconcat(delivery.trace, text, NULL), *error;
	struct rst_hold hold = hold_of_user();
	struct rst_saved saved;
	enum rst_arrival result;

	delivery.input = i_stream_create_from_data(whole, strlen(whole));
	ck_assert_int_eq(rst_delivery_prepare(&delivery, &error), 0);
	result = rst_arrive(&hold, &delivery, &saved, &error);
	known_id = saved.id;
	i_stream_unref(&delivery.input);
	return result;
}

static enum rst_arrival bring_as_put(const char *text)
{
	return bring_to(text, "b+x@example.test");
}

static enum rst_arrival bring(const char *text)
{
	return bring_to(text, "b@example.test");
}

/* The estimate never says that nothing is held where a message is, nor the
   other way round. */
static unsigned int estimate(void)
{
	struct rst_hold hold = hold_of_user();
	struct rst_hold_status exact, status;
	const char *error;

	ck_assert_int_eq(rst_look_estimate(&hold, &status, &error), 0);
	exact = hold_status();
	ck_assert_int_eq(status.due, exact.due);
	ck_assert_int_eq(status.messages == 0, exact.messages == 0);
	return status.messages;
}

/* @param remove bury and expunge each. @return how many are given out */
static unsigned int drain(bool remove)
{
	struct rst_locked *locked = hold_open();
	struct rst_message *message;
	const char *error;
	unsigned int count = 0;

	while (rst_locked_next(locked, &message, &error) > 0) {
		count++;
		if (remove)
			rst_locked_bury(locked, message->id, message->key,
					message->uid);
	}
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	return count;
}

START_TEST(test_again)
{
	const char *id;

	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	id = t_strdup(known_id);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	ck_assert_str_eq(known_id, id);
	ck_assert_uint_eq(hold_count_held(), 1);
	/* another recipient, another text */
	ck_assert_int_eq(bring_to(MESSAGE, "b+x@example.test"),
			 RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE "y\r\n"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(hold_count_held(), 3);

	ck_assert_uint_eq(drain(TRUE), 3);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	ck_assert_ptr_null(known_id);
	ck_assert_int_eq(bring(MESSAGE "y\r\n"), RST_ARRIVAL_KNOWN);
	ck_assert_uint_eq(hold_count_held(), 0);
}
END_TEST

START_TEST(test_no_dedup)
{
	static const char *const fields[] = {
		"restante=yes", "restante_test_no_dedup=yes", NULL};

	hold_user("sdbox", fields);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(hold_count_held(), 2);
	ck_assert_uint_eq(drain(FALSE), 2);
}
END_TEST

#define QUEUED(date) "Received: from x by y (a; b)\r\n\tid 4Bx2; " date "\r\n"

/* The headers of a message, and whether another one that is equal is Postfix's
   next try. */
static const struct {
	const char *text;
	bool counts;
} queue_ids[] = {
	{WITH_ID, TRUE},
	{"Received: by y (Postfix, from userid 0)\r\n\tid 4Bx2; date\r\n",
	 TRUE},
	{"received: from x by y with ESMTP ID 4Bx2\r\n", TRUE},
	{"Received: from x (a (id 1)) by y id <4Bx2@y>\r\n\tfor <b>; d\r\n",
	 TRUE},
	{"X-Above: x\r\n" WITH_ID, TRUE},
	{"", FALSE},
	{"Subject: id 4Bx2\r\n", FALSE},
	{"Received: from x by y with ESMTP; date\r\n", FALSE},
	{"Received: from x (id 4Bx2) by y; date\r\n", FALSE},
	{"Received: from x by y; date id 4Bx2\r\n", FALSE},
	{"Received: from x by y id; date\r\n", FALSE},
	{"Received: from x by \"y id z\"; date\r\n", FALSE},
	{"Received: from x (unclosed id 4Bx2\r\n", FALSE},
	{"Received: from x by y id\r\n", FALSE},
	{"Received:\r\n", FALSE},
	/* The messages arrive at 1700000000: Tue, 14 Nov 2023 22:13:20 +0000.
	   Postfix tries for five days, and has one more. */
	{QUEUED("Tue, 14 Nov 2023 22:13:19 +0000 (UTC)"), TRUE},
	{QUEUED("Thu, 09 Nov 2023 22:13:20 +0000 (UTC)"), TRUE},
	{QUEUED("Wed, 08 Nov 2023 23:13:21 +0100 (CET)"), TRUE},
	{QUEUED("Wed, 08 Nov 2023 22:13:19 +0000 (UTC)"), FALSE},
	{QUEUED("\r\n\tWed, 08 Nov 2023 23:13:19 +0100 (CET)"), FALSE},
	{QUEUED("Tue, 14 Nov 2013 22:13:20 +0000 (UTC)"), FALSE},
	/* a clock that is ahead */
	{QUEUED("Tue, 14 Nov 2033 22:13:20 +0000 (UTC)"), TRUE},
	{QUEUED("yesterday"), TRUE},
	/* the client's copy, and one of fallback delivery: put back by
	   somebody, as above what Postfix delivers stands Postfix's own field
	 */
	{"Received: from [::1]\r\n\tby vm (Restante) with ESMTPS\r\n\tid 4Bx2\r\n"
	 "\tfor <b>;\r\n\tTue, 14 Nov 2023 22:13:19 +0000\r\n" WITH_ID,
	 FALSE},
	{"Received: from restante-hold by vm (Restante)\r\n\tid 4Bx2; "
	 "Tue, 14 Nov 2023 22:13:19 +0000\r\n" WITH_ID,
	 FALSE},
	{WITH_ID "Received: from a by vm (Restante)\r\n\tid 4Bx2; date\r\n",
	 TRUE},
	{"Received: from (Restante) (a) by y id 4Bx2; date\r\n", TRUE},
	{"Received: (Restante) id 4Bx2; date\r\n", TRUE},
	/* only the topmost Received field counts */
	{"Received: from x by y; date\r\n" WITH_ID, FALSE},
};

START_TEST(test_queue_id)
{
	const char *text = t_strconcat(queue_ids[_i].text,
				       "Subject: s\r\n\r\n" WITH_ID, NULL);

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring(text), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(text), queue_ids[_i].counts ? RST_ARRIVAL_KNOWN
							   : RST_ARRIVAL_HELD);
}
END_TEST

/* of the log of keys */
#define RECORD_SIZE 24

/* Damage the log of keys before the message comes again. */
static void damage_log(int how)
{
	const char *path = hold_file("restante.keys");
	static char zeros[RECORD_SIZE];
	int fd = open(path, O_RDWR);
	off_t size;

	ck_assert_int_ge(fd, 0);
	size = lseek(fd, 0, SEEK_END);
	switch (how) {
	case 0: /* a process was killed before it wrote the record */
		ck_assert_int_eq(ftruncate(fd, size - RECORD_SIZE), 0);
		break;
	case 1: /* lost */
		ck_assert_int_eq(unlink(path), 0);
		break;
	case 2: /* torn */
		ck_assert_int_eq(ftruncate(fd, size - 1), 0);
		break;
	case 3:
		ck_assert_int_eq(ftruncate(fd, size - RECORD_SIZE + 1), 0);
		break;
	case 4: /* zeros after a power cut */
		ck_assert_int_eq(
			pwrite(fd, zeros, RECORD_SIZE, size - RECORD_SIZE),
			RECORD_SIZE);
		break;
	case 5:
		ck_assert_int_eq(pwrite(fd, zeros, RECORD_SIZE, 0),
				 RECORD_SIZE);
		break;
	case 6:
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		break;
	}
	ck_assert_int_eq(close(fd), 0);
}

#define N_DAMAGES 7

START_TEST(test_log)
{
	int how = _i / N_DRIVERS / 2;
	bool gone = _i / N_DRIVERS % 2;

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	ck_assert_int_eq(bring(MESSAGE "1"), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
	damage_log(how);
	if (gone)
		ck_assert_uint_eq(drain(TRUE), 2);
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_KNOWN);
	ck_assert_int_eq(bring(MESSAGE "1"), RST_ARRIVAL_KNOWN);
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_KNOWN);
	ck_assert_uint_eq(hold_count_held(), gone ? 1 : 3);
}
END_TEST

/* A long row of messages that nobody fetches: Dovecot's dbox would go through
   all that are \Recent at each of them. */
START_TEST(test_recent)
{
	const struct mail_index_header *hdr;
	struct rst_hold hold;
	unsigned int i;

	hold_user(hold_drivers[_i], NULL);
	for (i = 1; i <= 103; i++)
		T_BEGIN
		{
			ck_assert_int_eq(
				bring(t_strdup_printf(MESSAGE "%u", i)),
				RST_ARRIVAL_HELD);
		}
	T_END;
	hold = hold_opened();
	hdr = mail_index_get_header(hold.box->view);
	ck_assert_uint_eq(hdr->messages_count, 103);
	if (strcmp(hold_drivers[_i], "maildir") == 0)
		ck_assert_uint_eq(hdr->first_recent_uid, 1);
	else
		ck_assert_uint_gt(hdr->first_recent_uid, 100);
	rst_hold_close(&hold);
	ck_assert_uint_eq(drain(TRUE), 103);
}
END_TEST

/* A message that was expunged by other means, without a tombstone, is not
   known. */
START_TEST(test_lost)
{
	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	hold_expunge_first();
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(hold_count_held(), 1);
}
END_TEST

static void lose_index(void)
{
	static const char *const names[] = {"", ".log", ".cache"};
	const char *path = hold_file("dovecot.index");
	unsigned int i;

	for (i = 0; i < 3; i++)
		i_unlink_if_exists(t_strconcat(path, names[i], NULL));
}

/* A power cut: the index's log has a torn end, our log of keys is gone. */
static void tear_index(void)
{
	static const char garbage[64] = "no record";
	const char *path = hold_file("dovecot.index.log");
	int fd;

	i_unlink(hold_file("restante.keys"));
	i_unlink_if_exists(hold_file("dovecot.index"));
	fd = open(path, O_WRONLY | O_APPEND);
	ck_assert_int_eq(write_full(fd, garbage, sizeof(garbage)), 0);
	i_close_fd(&fd);
}

static void (*const index_damages[])(void) = {lose_index, tear_index};

/* Dovecot begins another index, without the messages. */
START_TEST(test_index_lost)
{
	int status;
	pid_t pid;

	hold_user("sdbox", NULL);
	/* in another process, as this one would have the old index in memory */
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_HELD);
		ck_assert_int_eq(bring(MESSAGE "2"), RST_ARRIVAL_HELD);
		index_damages[_i]();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ioloop_time += 5; /* an index gets its id from the clock */
	ck_assert_uint_eq(hold_count_held(), 2);
	ck_assert_int_eq(bring(MESSAGE), RST_ARRIVAL_KNOWN);
	ck_assert_ptr_nonnull(known_id);
	ck_assert_int_eq(bring(MESSAGE "3"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(drain(TRUE), 3);
}
END_TEST

/* After another start of the system the hold is searched: a message file that
   the index does not know is found. */
START_TEST(test_system_started)
{
	static const char other[] =
		"0000000001 00000000-0000-0000-0000-000000000000\n";
	const char *dir;
	int fd;

	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring("no key\r\n"), RST_ARRIVAL_HELD);
	dir = hold_file("");
	ck_assert_int_eq(link(t_strconcat(dir, "u.1", NULL),
			      t_strconcat(dir, "u.9", NULL)),
			 0);
	ck_assert_uint_eq(hold_count_held(), 1);
	fd = open(hold_file("restante.index"), O_WRONLY);
	ck_assert_int_eq(pwrite(fd, other, sizeof(other) - 1, 0),
			 sizeof(other) - 1);
	i_close_fd(&fd);
	ck_assert_uint_eq(hold_count_held(), 2);
	ck_assert_uint_eq(hold_count_held(), 2);
}
END_TEST

static void be(const char *name)
{
	hold_fixture.ctx->user->username = name;
}

static enum rst_arrival bring_as(const char *name, const char *text)
{
	be(name);
	return bring(text);
}

static unsigned int held_as(const char *name)
{
	struct rst_hold hold;
	struct rst_hold_status status;
	const char *error;

	be(name);
	hold = hold_of_user();
	ck_assert_int_ge(rst_look_peek(&hold, &status, &error), 0);
	return status.messages;
}

/* Two users have one place: nobody's mail gets to the other. */
START_TEST(test_one_place)
{
	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring_as("ann@x", "1\r\n"), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring_as("bob@x", "2\r\n"), RST_ARRIVAL_OTHERS);
	ck_assert_int_eq(bring_as("ann@y", "3\r\n"), RST_ARRIVAL_OTHERS);
	ck_assert_uint_eq(held_as("ann@x"), 1);
	ck_assert_uint_eq(held_as("bob@x"), 0);
	ck_assert_uint_eq(held_as("ann@y"), 0);
	/* the same user by another name */
	ck_assert_int_eq(bring_as("Ann@x", "4\r\n"), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring_as("ann", "5\r\n"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(held_as("ann@x"), 3);
	ck_assert_uint_eq(held_as("ann"), 3);
	/* torn, or an earlier version's: of whoever is the first to look */
	ck_assert_int_eq(truncate(hold_file("restante.owner"), 0), 0);
	ck_assert_uint_eq(held_as("bob@x"), 3);
}
END_TEST

/* A user who was renamed while nothing was held notices nothing. */
START_TEST(test_renamed)
{
	hold_user("sdbox", NULL);
	ck_assert_int_eq(bring_as("ann@x", "1\r\n"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(drain(TRUE), 1);
	ck_assert_int_eq(bring_as("eve@x", "2\r\n"), RST_ARRIVAL_HELD);
	ck_assert_uint_eq(held_as("eve@x"), 1);
	ck_assert_int_eq(bring_as("ann@x", "3\r\n"), RST_ARRIVAL_OTHERS);
}
END_TEST

/* Several processes bring a message at the same time. */
START_TEST(test_at_once)
{
	enum {
		BRINGERS = 6
	};
	pid_t pids[BRINGERS];
	unsigned int i, held = 0;
	int status;

	hold_user(hold_drivers[_i], NULL);
	ck_assert_int_eq(bring("first\r\n"), RST_ARRIVAL_HELD);
	for (i = 0; i < BRINGERS; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0)
			_exit((int)bring(MESSAGE));
	}
	for (i = 0; i < BRINGERS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert(WIFEXITED(status));
		ck_assert_int_le(WEXITSTATUS(status), RST_ARRIVAL_KNOWN);
		if (WEXITSTATUS(status) == RST_ARRIVAL_HELD)
			held++;
	}
	ck_assert_uint_eq(held, 1);
	ck_assert_uint_eq(hold_count_held(), 2);
}
END_TEST

/* A message that was saved twice in spite of all is given out once, and the
   other copy goes with it. */
START_TEST(test_double)
{
	hold_user(hold_drivers[_i], NULL);
	hold_put("", MESSAGE, strlen(MESSAGE));
	hold_put("", "S: x\r\n\r\n", 8);
	hold_put("", MESSAGE, strlen(MESSAGE));
	hold_put("", "S: x\r\n\r\n", 8);
	ck_assert_uint_eq(hold_count_held(), 3);
	ck_assert_uint_eq(estimate(), 4);
	ck_assert_uint_eq(drain(FALSE), 3);
	ck_assert_uint_eq(drain(TRUE), 3);
	ck_assert_uint_eq(hold_count_held(), 0);
	ck_assert_uint_eq(estimate(), 0);
	ck_assert_uint_eq(hold_count_stored(), 0);
	ck_assert_uint_eq(drain(TRUE), 0);
}
END_TEST

/* Part of a message, which a crash has left, does not make the message known:
   neither while it is there nor when it has left. */
START_TEST(test_part)
{
	struct rst_hold_status status;
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;

	hold_user(hold_drivers[_i], NULL);
	hold_put_part(MESSAGE, strlen(MESSAGE), 3);
	ck_assert_uint_eq(hold_count_held(), 0);
	ck_assert_uint_eq(estimate(), 0);
	locked = hold_open();
	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	ck_assert(message->incomplete);
	rst_locked_bury(locked, message->id, rst_message_key(message),
			message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);

	hold_put_part(MESSAGE, strlen(MESSAGE), 3);
	ck_assert_int_eq(bring_as_put(MESSAGE), RST_ARRIVAL_HELD);
	ck_assert_int_eq(bring_as_put(MESSAGE), RST_ARRIVAL_KNOWN);
	status = hold_status();
	ck_assert_uint_eq(status.messages, 1);
	ck_assert_uint_eq(status.incomplete, 1);
	/* it goes with the whole one */
	ck_assert_uint_eq(drain(FALSE), 2);
	ck_assert_uint_eq(drain(TRUE), 1);
	hold_put_part(MESSAGE, strlen(MESSAGE), 3);
	ck_assert_uint_eq(drain(FALSE), 0);
}
END_TEST

/* ---- the log by itself */

static void fill_key(unsigned char key_r[RST_KEY_SIZE], unsigned int n)
{
	memset(key_r, 0xa5, RST_KEY_SIZE);
	memcpy(key_r, &n, sizeof(n));
}

/* and look for this key */
static struct rst_keys *open_keys(uint32_t validity, unsigned int n)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_keys *keys;
	const char *error;

	fill_key(key, n);
	ck_assert_int_eq(
		rst_keys_open(hold_fixture.dir, validity, key, &keys, &error),
		0);
	return keys;
}

static void check_key(unsigned int n, bool found, uint32_t found_uid)
{
	struct rst_keys *keys = open_keys(7, n);
	uint32_t uid;

	ck_assert(rst_keys_find(keys, &uid) == found);
	ck_assert(!found || uid == found_uid);
	rst_keys_close(&keys);
}

START_TEST(test_keys)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_keys *keys;
	const char *error;
	unsigned int i;
	uint32_t uid;

	hold_user("sdbox", NULL);
	keys = open_keys(7, 60);
	ck_assert_uint_eq(rst_keys_last_uid(keys), 0);
	for (i = 1; i <= 100; i++) {
		ck_assert(rst_keys_find(keys, &uid) == (i > 60));
		fill_key(key, i);
		rst_keys_add(keys, key, i, 1000 + i);
	}
	rst_keys_add_missing(keys, key, 1100);
	ck_assert_uint_eq(rst_keys_last_uid(keys), 100);
	/* a quarter of the log is not much */
	ck_assert_int_eq(rst_keys_trim(keys, 1026, &error), 0);
	rst_keys_close(&keys);
	keys = open_keys(7, 1);
	ck_assert(rst_keys_find(keys, &uid));
	ck_assert_uint_eq(uid, 1);
	ck_assert_int_eq(rst_keys_trim(keys, 1027, &error), 0);
	ck_assert(!rst_keys_find(keys, &uid));
	ck_assert_uint_eq(rst_keys_last_uid(keys), 100);
	fill_key(key, 101);
	rst_keys_add_missing(keys, key, 1101);
	rst_keys_close(&keys);
	check_key(26, FALSE, 0);
	check_key(27, TRUE, 27);
	check_key(101, TRUE, 0);

	/* with another uid validity the keys count all the same */
	keys = open_keys(8, 27);
	ck_assert_uint_eq(rst_keys_last_uid(keys), 0);
	ck_assert(rst_keys_find(keys, &uid));
	ck_assert_int_eq(rst_keys_trim(keys, 9999, &error), 0);
	ck_assert(!rst_keys_find(keys, &uid));
	rst_keys_close(&keys);
	check_key(101, TRUE, 0);
}
END_TEST

/* More than is read at a time; and damage to any part of it. */
START_TEST(test_many_keys)
{
	static const unsigned int numbers[] = {1,    2,    2047, 2048,
					       2049, 4000, 4095, 4096};
	static const char zeros[RECORD_SIZE];
	unsigned char key[RST_KEY_SIZE];
	struct rst_keys *keys;
	unsigned int i, n = numbers[_i];
	int fd;

	hold_user("sdbox", NULL);
	keys = open_keys(7, 1);
	for (i = 1; i <= 4096; i++) {
		fill_key(key, i);
		rst_keys_add(keys, key, i, 1000);
	}
	fill_key(key, n); /* once more */
	rst_keys_add(keys, key, 5000, 1000);
	fill_key(key, 5000);
	rst_keys_add(keys, key, 5001, 1000);
	rst_keys_close(&keys);
	check_key(n, TRUE, 5000);
	check_key(n == 1 ? 2 : n - 1, TRUE, n == 1 ? 2 : n - 1);
	check_key(4097, FALSE, 0);

	fd = open(t_strconcat(hold_fixture.dir, "/restante.keys", NULL),
		  O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, zeros, RECORD_SIZE, RECORD_SIZE * (n - 1)),
			 RECORD_SIZE);
	i_close_fd(&fd);
	/* all is found again by whoever is told that none is there */
	keys = open_keys(7, 5000);
	ck_assert_uint_eq(rst_keys_last_uid(keys), 0);
	rst_keys_close(&keys);
	check_key(5000, FALSE, 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-arrival");
	TCase *tc = tcase_create("arrival");

	tcase_add_checked_fixture(tc, hold_setup, hold_teardown);
	tcase_add_loop_test(tc, test_again, 0, N_DRIVERS);
	tcase_add_test(tc, test_no_dedup);
	tcase_add_loop_test(tc, test_queue_id, 0, (int)N_ELEMENTS(queue_ids));
	tcase_add_loop_test(tc, test_log, 0, N_DAMAGES * 2 * N_DRIVERS);
	tcase_add_loop_test(tc, test_recent, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_lost, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_index_lost, 0,
			    (int)N_ELEMENTS(index_damages));
	tcase_add_test(tc, test_system_started);
	tcase_add_loop_test(tc, test_one_place, 0, N_DRIVERS);
	tcase_add_test(tc, test_renamed);
	tcase_add_loop_test(tc, test_at_once, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_double, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_part, 0, N_DRIVERS);
	tcase_add_test(tc, test_keys);
	tcase_add_loop_test(tc, test_many_keys, 0, 8);
	suite_add_tcase(s, tc);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
