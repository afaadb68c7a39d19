/* SPDX-License-Identifier: MIT */
#include "hold-fixture.h"

#include "file-lock.h"
#include "hex-binary.h"
#include "str.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fallback/fallback.h"
#include "fallback/trace-field.h"
#include "hold/attempts.h"
#include "hold/crlf.h"
#include "hold/dates.h"
#include "hold/key.h"
#include "hold/tombstones.h"

#define DAY 86400
#define N_DRIVERS ((int)N_ELEMENTS(hold_drivers))

#define TRACE                                \
	"Return-Path: <a@example.org>\r\n"   \
	"Delivered-To: b+x@example.test\r\n" \
	"Received: from x\r\n\tby y with LMTP;\r\n"
#define TRACE_LEFT "Received: from x\r\n\tby y with LMTP;\r\n"
#define HEADER "From: a\r\nSubject: s\r\n\r\n"

/* A message as it is delivered, and as it leaves the hold. */
struct message {
	const char *trace;
	struct rst_str sent;
	struct rst_str left;
};

#define BOTH(trace, cut, text)                               \
	{                                                    \
		trace, {trace text, sizeof(trace text) - 1}, \
		{                                            \
			cut text, sizeof(cut text) - 1       \
		}                                            \
	}

static const struct message messages[] = {
	BOTH(TRACE, TRACE_LEFT, HEADER "plain\r\n"),
	BOTH(TRACE, TRACE_LEFT, HEADER "\0nul\0\r\n\0"),
	BOTH(TRACE, TRACE_LEFT, HEADER ".\r\n..\r\nFrom x\r\n"),
	BOTH(TRACE, TRACE_LEFT, HEADER "bare\rcr\r\r\n\r\r\r\n\r."),
	BOTH(TRACE, TRACE_LEFT, HEADER "no line end"),
	BOTH(TRACE, TRACE_LEFT, HEADER),
	BOTH(TRACE, TRACE_LEFT, ""),
	BOTH(TRACE, TRACE_LEFT, "\r\n"),
	BOTH(TRACE, TRACE_LEFT, " folded\r\n" HEADER "x\r\n"),
	/* the sender's own fields, which are not cut off */
	BOTH(TRACE, TRACE_LEFT,
	     "Return-Path: <x>\r\nDelivered-To: y\r\n" HEADER "x\r\n"),
	BOTH(TRACE, TRACE_LEFT,
	     "Return-Path: <x>\r\nReceived: from p\r\n by q with LMTP id 1;\r\n d\r\n"
	     "Received: from x by y id 2; d\r\n" HEADER "x\r\n"),
	BOTH(TRACE, TRACE_LEFT, "Received: from p by q with LMTP"),
	BOTH(TRACE, TRACE_LEFT,
	     "X-Restante-Envelope: v=1; id=evil\r\n" HEADER "x\r\n"),
	/* Return-Path folded, nothing else */
	BOTH("Return-Path:\r\n <a@example.org>\r\n", "", HEADER "x\r\n"),
	/* dovecot-lda: nothing on top */
	BOTH("", "", "Return-Path: <x>\r\n" HEADER "x\r\n"),
	BOTH("", "", ""),
	/* LF that stands alone cannot be kept: Dovecot stores LF for both */
	{TRACE, RST_STR(TRACE "a\nb\r\n\n"),
	 RST_STR(TRACE_LEFT "a\r\nb\r\n\r\n")},
	/* nor can a CR that is the very last octet */
	{TRACE, RST_STR(TRACE "a\r"), RST_STR(TRACE_LEFT "a")},
	/* another user's stored copy */
	{TRACE,
	 RST_STR("Return-Path: <a@example.org>\n"
		 "Delivered-To: b+x@example.test\n"
		 "Received: from x\n\tby y with LMTP;\nS: x\n\na\rb\r\nc\n"),
	 RST_STR(TRACE_LEFT "S: x\r\n\r\na\rb\r\r\nc\r\n")},
};

#define N_MESSAGES ((int)N_ELEMENTS(messages))

static string_t *read_all(struct istream *input)
{
	string_t *text = t_str_new(1024);
	const unsigned char *data;
	size_t size;

	while (i_stream_read_more(input, &data, &size) > 0) {
		str_append_data(text, data, size);
		i_stream_skip(input, size);
	}
	ck_assert_int_eq(input->stream_errno, 0);
	return text;
}

static struct rst_message *must_next(struct rst_locked *locked)
{
	struct rst_message *message;
	const char *error;

	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
	return message;
}

static void must_end(struct rst_locked *locked)
{
	struct rst_message *message;
	const char *error;

	ck_assert_int_eq(rst_locked_next(locked, &message, &error), 0);
}

START_TEST(test_octets)
{
	const struct message *want = &messages[_i / N_DRIVERS];
	struct rst_locked *locked;
	struct rst_message *message;
	const char *id;
	string_t *text;

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	id = hold_put(want->trace, want->sent.p, want->sent.n);
	locked = hold_open();
	message = must_next(locked);
	ck_assert_str_eq(message->id, id);
	ck_assert_str_eq(message->mail_from, "a@example.org");
	ck_assert_str_eq(message->rcpt_to, "b+x@example.test");
	ck_assert_int_eq(message->arrived, 1700000000);
	ck_assert_int_eq(message->received, 1700000000);
	ck_assert(!message->incomplete);
	ck_assert_uint_eq(message->octets, message->expected);
	text = read_all(message->input);
	ck_assert_uint_eq(message->size, str_len(text));
	ck_assert_uint_eq(str_len(text), want->left.n);
	ck_assert_mem_eq(str_data(text), want->left.p, want->left.n);
	rst_locked_close(&locked);
}
END_TEST

/* However a message is stored, its envelope tells the number of octets that are
   found. */
START_TEST(test_stored_with_crlf)
{
	static const char *const fields[] = {"restante=yes",
					     "mail_save_crlf=yes", NULL};
	const struct message *want = &messages[_i / N_DRIVERS];
	struct rst_locked *locked;
	struct rst_message *message;

	hold_user(hold_drivers[_i % N_DRIVERS], fields);
	hold_put(want->trace, want->sent.p, want->sent.n);
	locked = hold_open();
	message = must_next(locked);
	ck_assert(!message->incomplete);
	ck_assert_uint_eq(str_len(read_all(message->input)), message->size);
	rst_locked_close(&locked);
}
END_TEST

START_TEST(test_large)
{
	string_t *body = str_new(default_pool, 5 * 1024 * 1024), *text;
	struct rst_locked *locked;
	struct rst_message *message;
	unsigned int i;

	hold_user(hold_drivers[_i], NULL);
	str_append(body, TRACE HEADER);
	for (i = 0; i < 200000; i++)
		str_printfa(body, "line %u%s", i, i % 7 == 0 ? "\r\n" : "\r ");
	hold_put(TRACE, str_data(body), str_len(body));
	locked = hold_open();
	message = must_next(locked);
	ck_assert(!message->incomplete);
	text = read_all(message->input);
	str_delete(body, 0, strlen(TRACE) - strlen(TRACE_LEFT));
	ck_assert_uint_eq(message->size, str_len(body));
	ck_assert(str_equals(text, body));
	rst_locked_close(&locked);
	str_free(&body);
}
END_TEST

/* ---- K */

/* K counts only with a queue id. */
#define QUEUE_ID "Received: by y id 1;"
#define IN_CRLF QUEUE_ID "\r\n"
#define IN_LF QUEUE_ID "\n"

static void get_key(const char *trace, struct rst_str text,
		    unsigned char key_r[RST_KEY_SIZE])
{
	struct rst_delivery delivery = {
		.input = i_stream_create_from_data(text.p, text.n),
		.trace = trace,
		.rcpt_to = "b@example.test",
	};
	const char *error;

	ck_assert_int_eq(rst_delivery_prepare(&delivery, &error), 0);
	ck_assert(!rst_key_is_zero(delivery.key));
	memcpy(key_r, delivery.key, RST_KEY_SIZE);
	i_stream_unref(&delivery.input);
}

#define PROXY(id)                                                          \
	"Return-Path: <a@example.org>\r\nDelivered-To: b@example.test\r\n" \
	"Received: from p\r\n\tby q\r\n\twith LMTP\r\n\tid " id            \
	"\r\n\t; date\r\n"

/* However a message gets here, its K is that of the octets that the sender
   sent. */
static const struct {
	const char *trace;
	struct rst_str text;
} same_key[] = {
	{"", RST_STR(IN_CRLF "S: x\r\n\r\na\rb\r\r\nc\r\n")},
	{TRACE, RST_STR(TRACE IN_CRLF "S: x\r\n\r\na\rb\r\r\nc\r\n")},
	{"R: y\r\n", RST_STR("R: y\r\n" IN_CRLF "S: x\r\n\r\na\rb\r\r\nc\r\n")},
	{"R: y\r\n", RST_STR("R: y\n" IN_LF "S: x\n\na\rb\r\nc\n")},
	{"", RST_STR(IN_LF "S: x\n\na\rb\r\r\nc\n")},
	/* through an LMTP proxy, with a session of its own each time */
	{TRACE,
	 RST_STR(TRACE PROXY("1") IN_CRLF "S: x\r\n\r\na\rb\r\r\nc\r\n")},
	{"",
	 RST_STR(PROXY("2") PROXY("3") IN_CRLF "S: x\r\n\r\na\rb\r\r\nc\r\n")},
	{"", RST_STR("Received: from p\n by q with LMTP id 7\n" IN_LF
		     "S: x\n\na\rb\r\r\nc\n")},
};

START_TEST(test_same_key)
{
	unsigned char first[RST_KEY_SIZE], key[RST_KEY_SIZE];

	get_key(same_key[0].trace, same_key[0].text, first);
	get_key(same_key[_i].trace, same_key[_i].text, key);
	ck_assert_mem_eq(first, key, RST_KEY_SIZE);
	get_key("", RST_STR(IN_CRLF "S: y\r\n\r\na\rb\r\r\nc\r\n"), key);
	ck_assert_mem_ne(first, key, RST_KEY_SIZE);
}
END_TEST

START_TEST(test_key_is_sha256)
{
	/* printf 'b@example.test\0Received: by y id 1;\nS: x\n\n' | sha256sum
	 */
	static const char want[] = "f28407731abd265e121658e6a89cbd3f"
				   "8c8bae70819741b3c4c75bfdd23c8bba";
	unsigned char key[RST_KEY_SIZE];

	get_key("", RST_STR(IN_CRLF "S: x\r\n\r\n"), key);
	ck_assert_str_eq(binary_to_hex(key, sizeof(key)), want);
}
END_TEST

static const struct {
	const char *trace;
	const char *text;
	unsigned int lines, own_lines;
	size_t octets;
	bool lf;
} traces[] = {
	{NULL, "S: x\r\n", 0, 0, 0, FALSE},
	{"", "S: x\r\n", 0, 0, 0, FALSE},
	{TRACE, TRACE "S: x\r\n", 4, 2, sizeof(TRACE) - 1, FALSE},
	{"Return-Path:\r\n <a>\r\nX: y\r\n", "Return-Path:\n <a>\nX: y\nS: x\n",
	 3, 2, 23, TRUE},
	{"return-path: <a>\r\n", "return-path: <a>\r\n", 1, 1, 18, FALSE},
	{"X: y\r\nReturn-Path: <a>\r\n", "X: y\r\nReturn-Path: <a>\r\n\r\n", 2,
	 0, 24, FALSE},
	/* Sieve or another plugin has changed the message: it has no trace of
	   ours */
	{TRACE, "X: y\r\n" TRACE "S: x\r\n", 0, 0, 0, FALSE},
	{TRACE, "Return-Path: <a@example.org>\r\n", 0, 0, 0, FALSE},
	{TRACE, "", 0, 0, 0, FALSE},
};

START_TEST(test_trace)
{
	struct rst_delivery delivery = {
		.input = i_stream_create_from_data(traces[_i].text,
						   strlen(traces[_i].text)),
		.trace = traces[_i].trace,
	};
	struct rst_trace trace;
	const char *error;

	ck_assert_int_eq(rst_trace_find(&delivery, &trace, &error), 0);
	ck_assert_uint_eq(trace.lines, traces[_i].lines);
	ck_assert_uint_eq(trace.own_lines, traces[_i].own_lines);
	ck_assert_uint_eq(trace.octets, traces[_i].octets);
	ck_assert_int_eq(trace.lf, traces[_i].lf);
	i_stream_unref(&delivery.input);
}
END_TEST

/* ---- leaving */

#define MESSAGE TRACE HEADER "x\r\n"

static const char *put_one(void)
{
	return hold_put(TRACE, MESSAGE, strlen(MESSAGE));
}

START_TEST(test_status)
{
	struct rst_hold_status status;

	hold_user(hold_drivers[_i], NULL);
	ck_assert_uint_eq(hold_count_held(), 0);
	put_one();
	put_one();
	status = hold_status();
	ck_assert_uint_eq(status.messages, 2);
	ck_assert_uint_gt(status.octets, 2 * strlen(MESSAGE));
	ck_assert_int_eq(status.oldest, 1700000000);
	ck_assert_int_eq(status.due, 1700000000 + 14 * 24 * 3600);
}
END_TEST

START_TEST(test_remove)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error, *kept;
	time_t due;

	hold_user(hold_drivers[_i], NULL);
	put_one();
	kept = put_one();
	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	/* the next read goes on behind it */
	ck_assert_str_eq(must_next(locked)->id, kept);
	must_end(locked);
	ck_assert_int_eq(rst_locked_next_due(locked, &due, &error), 0);
	ck_assert_int_eq(due, 1700000000 + 14 * DAY);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_held(), 1);

	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	/* the message is still in the mailbox, and has left */
	ck_assert_int_eq(rst_locked_next_due(locked, &due, &error), 0);
	ck_assert_int_eq(due, 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	due = 1;
	ck_assert_int_eq(rst_locked_next_due(locked, &due, &error), 0);
	ck_assert_int_eq(due, 0);
	rst_locked_close(&locked);
}
END_TEST

/* A crash between tombstone and expunge. */
START_TEST(test_tombstone)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error, *kept, *id;

	hold_user(hold_drivers[_i], NULL);
	id = put_one();
	kept = put_one();
	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	rst_locked_close(&locked);
	/* the message is there and is not counted */
	ck_assert_uint_eq(hold_count_stored(), 2);
	ck_assert_uint_eq(hold_count_held(), 1);

	locked = hold_open();
	ck_assert(rst_locked_is_buried(locked, id));
	ck_assert(!rst_locked_is_buried(locked, kept));
	ck_assert_str_eq(must_next(locked)->id, kept);
	must_end(locked);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_stored(), 1);
}
END_TEST

/* the log may be a file, too, which cannot grow either */
static void say_nothing(const struct failure_context *ctx ATTR_UNUSED,
			const char *format ATTR_UNUSED,
			va_list args ATTR_UNUSED)
{
}

/* No file may become larger than this one is. Meanwhile nothing may be
   asserted, as Check writes that to files. */
static struct rlimit as_large_as(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return (struct rlimit){(rlim_t)st.st_size, RLIM_INFINITY};
}

/* @return the hold, whose one message is buried and not yet expunged; the index
   has the sizes, too */
static struct rst_locked *bury_one(void)
{
	struct rst_hold hold = hold_of_user();
	struct rst_hold_status status;
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;

	ck_assert_int_eq(rst_look_estimate(&hold, &status, &error), 0);
	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	return locked;
}

/* of LeakSanitizer, if it is there */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* Dovecot goes on with an index in memory, and by itself would expunge there
   for ever. It leaks the lock of the index's log. */
START_TEST(test_index_not_written)
{
	struct rst_locked *locked;
	struct rlimit small, large = {RLIM_INFINITY, RLIM_INFINITY};
	const char *error, *path;
	int ret, expunged = 0;

	hold_user(hold_drivers[_i], NULL);
	put_one();
	path = hold_file("dovecot.index.log");
	locked = bury_one();
	ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	i_set_error_handler(say_nothing);
	small = as_large_as(path);
	ret = setrlimit(RLIMIT_FSIZE, &small);
	if (__lsan_disable != NULL)
		__lsan_disable();
	if (ret == 0)
		expunged = rst_locked_expunge(locked, &error);
	if (__lsan_enable != NULL)
		__lsan_enable();
	if (ret == 0)
		ret = setrlimit(RLIMIT_FSIZE, &large);
	i_set_error_handler(default_error_handler);
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(expunged, -1);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_stored(), 0);
}
END_TEST

/* As on a full disk: without the lock for the sizes Dovecot by itself would try
   again for ever. A directory in its place cannot be locked. */
START_TEST(test_sizes_not_locked)
{
	struct rst_locked *locked;
	const char *error, *lock;

	hold_user(hold_drivers[_i], NULL);
	put_one();
	lock = hold_file("dovecot-vsize.lock");
	locked = bury_one();
	ck_assert_int_eq(mkdir(lock, 0700), 0);
	i_set_error_handler(say_nothing);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), -1);
	i_set_error_handler(default_error_handler);
	ck_assert_int_eq(rmdir(lock), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_stored(), 0);
}
END_TEST

/* A crash before the tombstone is on disk. */
START_TEST(test_not_committed)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error, *id;

	hold_user(hold_drivers[_i], NULL);
	id = put_one();
	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	locked = hold_open();
	ck_assert(!rst_locked_is_buried(locked, id));
	ck_assert_str_eq(must_next(locked)->id, id);
	rst_locked_close(&locked);
}
END_TEST

START_TEST(test_more)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error, *first, *second;
	uint32_t uid;

	hold_user(hold_drivers[_i], NULL);
	first = put_one();
	locked = hold_open();
	rst_locked_drain(locked);
	message = must_next(locked);
	uid = message->uid;
	must_end(locked);
	second = put_one();
	rst_locked_go_on(locked);
	ck_assert_str_eq(must_next(locked)->id, second);
	must_end(locked);
	ck_assert_int_eq(rst_locked_get(locked, uid, &message, &error), 1);
	ck_assert_str_eq(message->id, first);
	ck_assert_int_eq(rst_locked_get(locked, 99, &message, &error), 0);
	rst_locked_rewind(locked);
	ck_assert_str_eq(must_next(locked)->id, first);
	rst_locked_close(&locked);
}
END_TEST

/* ---- what others have put there */

static void save_part(const char *text, size_t size)
{
	struct mailbox_transaction_context *trans;
	struct mail_save_context *save;
	struct istream *input;
	struct rst_hold hold = hold_opened();

	input = i_stream_create_from_data(text, size);
	trans = mailbox_transaction_begin(
		hold.box, MAILBOX_TRANSACTION_FLAG_EXTERNAL, __func__);
	save = mailbox_save_alloc(trans);
	ck_assert_int_eq(mailbox_save_begin(&save, input), 0);
	while (i_stream_read(input) != -1)
		ck_assert_int_eq(mailbox_save_continue(save), 0);
	ck_assert_int_eq(mailbox_save_continue(save), 0);
	ck_assert_int_eq(mailbox_save_finish(&save), 0);
	ck_assert_int_eq(mailbox_transaction_commit(&trans), 0);
	i_stream_unref(&input);
	rst_hold_close(&hold);
}

static void save_foreign(const char *text)
{
	save_part(text, strlen(text));
}

static const char *stored_text(void)
{
	struct mailbox_transaction_context *trans;
	struct istream *input;
	struct rst_hold hold = hold_opened();
	struct mail *mail;
	const char *text;

	ck_assert_int_eq(mailbox_sync(hold.box, 0), 0);
	trans = mailbox_transaction_begin(hold.box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	mail_set_seq(mail, 1);
	ck_assert_int_eq(mail_get_stream(mail, NULL, NULL, &input), 0);
	text = str_c(read_all(input));
	mail_free(&mail);
	ck_assert_int_eq(mailbox_transaction_commit(&trans), 0);
	rst_hold_close(&hold);
	return text;
}

/* A backup, dsync, or maildir after a power cut brings back, with another uid,
   a message that has left the hold: it is not given out, and goes again. */
START_TEST(test_came_back)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error, *text;
	int way = _i / N_DRIVERS;

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	put_one();
	text = stored_text();
	locked = hold_open();
	message = must_next(locked);
	rst_locked_bury(locked, message->id, message->key, message->uid);
	ck_assert_int_eq(rst_locked_commit(locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_stored(), 0);

	save_foreign(text);
	ck_assert_uint_eq(hold_count_stored(), 1);
	ck_assert_uint_eq(hold_count_held(), 0);
	locked = hold_open();
	if (way == 0) {
		must_end(locked);
		ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	} else {
		struct rst_fallback release = {
			.what = RST_RELEASE_ALL,
		};

		ck_assert_int_eq(rst_fallback_run(&release, locked, &error), 0);
		ck_assert_uint_eq(release.delivered, 0);
		ck_assert_uint_eq(release.failed, 0);
	}
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_stored(), 0);
}
END_TEST

#define QUEUED                                                         \
	TRACE "Received: from z by y (Postfix) with ESMTP id 4A1;\r\n" \
	      "\tSun, 26 Nov 2023 10:00:00 +0000\r\n" HEADER "x\r\n"

/* An index that was rebuilt has found a second file of a message. */
START_TEST(test_double)
{
	struct rst_locked *locked;

	hold_user(hold_drivers[_i], NULL);
	hold_put(TRACE, QUEUED, strlen(QUEUED));
	save_foreign(stored_text());
	ck_assert_uint_eq(hold_count_stored(), 2);
	ck_assert_uint_eq(hold_count_held(), 1);
	locked = hold_open();
	must_next(locked);
	must_end(locked);
	rst_locked_close(&locked);
}
END_TEST

/* A message file that is missing does not hide the other messages. */
START_TEST(test_lost_file)
{
	hold_user("sdbox", NULL);
	put_one();
	hold_put_at(1700000001);
	hold_put_at(1700000002);
	ck_assert_int_eq(unlink(hold_file("u.2")), 0);
	ck_assert_uint_eq(hold_count_held(), 2);
}
END_TEST

/* ---- fallback deliveries that were cut off */

static struct rst_locked *reopened(struct rst_locked *locked)
{
	rst_locked_close(&locked);
	return hold_open();
}

static void write_attempt(const char *id, enum rst_attempt_state state)
{
	static const unsigned char no_key[RST_KEY_SIZE];
	const char *error;

	ck_assert_int_eq(rst_attempts_write(hold_file(""), id, no_key, state,
					    TRUE, &error),
			 0);
}

static const struct {
	/* what LMTP has written by then: O, B, D, F */
	const char *steps;
	bool given_out, attempted;
} attempts[] = {
	{"", TRUE, FALSE},      {"O", TRUE, FALSE},     {"OO", TRUE, FALSE},
	{"OB", TRUE, TRUE},     {"OBO", TRUE, TRUE},    {"OBF", TRUE, FALSE},
	{"OBFO", TRUE, FALSE},  {"OBFOB", TRUE, TRUE},  {"OBD", FALSE, FALSE},
	{"OBDO", FALSE, FALSE}, {"OBDF", FALSE, FALSE},
};

START_TEST(test_attempt)
{
	static const char letters[] = "-OBDF";
	struct rst_locked *locked;
	struct rst_message *message;
	const char *id, *step, *error;

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	id = put_one();
	for (step = attempts[_i / N_DRIVERS].steps; *step != '\0'; step++)
		write_attempt(id, (enum rst_attempt_state)(
					  strchr(letters, *step) - letters));
	ck_assert_uint_eq(hold_count_held(),
			  attempts[_i / N_DRIVERS].given_out);
	locked = hold_open();
	if (attempts[_i / N_DRIVERS].given_out) {
		message = must_next(locked);
		ck_assert_int_eq(message->attempted,
				 attempts[_i / N_DRIVERS].attempted);
	}
	ck_assert_int_eq(rst_locked_is_unresolved(locked),
			 attempts[_i / N_DRIVERS].attempted);
	must_end(locked);
	/* the next process that opens the hold finds the same */
	locked = reopened(locked);
	ck_assert_int_eq(rst_locked_next(locked, &message, &error),
			 attempts[_i / N_DRIVERS].given_out);
	rst_locked_close(&locked);
}
END_TEST

/* While LMTP may begin at any moment, the message may not go any other way. */
START_TEST(test_in_flight)
{
	struct rst_locked *locked;
	struct file_lock *lock;
	struct rst_hold hold;
	const char *id, *error;
	int fds[2], status;
	char octet;
	pid_t pid;

	hold_user("sdbox", NULL);
	id = put_one();
	write_attempt(id, RST_ATTEMPT_OPEN);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		/* LMTP */
		hold = hold_opened();
		ck_assert_int_eq(rst_hold_lock(&hold, RST_LOCK_RELEASE, 5,
					       &lock, &error),
				 1);
		ck_assert_int_eq(write(fds[1], "x", 1), 1);
		(void)pause();
		_exit(0);
	}
	ck_assert_int_eq(read(fds[0], &octet, 1), 1);
	locked = hold_open();
	ck_assert(must_next(locked)->attempted);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	locked = reopened(locked);
	ck_assert(!must_next(locked)->attempted);
	rst_locked_close(&locked);
}
END_TEST

static const struct {
	const char *data;
	const char *id;
} fields[] = {
	{"Received: from restante-hold by h (Restante)\r\n\tid a1; d\r\n",
	 "a1"},
	{"Received: from restante-hold by h (Restante)\n\tid a1; d\n", "a1"},
	{"Received: from restante-hold by h (Restante)\r\n\tid a1", NULL},
	{"Received: from restante-hold by h\r\n\tid ../a; d\r\n", NULL},
	{"Received: from restante-hold by h\r\n\tid ; d\r\n", NULL},
	{"Received: from restante-hold by h\r\nX: y\r\n\tid a; d\r\n", NULL},
	{"Received: from other by h\r\n\tid a1; d\r\n", NULL},
	{"Received: from restante-hold by ", NULL},
	{"", NULL},
};

START_TEST(test_field)
{
	const char *id =
		rst_trace_field_parse((const unsigned char *)fields[_i].data,
				      strlen(fields[_i].data));
	const char *made = rst_trace_field_format("a1", "mx.example.test");

	hold_user("sdbox", NULL);
	ck_assert_pstr_eq(id, fields[_i].id);
	ck_assert_str_eq(rst_trace_field_parse((const unsigned char *)made,
					       strlen(made)),
			 "a1");
	ck_assert_ptr_nonnull(strstr(made, rst_trace_field_needle("a1")));
}
END_TEST

/* ---- wrong clocks */

/* What the mailbox says of the first, second, ... message; what counts now,
   and ten days later. */
static const struct {
	int received[3];
	int now[3], later[3];
} clocks[] = {
	{{-5, -3, -1}, {-5, -3, -1}, {-5, -3, -1}},
	/* a month ahead */
	{{-5, 30, -1}, {-5, 0, 0}, {-5, 0, 0}},
	{{30, 31, 32}, {0, 0, 0}, {0, 0, 0}},
	{{30, -3, -1}, {0, 0, 0}, {0, 0, 0}},
	/* a month behind */
	{{-5, -33, -1}, {-5, -5, -1}, {-5, -5, -1}},
	/* ten days later its date is not in the future any more, but it was */
	{{-5, 5, -1}, {-5, 0, 0}, {-5, 0, 0}},
};

START_TEST(test_clock)
{
	struct rst_dates *clock;
	time_t now = 1700000000, when;
	unsigned int i, round;

	hold_user("sdbox", NULL);
	for (round = 0; round < 3; round++) {
		clock = rst_dates_new(hold_fixture.dir);
		if (round == 2)
			now += 10 * DAY;
		for (i = 0; i < 3; i++) {
			when = rst_dates_arrival(
				clock, t_strdup_printf("id%u", i),
				1700000000 +
					(time_t)clocks[_i].received[i] * DAY,
				now);
			ck_assert_int_eq((when - 1700000000) / DAY,
					 round < 2 ? clocks[_i].now[i]
						   : clocks[_i].later[i]);
		}
		rst_dates_free(&clock);
	}
}
END_TEST

/* A message from the future, in the hold. */
START_TEST(test_future)
{
	struct rst_locked *locked;
	struct rst_hold_status status;
	struct rst_message *message;
	const char *error;
	time_t due;

	hold_user(hold_drivers[_i], NULL);
	hold_put_at(ioloop_time + 30 * DAY);
	status = hold_status();
	due = ioloop_time + 14 * DAY;
	ck_assert_int_eq(status.due, due);
	ioloop_time += DAY;
	locked = hold_open();
	message = must_next(locked);
	ck_assert_int_eq(rst_hold_due(&hold_fixture.set, message->received),
			 due);
	must_end(locked);
	ck_assert_int_eq(rst_locked_count(locked, &status, &error), 0);
	ck_assert_int_eq(status.due, due);
	due = 0;
	ck_assert_int_eq(rst_locked_next_due(locked, &due, &error), 0);
	ck_assert_int_eq(due, status.due);
	rst_locked_close(&locked);
}
END_TEST

static const char *const foreign[] = {
	("Return-Path: <x>\r\n" HEADER "whole\r\n"),
	"\r\n",
	"no line end",
	("X-Restante-Other: x\r\n" HEADER),
	"X-Rest: x\r\n",
};

/* A damaged envelope may look like that: it goes nowhere by itself. */
START_TEST(test_foreign)
{
	const char *text = foreign[_i / N_DRIVERS];
	struct rst_locked *locked;
	struct rst_message *message;

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	save_foreign(text);
	locked = hold_open();
	message = must_next(locked);
	ck_assert(rst_id_valid(rst_str(message->id)));
	ck_assert_str_eq(message->mail_from, "");
	ck_assert_str_eq(message->rcpt_to, "testuser");
	ck_assert_uint_eq(message->size, strlen(text));
	ck_assert_str_eq(str_c(read_all(message->input)), text);
	ck_assert(message->incomplete && !message->damaged);
	rst_locked_close(&locked);
}
END_TEST

/* ---- octets that have changed on the disk */

/* @return the path of a message file in dir, or NULL */
static const char *find_message_file(const char *dir)
{
	const char *path = NULL;
	DIR *dirp = opendir(dir);
	struct dirent *d;

	while (dirp != NULL && (d = readdir(dirp)) != NULL)
		if (str_begins_with(d->d_name, "u.") ||
		    strstr(d->d_name, ",S=") != NULL)
			path = t_strconcat(dir, "/", d->d_name, NULL);
	if (dirp != NULL)
		(void)closedir(dirp);
	return path;
}

/* @return the one message file of the hold, open */
static int open_message_file(void)
{
	static const char *const dirs[] = {"", "/new", "/cur"};
	const char *path = NULL;
	unsigned int i;
	int fd;

	for (i = 0; i < N_ELEMENTS(dirs) && path == NULL; i++)
		path = find_message_file(
			t_strconcat(hold_file(""), dirs[i], NULL));
	ck_assert_ptr_nonnull(path);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* @return the octets of the file, and NUL; on the data stack */
static char *read_file(int fd)
{
	struct stat st;
	char *text;

	ck_assert_int_eq(fstat(fd, &st), 0);
	text = t_malloc0(st.st_size + 1);
	ck_assert_int_eq(pread(fd, text, st.st_size, 0), st.st_size);
	return text;
}

static void put_octet(int fd, off_t at, unsigned char octet)
{
	ck_assert_int_eq(pwrite(fd, &octet, 1, at), 1);
}

/* What a reader gets of a message with one changed octet: the message as it
   was, or nothing that goes anywhere. */
static void must_be_whole_or_stay(const string_t *want, off_t at)
{
	struct rst_locked *locked = hold_open();
	struct rst_message *message = must_next(locked);
	string_t *got;

	if (!message->incomplete) {
		got = read_all(message->input);
		ck_assert_msg(str_equals(got, want), "octet %d: %s", (int)at,
			      str_c(got));
		ck_assert_str_eq(message->mail_from, "a@example.org");
		ck_assert_str_eq(message->rcpt_to, "b+x@example.test");
	}
	rst_locked_close(&locked);
}

START_TEST(test_changed)
{
	static const char text[] = TRACE HEADER "a\rb\r\r\nlast\r\n";
	static const unsigned char flips[] = {0x01, 0x20, 0x80, 0xff};
	string_t *want = t_str_new(256);
	unsigned char octet;
	off_t i, start;
	char *whole;
	int fd;

	hold_user(hold_drivers[_i], NULL);
	hold_put(TRACE, text, strlen(text));
	str_append(want, text + strlen(TRACE) - strlen(TRACE_LEFT));
	fd = open_message_file();
	whole = read_file(fd);
	start = strstr(whole, RST_ENVELOPE_FIELD) - whole;
	for (i = start; i < strstr(whole, "last\n") + 5 - whole; i++)
		T_BEGIN
		{
			octet = (unsigned char)whole[i];
			put_octet(fd, i, octet ^ flips[i % 4]);
			must_be_whole_or_stay(want, i);
			put_octet(fd, i, octet);
		}
	T_END;
	must_be_whole_or_stay(want, -1);
	ck_assert_uint_eq(hold_count_held(), 1);
	i_close_fd(&fd);
}
END_TEST

static void replace_word(const char *word, const char *by)
{
	int fd = open_message_file();
	char *text = read_file(fd), *at = strstr(text, word);

	ck_assert_ptr_nonnull(at);
	ck_assert_int_eq(pwrite(fd, by, strlen(by), at - text),
			 (ssize_t)strlen(by));
	i_close_fd(&fd);
}

/* The reader of the whole message finds the damage. Readers of its envelope see
   the mark; and a mark is taken off when the disk is as it was. */
static void must_find(bool damage)
{
	struct rst_locked *locked = hold_open();
	struct rst_message *message = must_next(locked);
	struct rst_hold_status status;
	const char *error;
	time_t due;

	ck_assert_int_eq(message->incomplete, damage);
	ck_assert_int_eq(message->damaged, damage);
	must_end(locked);
	ck_assert_int_eq(rst_locked_next_due(locked, &due, &error), 0);
	ck_assert_int_eq(due == 0, damage);
	rst_locked_close(&locked);
	status = hold_status();
	ck_assert_uint_eq(status.messages, damage ? 0 : 1);
	ck_assert_uint_eq(status.incomplete, damage ? 1 : 0);
}

START_TEST(test_marked)
{
	static const char text[] = HEADER "text\r\n";

	hold_user(hold_drivers[_i], NULL);
	hold_put("", text, strlen(text));
	must_find(FALSE);
	replace_word("text", "next");
	ck_assert_uint_eq(hold_status().messages, 1);
	must_find(TRUE);
	must_find(TRUE);
	replace_word("next", "text");
	must_find(FALSE);
}
END_TEST

/* ---- what a crash has left */

static void must_be_incomplete(unsigned int count)
{
	struct rst_locked *locked = hold_open();
	struct rst_hold_status status;
	struct rst_message *message;
	const char *error;
	unsigned int i;

	for (i = 0; i < count; i++) {
		message = must_next(locked);
		ck_assert_msg(message->incomplete, "uid %u", message->uid);
		ck_assert(rst_key_is_zero(rst_message_key(message)));
	}
	must_end(locked);
	ck_assert_int_eq(rst_locked_count(locked, &status, &error), 0);
	ck_assert_uint_eq(status.messages, 0);
	ck_assert_uint_eq(status.incomplete, count);
	ck_assert_int_eq(status.due, 0);
	ck_assert_int_eq(rst_locked_next_due(locked, &status.due, &error), 0);
	ck_assert_int_eq(status.due, 0);
	rst_locked_close(&locked);
}

static const char *const damaged[] = {
	"",
	"X",
	"x-restante-ENVELOPE",
	"X-Restante-Envelope:",
	"X-Restante-Envelope: v=1",
	("X-Restante-Envelope: v=2; id=x\r\n" HEADER),
	"X-Restante-Envelope: v=1; id=../x; t=1.0; from=; to=; skip=0\r\n",
};

START_TEST(test_damaged)
{
	unsigned int i;

	hold_user(hold_drivers[_i], NULL);
	for (i = 0; i < N_ELEMENTS(damaged); i++)
		save_foreign(damaged[i]);
	save_part("\0\0\0", 3);
	must_be_incomplete(N_ELEMENTS(damaged) + 1);
}
END_TEST

static char *one_message(size_t *size_r)
{
	const char body[] = TRACE HEADER "a\rb\r\r\nlast\r\n";
	struct rst_envelope env = {
		.id = RST_STR("one"),
		.arrived_us = 1700000000000000,
		.mail_from = RST_STR("a@example.org"),
		.rcpt_to = RST_STR("b@example.test"),
		.key = {1},
		.trace_lines = 4,
		.own_lines = 2,
		.has_octets = true,
		.octets = sizeof(body) - 1,
	};
	char *text = rst_envelope_format(&env, size_r);

	ck_assert_ptr_nonnull(text);
	text = rst_realloc(text, *size_r + sizeof(body));
	memcpy(text + *size_r, body, sizeof(body));
	*size_r += sizeof(body) - 1;
	return text;
}

/* A message that is cut off at any octet, and a message that has too many
   octets. */
START_TEST(test_cut)
{
	size_t size, i;
	char *text;

	hold_user("sdbox", NULL);
	text = one_message(&size);
	for (i = 0; i < size; i++)
		/* Dovecot stores the same for a CR at the end and for none */
		if (i == 0 || text[i - 1] != '\r')
			save_part(text, i);
	i = size - rst_count_lf((const unsigned char *)text, size) - 2;
	save_foreign(t_strconcat(text, "more\r\n", NULL));
	must_be_incomplete(i + 1);
	free(text);
}
END_TEST

/* An incomplete message goes when a whole one of its K is there, before it or
   after it. */
START_TEST(test_cut_and_whole)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;
	size_t size;
	char *text;

	hold_user(hold_drivers[_i / 3], NULL);
	text = one_message(&size);
	if (_i % 3 == 0)
		save_part(text, size - 3);
	else if (_i % 3 == 1)
		save_foreign(t_strconcat("N   000  ", text, NULL));
	save_part(text, size);
	if (_i % 3 == 2)
		save_part(text, size - 3);
	ck_assert_uint_eq(hold_count_held(), 1);

	locked = hold_open();
	message = must_next(locked);
	if (_i % 3 != 2) {
		ck_assert(message->incomplete);
		message = must_next(locked);
	}
	ck_assert(!message->incomplete);
	ck_assert_int_eq(rst_key_cmp(rst_message_key(message), message->key),
			 0);
	must_end(locked);
	ck_assert_int_eq(rst_locked_expunge(locked, &error), 0);
	rst_locked_close(&locked);
	ck_assert_uint_eq(hold_count_held(), 1);
	ck_assert_uint_eq(hold_count_stored(), 1);
	free(text);
}
END_TEST

/* ---- small ones first */

/*
 * s, t, m, l, L: a message of some size arrives. D: the first message is there
 * once more, as a rebuilt index finds it. They are numbered from 0.
 * .: a message is given out. x: that message leaves. k: the first message
 * vanishes.
 * r: meanwhile all are read in order of arrival. E: read to the end; then MORE.
 */
static const struct {
	const char *steps;
	const char *given;
} orders[] = {
	{"E", ""},
	{"ststE", "0123"},
	{"ltsmsE", "12430"},
	{"LlmLlmE", "251403"},
	{"lmlmsmE", "413502"},
	/* later messages go before the waiting ones, and not only small ones */
	{"ls.sE", "120"},
	{"Ls..mEE", "102"},
	{"LL.s.E", "021"},
	{"lls.s..s..E", "23041"},
	{"Lls.m.mE", "23410"},
	{"Lms.lmE", "21430"},
	{"lsEstlE", "10234"},
	/* as many octets as wait, and no more, until those do not wait */
	{"ms.ttttE", "123045"},
	{"ms.ttmtE", "123054"},
	{"ms.lmsE", "14032"},
	/* the late messages are waited for next */
	{"ms.l.s.mmmmE", "10345627"},
	/* looks and removals do not disturb it */
	{"lsmr.r.xr.E", "120"},
	{"lmsm.xr.x.x.xE", "2130"},
	{"ms.tttt..r.r..E", "123045"},
	{"lms.kE", "21"},
	/* a double is given out once */
	{"lDsE", "20"},
	{"mDls.E", "302"},
};

#define PUT_MAX 10

struct ordering {
	struct rst_locked *locked;
	const char *ids[PUT_MAX];
	unsigned int count, held;
	string_t *given;
	char *id; /* given last */
	unsigned char key[RST_KEY_SIZE];
	uint32_t uid;
};

static void put_sized(struct ordering *o, size_t octets)
{
	string_t *text = str_new(default_pool, octets + 1024);

	/* a K of its own for each */
	str_printfa(text,
		    TRACE "Received: from z by y (Postfix) id %u;\r\n"
			  "\tSun, 26 Nov 2023 10:00:00 +0000\r\n\r\n",
		    o->count);
	while (str_len(text) < octets)
		str_append(text, "A line of some octets, and one more.\r\n");
	ck_assert_uint_lt(o->count, PUT_MAX);
	o->held++;
	o->ids[o->count++] = hold_put(TRACE, str_data(text), str_len(text));
	str_free(&text);
}

static bool give(struct ordering *o)
{
	struct rst_message *message;
	const char *error;
	unsigned int i = 0;
	int ret = rst_locked_next(o->locked, &message, &error);

	ck_assert_int_ge(ret, 0);
	if (ret == 0)
		return FALSE;
	while (o->ids[i] == NULL || strcmp(o->ids[i], message->id) != 0)
		ck_assert_uint_lt(++i, o->count);
	str_printfa(o->given, "%u", i);
	ck_assert_uint_eq(str_len(read_all(message->input)), message->size);
	i_free(o->id);
	o->id = i_strdup(message->id);
	memcpy(o->key, message->key, RST_KEY_SIZE);
	o->uid = message->uid;
	return TRUE;
}

static void remove_given(struct ordering *o)
{
	const char *error;

	rst_locked_bury(o->locked, o->id, o->key, o->uid);
	ck_assert_int_eq(rst_locked_commit(o->locked, &error), 0);
	ck_assert_int_eq(rst_locked_expunge(o->locked, &error), 0);
	o->held--;
}

static void look_at_all(struct ordering *o)
{
	struct rst_message *message;
	unsigned int count = 0;
	uint32_t last = 0;
	const char *error;

	rst_locked_rewind(o->locked);
	while (rst_locked_next(o->locked, &message, &error) > 0) {
		ck_assert_uint_gt(message->uid, last);
		last = message->uid;
		count++;
	}
	ck_assert_uint_eq(count, o->held);
	rst_locked_go_on(o->locked);
}

static void take_step(struct ordering *o, char step)
{
	static const char letters[] = "stmlL";
	static const size_t octets[] = {10, 100000, 200000, 600000, 1200000};
	const char *letter = strchr(letters, step);

	if (letter != NULL)
		put_sized(o, octets[letter - letters]);
	else if (step == 'D')
		save_foreign(stored_text()), o->count++;
	else if (step == '.')
		ck_assert(give(o));
	else if (step == 'x')
		remove_given(o);
	else if (step == 'k')
		hold_expunge_first();
	else if (step == 'r')
		look_at_all(o);
	else {
		while (give(o))
			;
		rst_locked_go_on(o->locked);
	}
}

START_TEST(test_order)
{
	const char *step = orders[_i / N_DRIVERS].steps;
	struct ordering o = {.given = str_new(default_pool, 16)};

	hold_user(hold_drivers[_i % N_DRIVERS], NULL);
	for (; strchr("stmlLD", *step) != NULL; step++)
		take_step(&o, *step);
	o.locked = hold_open();
	rst_locked_drain(o.locked);
	for (; *step != '\0'; step++)
		take_step(&o, *step);
	ck_assert_str_eq(str_c(o.given), orders[_i / N_DRIVERS].given);
	rst_locked_close(&o.locked);
	i_free(o.id);
	str_free(&o.given);
}
END_TEST

/* ---- the lock */

START_TEST(test_lock)
{
	struct rst_hold hold = {.user = NULL};
	struct rst_locked *locked, *second;
	const char *error;
	int status;
	pid_t pid;

	hold_user(hold_drivers[_i], NULL);
	locked = hold_open();
	hold = hold_of_user();
	/* fcntl() locks keep out other processes only */
	pid = fork();
	if (pid == 0)
		_exit(rst_locked_open(&hold, &second, &error) == 0 ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* a delivery does not need it */
	put_one();
	rst_locked_close(&locked);
	locked = hold_open();
	rst_locked_close(&locked);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-store");
	TCase *tc = tcase_create("store"), *plain = tcase_create("delivery");

	tcase_add_checked_fixture(tc, hold_setup, hold_teardown);
	tcase_add_loop_test(tc, test_octets, 0, N_MESSAGES * N_DRIVERS);
	tcase_add_loop_test(tc, test_stored_with_crlf, 0,
			    N_MESSAGES * N_DRIVERS);
	tcase_add_loop_test(tc, test_large, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_status, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_remove, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_tombstone, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_came_back, 0, 2 * N_DRIVERS);
	tcase_add_loop_test(tc, test_double, 0, N_DRIVERS);
	tcase_add_test(tc, test_lost_file);
	tcase_add_loop_test(tc, test_attempt, 0,
			    (int)N_ELEMENTS(attempts) * N_DRIVERS);
	tcase_add_test(tc, test_in_flight);
	tcase_add_loop_test(tc, test_clock, 0, (int)N_ELEMENTS(clocks));
	tcase_add_loop_test(tc, test_future, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_field, 0, (int)N_ELEMENTS(fields));
	tcase_add_loop_test(tc, test_index_not_written, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_sizes_not_locked, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_not_committed, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_more, 0, N_DRIVERS);
	/* mdbox has several messages in a file */
	tcase_add_loop_test(tc, test_changed, 0, 2);
	tcase_add_loop_test(tc, test_marked, 0, 2);
	tcase_add_loop_test(tc, test_foreign, 0,
			    (int)N_ELEMENTS(foreign) * N_DRIVERS);
	tcase_add_loop_test(tc, test_damaged, 0, N_DRIVERS);
	tcase_add_test(tc, test_cut);
	tcase_add_loop_test(tc, test_cut_and_whole, 0, 3 * N_DRIVERS);
	tcase_add_loop_test(tc, test_lock, 0, N_DRIVERS);
	tcase_add_loop_test(tc, test_order, 0,
			    (int)N_ELEMENTS(orders) * N_DRIVERS);
	suite_add_tcase(s, tc);

	tcase_add_loop_test(plain, test_same_key, 0, (int)N_ELEMENTS(same_key));
	tcase_add_test(plain, test_key_is_sha256);
	tcase_add_loop_test(plain, test_trace, 0, (int)N_ELEMENTS(traces));
	suite_add_tcase(s, plain);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
