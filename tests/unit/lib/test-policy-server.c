/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>

#include "restante/policy.h"

#define REQUEST(rcpt) \
	"request=smtpd_access_policy\nrecipient=" rcpt "\nsize=10\n\n"

static const struct rst_policy_server_limits limits = {
	.answer_timeout_ms = 1000,
};

static struct rst_policy_server *server;

static void setup(void)
{
	server = rst_policy_server_new(&limits);
}

static void teardown(void)
{
	rst_policy_server_free(&server);
	ck_assert_ptr_null(server);
	rst_policy_server_free(&server);
}

static ssize_t feed(const char *text, int64_t now_ms)
{
	return rst_policy_server_recv(server, text, strlen(text), now_ms);
}

/* @return the output, which then counts as sent */
static void expect_output(const char *want)
{
	struct rst_str out;

	out.p = rst_policy_server_output(server, &out.n);
	ck_assert_rst_str_eq(out, want);
	rst_policy_server_sent(server, out.n);
}

static struct rst_policy_ask expect_ask(const char *recipient)
{
	struct rst_policy_ask ask, again;

	ck_assert(rst_policy_server_next(server, &ask));
	ck_assert_uint_gt(ask.id, 0);
	ck_assert_rst_str_eq(ask.request->recipient, recipient);
	ck_assert(!rst_policy_server_next(server, &again));
	return ask;
}

static void expect_idle(void)
{
	struct rst_policy_ask ask;

	ck_assert(!rst_policy_server_next(server, &ask));
	ck_assert_int_eq(rst_policy_server_deadline(server), -1);
}

START_TEST(test_answered)
{
	struct rst_policy_ask ask;

	expect_idle();
	ck_assert_int_gt(feed(REQUEST("a@b"), 5), 0);
	ck_assert_int_eq(rst_policy_server_deadline(server), 1005);
	ask = expect_ask("a@b");
	expect_output("");
	rst_policy_server_answer(server, ask.id, RST_POLICY_NO_ROOM);
	expect_output("action=452 4.2.2 Mailbox full\n\n");
	expect_idle();
}
END_TEST

/* Nothing is copied: the question shows the octets that were given. */
START_TEST(test_in_place)
{
	const char buf[] = REQUEST("someone@example.test");
	struct rst_policy_ask ask;

	ck_assert_int_gt(feed(buf, 0), 0);
	ask = expect_ask("someone@example.test");
	ck_assert_ptr_eq(ask.request->recipient.p, strstr(buf, "someone"));
	ck_assert_rst_str_eq(ask.request->size, "10");
}
END_TEST

/* One question at a time, in order, each with an id of its own. */
START_TEST(test_pipelined)
{
	static const char both[] = REQUEST("a@b") REQUEST("cc@dd");
	struct rst_policy_ask first, second;
	ssize_t used = feed(both, 0);

	ck_assert_int_eq(used, (ssize_t)strlen(REQUEST("a@b")));
	ck_assert_int_eq(feed(both + used, 0), 0);
	first = expect_ask("a@b");
	ck_assert_int_eq(feed(both + used, 0), 0);
	rst_policy_server_answer(server, first.id, RST_POLICY_DUNNO);
	ck_assert_int_eq(feed(both + used, 0),
			 (ssize_t)strlen(REQUEST("cc@dd")));
	second = expect_ask("cc@dd");
	ck_assert_uint_ne(first.id, second.id);
	/* late, and for the wrong question */
	rst_policy_server_answer(server, first.id, RST_POLICY_TOO_LARGE);
	expect_output("action=DUNNO\n\n");
	rst_policy_server_answer(server, second.id, RST_POLICY_TOO_LARGE);
	expect_output("action=552 5.3.4 Message size exceeds fixed limit\n\n");
}
END_TEST

START_TEST(test_answered_twice)
{
	struct rst_policy_ask ask;

	ck_assert_int_gt(feed(REQUEST("a@b"), 0), 0);
	ask = expect_ask("a@b");
	rst_policy_server_answer(server, ask.id + 1, RST_POLICY_NO_ROOM);
	rst_policy_server_answer(server, 0, RST_POLICY_NO_ROOM);
	expect_output("");
	rst_policy_server_answer(server, ask.id, RST_POLICY_DUNNO);
	rst_policy_server_answer(server, ask.id, RST_POLICY_NO_ROOM);
	expect_output("action=DUNNO\n\n");
}
END_TEST

/* A question times out whether or not the caller has pulled it. */
START_TEST(test_timeout)
{
	bool pulled = _i == 1;
	uint32_t id = 1;

	ck_assert_int_gt(feed(REQUEST("a@b"), 100), 0);
	if (pulled)
		id = expect_ask("a@b").id;
	rst_policy_server_tick(server, 1099);
	expect_output("");
	rst_policy_server_tick(server, 1100);
	expect_output("action=DUNNO\n\n");
	expect_idle();
	rst_policy_server_answer(server, id, RST_POLICY_NO_ROOM);
	rst_policy_server_tick(server, 5000);
	expect_output("");
	ck_assert_int_gt(feed(REQUEST("next@b"), 6000), 0);
	(void)expect_ask("next@b");
}
END_TEST

START_TEST(test_sent_in_parts)
{
	struct rst_str out;

	ck_assert_int_gt(feed(REQUEST("a@b"), 0), 0);
	rst_policy_server_answer(server, expect_ask("a@b").id,
				 RST_POLICY_DUNNO);
	rst_policy_server_sent(server, 7);
	out.p = rst_policy_server_output(server, &out.n);
	ck_assert_rst_str_eq(out, "DUNNO\n\n");
	ck_assert_int_gt(feed(REQUEST("a@b"), 0), 0);
	rst_policy_server_answer(server, expect_ask("a@b").id,
				 RST_POLICY_DUNNO);
	out.p = rst_policy_server_output(server, &out.n);
	ck_assert_rst_str_eq(out, "DUNNO\n\naction=DUNNO\n\n");
	rst_policy_server_sent(server, 10);
	expect_output("ion=DUNNO\n\n");
	expect_output("");
}
END_TEST

START_TEST(test_broken)
{
	char *flood = rst_malloc(RST_POLICY_REQUEST_MAX);

	ck_assert_int_eq(feed("GET / HTTP/1.0\n", 0), RST_EPROTO);
	memset(flood, 'x', RST_POLICY_REQUEST_MAX);
	ck_assert_int_eq(rst_policy_server_recv(server, flood,
						RST_POLICY_REQUEST_MAX, 0),
			 RST_ELIMIT);
	expect_idle();
	expect_output("");
	free(flood);
}
END_TEST

/* A Postfix that asks on and on and reads no answer fills no memory. */
START_TEST(test_unread_answers)
{
	struct rst_policy_ask ask;
	size_t i, len;

	for (i = 0; i < RST_POLICY_OUTPUT_MAX; i++) {
		if (feed(REQUEST("a@b"), 0) < 0)
			break;
		ask = expect_ask("a@b");
		rst_policy_server_answer(server, ask.id, RST_POLICY_DUNNO);
	}
	ck_assert_int_eq(feed(REQUEST("a@b"), 0), RST_ELIMIT);
	(void)rst_policy_server_output(server, &len);
	ck_assert_uint_le(len, RST_POLICY_OUTPUT_MAX + 100);
}
END_TEST

static const char three[] =
	REQUEST("a@b") REQUEST("") REQUEST("last@example.test");

/* Three requests, wherever the network cuts them. */
START_TEST(test_cut)
{
	static const char *const recipients[] = {"a@b", "",
						 "last@example.test"};
	size_t start = 0, end = (size_t)_i, asked = 0, total = strlen(three);
	ssize_t used;

	for (;;) {
		char *part = rst_malloc(end - start);

		memcpy(part, three + start, end - start);
		used = rst_policy_server_recv(server, part, end - start, 0);
		ck_assert_int_ge(used, 0);
		start += (size_t)used;
		if (used > 0) {
			struct rst_policy_ask ask =
				expect_ask(recipients[asked++]);

			rst_policy_server_answer(server, ask.id,
						 RST_POLICY_DUNNO);
			free(part);
			continue;
		}
		free(part);
		if (end == total)
			break;
		end = total;
	}
	ck_assert_uint_eq(start, total);
	ck_assert_uint_eq(asked, 3);
	expect_output("action=DUNNO\n\naction=DUNNO\n\naction=DUNNO\n\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy-server");
	TCase *tc = tcase_create("policy-server");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_answered);
	tcase_add_test(tc, test_in_place);
	tcase_add_test(tc, test_pipelined);
	tcase_add_test(tc, test_answered_twice);
	tcase_add_loop_test(tc, test_timeout, 0, 2);
	tcase_add_test(tc, test_sent_in_parts);
	tcase_add_test(tc, test_broken);
	tcase_add_test(tc, test_unread_answers);
	tcase_add_loop_test(tc, test_cut, 0, sizeof(three));
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
