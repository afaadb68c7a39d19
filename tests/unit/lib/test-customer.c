/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>

#include "base64.h"
#include "buf.h"
#include "restante/customer.h"
#include "restante/provider.h"

static const struct rst_customer_settings settings = {
	.hostname = "laptop",
	.user = "u",
	.password = "p",
	.reply_timeout_ms = 30000,
};

#define OFFER "250-mx\r\n250-AUTH LOGIN plain\r\n250-XTRA\r\n250 atrn\r\n"
#define TO_AUTH "220 mx ESMTP\r\n" OFFER
#define TO_ATRN TO_AUTH "235 2.7.0 ok\r\n"
#define SAY_EHLO "EHLO laptop\r\n"
#define SAY_AUTH SAY_EHLO "AUTH PLAIN AHUAcA==\r\n"
#define SAY_ATRN SAY_AUTH "ATRN\r\n"

static const struct {
	struct rst_str input;
	const char *output; /* all of it */
	enum rst_customer_outcome outcome;
	const char *error;
	ssize_t status;
	size_t left;
} scripts[] = {
	{RST_STR(""), "", RST_CUSTOMER_RUNNING, "", 0, 0},
	{RST_STR("220-mx\r\n220 "), "", RST_CUSTOMER_RUNNING, "", 0, 12},
	{RST_STR("220 mx\r\n"), SAY_EHLO, RST_CUSTOMER_RUNNING, "", 0, 0},
	{RST_STR(TO_AUTH), SAY_AUTH, RST_CUSTOMER_RUNNING, "", 0, 0},
	{RST_STR(TO_ATRN), SAY_ATRN, RST_CUSTOMER_RUNNING, "", 0, 0},
	/* octets behind the turnaround are left to rst_receiver */
	{RST_STR(TO_ATRN "250 2.0.0 turn\r\nEHLO mx\r\n"), SAY_ATRN,
	 RST_CUSTOMER_TURNED, "", 0, 9},
	/* no greeting */
	{RST_STR("421 4.3.2 busy\r\n"), "", RST_CUSTOMER_TEMPFAIL,
	 "greeting: 421 4.3.2 busy", 0, 0},
	{RST_STR("554 no\r\n"), "QUIT\r\n", RST_CUSTOMER_REFUSED,
	 "greeting: 554 no", 0, 0},
	{RST_STR("SSH-2.0-x\r\n"), "", RST_CUSTOMER_BROKEN,
	 "greeting: reply is no SMTP", RST_EPROTO, 11},
	{RST_STR("220 mx\n"), "", RST_CUSTOMER_BROKEN,
	 "greeting: reply is no SMTP", RST_EPROTO, 7},
	{RST_STR("250 mx\r\n"), "QUIT\r\n", RST_CUSTOMER_BROKEN,
	 "greeting: 250 mx", 0, 0},
	/* no extension or mechanism of use */
	{RST_STR("220 mx\r\n502 5.5.1 what\r\n"), SAY_EHLO "QUIT\r\n",
	 RST_CUSTOMER_REFUSED, "EHLO: 502 5.5.1 what", 0, 0},
	{RST_STR("220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n"), SAY_EHLO "QUIT\r\n",
	 RST_CUSTOMER_BROKEN, "EHLO: server does not offer ATRN", 0, 0},
	{RST_STR("220 mx\r\n250 AUTH PLAIN ATRN\r\n"), SAY_EHLO "QUIT\r\n",
	 RST_CUSTOMER_BROKEN, "EHLO: server does not offer ATRN", 0, 0},
	{RST_STR("220 mx\r\n250-mx\r\n250 ATRN\r\n"), SAY_EHLO "QUIT\r\n",
	 RST_CUSTOMER_TEMPFAIL, "EHLO: server does not offer AUTH", 0, 0},
	{RST_STR("220 mx\r\n250-mx\r\n250-AUTH CRAM-MD5 PLAINER\r\n"
		 "250 ATRN\r\n"),
	 SAY_EHLO "QUIT\r\n", RST_CUSTOMER_REFUSED,
	 "EHLO: server does not offer AUTH PLAIN", 0, 0},
	/* not signed in */
	{RST_STR(TO_AUTH "535 5.7.8 wrong\r\n"), SAY_AUTH "QUIT\r\n",
	 RST_CUSTOMER_REFUSED, "AUTH: 535 5.7.8 wrong", 0, 0},
	{RST_STR(TO_AUTH "454 4.7.0 later\r\n"), SAY_AUTH "QUIT\r\n",
	 RST_CUSTOMER_TEMPFAIL, "AUTH: 454 4.7.0 later", 0, 0},
	{RST_STR(TO_AUTH "334 \r\n"), SAY_AUTH "QUIT\r\n", RST_CUSTOMER_BROKEN,
	 "AUTH: 334 ", 0, 0},
	{RST_STR(TO_AUTH "535 no\x1b[31m\xc3\xbc\r\n421 gone\r\n"),
	 SAY_AUTH "QUIT\r\n", RST_CUSTOMER_REFUSED, "AUTH: 535 no?[31m??", 0,
	 10},
	{RST_STR(TO_AUTH "235-a\r\n250 b\r\n"), SAY_AUTH, RST_CUSTOMER_BROKEN,
	 "AUTH: reply is no SMTP", RST_EPROTO, 14},
	/* not turned */
	{RST_STR(TO_ATRN "450 4.7.1 refused\r\n"), SAY_ATRN "QUIT\r\n",
	 RST_CUSTOMER_REFUSED, "ATRN: 450 4.7.1 refused", 0, 0},
	{RST_STR(TO_ATRN "451 4.3.0 later\r\n"), SAY_ATRN "QUIT\r\n",
	 RST_CUSTOMER_TEMPFAIL, "ATRN: 451 4.3.0 later", 0, 0},
	{RST_STR(TO_ATRN "453 none\r\n"), SAY_ATRN "QUIT\r\n",
	 RST_CUSTOMER_TEMPFAIL, "ATRN: 453 none", 0, 0},
	{RST_STR(TO_ATRN "421 4.3.2 newer sign-in\r\n"), SAY_ATRN,
	 RST_CUSTOMER_TEMPFAIL, "ATRN: 421 4.3.2 newer sign-in", 0, 0},
	{RST_STR(TO_ATRN "530-5.7.0 a\r\n530 5.7.0 b\r\n"), SAY_ATRN "QUIT\r\n",
	 RST_CUSTOMER_REFUSED, "ATRN: 530 5.7.0 b", 0, 0},
};

struct client {
	struct rst_customer *customer;
	struct rst_buf input; /* not taken yet */
	struct rst_buf said;
	ssize_t status;
};

static void client_pump(struct client *client)
{
	ssize_t taken;

	do {
		struct rst_str input = rst_buf_view(&client->input), out;
		char *copy = rst_malloc(input.n);

		memcpy(copy, input.p, input.n);
		taken = rst_customer_recv(client->customer, copy, input.n, 0);
		free(copy);
		if (taken > 0)
			rst_buf_take(&client->input, (size_t)taken);
		else
			client->status = taken;
		out.p = rst_customer_output(client->customer, &out.n);
		rst_buf_str(&client->said, out);
		rst_customer_sent(client->customer, out.n);
	} while (taken > 0);
}

static void client_feed(struct client *client, const char *p, size_t n)
{
	rst_buf_append(&client->input, p, n);
	client_pump(client);
}

static void client_end(struct client *client)
{
	rst_buf_clear(&client->input);
	rst_buf_clear(&client->said);
	rst_customer_free(&client->customer);
	ck_assert_ptr_null(client->customer);
}

static void check_script(int i, struct client *client)
{
	const struct rst_customer *c = client->customer;

	ck_assert_rst_str_eq(rst_buf_view(&client->said), scripts[i].output);
	ck_assert_int_eq(rst_customer_outcome(c), scripts[i].outcome);
	ck_assert_str_eq(rst_customer_error(c), scripts[i].error);
	ck_assert_int_eq(client->status, scripts[i].status);
	ck_assert_uint_eq(client->input.used, scripts[i].left);
	ck_assert_int_eq(rst_customer_deadline(c) == -1,
			 scripts[i].outcome != RST_CUSTOMER_RUNNING);
	client_end(client);
}

START_TEST(test_script)
{
	struct rst_str input = scripts[_i].input;
	struct client client;
	size_t cut;

	for (cut = 0; cut <= input.n; cut++) {
		client = (struct client){
			.customer = rst_customer_new(&settings, 0)};
		client_feed(&client, input.p, cut);
		client_feed(&client, input.p + cut, input.n - cut);
		check_script(_i, &client);
	}
	client = (struct client){.customer = rst_customer_new(&settings, 0)};
	for (cut = 0; cut < input.n; cut++)
		client_feed(&client, input.p + cut, 1);
	check_script(_i, &client);
}
END_TEST

static const struct {
	const char *input;
	const char *error;
} timeouts[] = {
	{"", "greeting: no reply in 30 s"},
	{"220 mx", "greeting: no reply in 30 s"},
	{"220 mx\r\n", "EHLO: no reply in 30 s"},
	{TO_AUTH, "AUTH: no reply in 30 s"},
	{TO_ATRN, "ATRN: no reply in 30 s"},
};

START_TEST(test_timeout)
{
	struct client client = {.customer = rst_customer_new(&settings, 0)};
	struct rst_customer *c = client.customer;

	client_feed(&client, timeouts[_i].input, strlen(timeouts[_i].input));
	ck_assert_int_eq(rst_customer_deadline(c), 30000);
	rst_customer_tick(c, 29999);
	ck_assert_int_eq(rst_customer_outcome(c), RST_CUSTOMER_RUNNING);
	rst_customer_tick(c, 30000);
	ck_assert_int_eq(rst_customer_outcome(c), RST_CUSTOMER_TEMPFAIL);
	ck_assert_str_eq(rst_customer_error(c), timeouts[_i].error);
	ck_assert_int_eq(rst_customer_deadline(c), -1);
	/* too late */
	ck_assert_int_eq(rst_customer_recv(c, "220 mx\r\n", 8, 30001), 0);
	client_end(&client);
}
END_TEST

START_TEST(test_deadline_moves)
{
	struct rst_customer *c = rst_customer_new(&settings, 100);

	ck_assert_int_eq(rst_customer_deadline(c), 30100);
	ck_assert_int_eq(rst_customer_recv(c, NULL, 0, 5000), 0);
	ck_assert_int_eq(rst_customer_recv(c, "220", 3, 5000), 0);
	ck_assert_int_eq(rst_customer_deadline(c), 30100);
	ck_assert_int_eq(rst_customer_recv(c, "220 mx\r\n", 8, 6000), 8);
	ck_assert_int_eq(rst_customer_deadline(c), 36000);
	rst_customer_free(&c);
}
END_TEST

/* A reply without end. */
START_TEST(test_endless_reply)
{
	struct client client = {.customer = rst_customer_new(&settings, 0)};
	unsigned int i;

	for (i = 0; i < 1000; i++)
		client_feed(&client, "220-more and more\r\n", 19);
	ck_assert_int_eq(client.status, RST_ELIMIT);
	ck_assert_str_eq(rst_customer_error(client.customer),
			 "greeting: reply too long");
	client_end(&client);
}
END_TEST

/* A long reply is cut for the error text. */
START_TEST(test_long_error)
{
	struct client client = {.customer = rst_customer_new(&settings, 0)};
	char text[4000];

	memset(text, '\x9b', sizeof(text));
	client_feed(&client, "554 ", 4);
	client_feed(&client, text, sizeof(text));
	client_feed(&client, "\r\n", 2);
	ck_assert_int_eq(rst_customer_outcome(client.customer),
			 RST_CUSTOMER_REFUSED);
	ck_assert_uint_lt(strlen(rst_customer_error(client.customer)), 1000);
	ck_assert_ptr_null(strchr(rst_customer_error(client.customer), '\x9b'));
	client_end(&client);
}
END_TEST

/* The longest line that RFC 4954 promises, and one octet more. */
START_TEST(test_long_password)
{
	static const size_t room =
		(RST_SMTP_AUTH_LINE_MAX - sizeof("AUTH PLAIN \r\n") + 1) / 4 *
		3;
	char password[RST_SMTP_AUTH_LINE_MAX];
	struct rst_customer_settings mine = settings;
	struct client client;
	size_t n;

	mine.password = password;
	for (n = room - 3; n <= room - 2; n++) {
		memset(password, 'x', n);
		password[n] = '\0';
		client =
			(struct client){.customer = rst_customer_new(&mine, 0)};
		client_feed(&client, TO_AUTH, strlen(TO_AUTH));
		ck_assert_int_eq(rst_customer_outcome(client.customer),
				 n == room - 3 ? RST_CUSTOMER_RUNNING
					       : RST_CUSTOMER_REFUSED);
		ck_assert_str_eq(rst_customer_error(client.customer),
				 n == room - 3
					 ? ""
					 : "AUTH: user and password too long");
		client_end(&client);
	}
}
END_TEST

/* ---- customer against provider */

static const struct rst_provider_limits limits = {
	.hostname = "mx",
	.mechanisms = "PLAIN",
	.command_timeout_ms = 1000,
	.session_timeout_ms = 5000,
	.max_auth_failures = 3,
	.max_bad_commands = 4,
};

static const struct {
	const char *password;
	bool auth_away;        /* Dovecot cannot tell */
	enum rst_verdict atrn; /* not enrolled: REFUSED */
	enum rst_customer_outcome outcome;
	const char *error;
} pairs[] = {
	{"secret", false, RST_VERDICT_OK, RST_CUSTOMER_TURNED, ""},
	{"wrong", false, RST_VERDICT_OK, RST_CUSTOMER_REFUSED,
	 "AUTH: 535 5.7.8 Authentication credentials invalid"},
	{"secret", true, RST_VERDICT_OK, RST_CUSTOMER_TEMPFAIL,
	 "AUTH: 454 4.7.0 Temporary authentication failure"},
	{"secret", false, RST_VERDICT_REFUSED, RST_CUSTOMER_REFUSED,
	 "ATRN: 450 4.7.1 ATRN request refused"},
	{"secret", false, RST_VERDICT_TEMPFAIL, RST_CUSTOMER_TEMPFAIL,
	 "ATRN: 451 4.3.0 Unable to process ATRN request now"},
};

/* One direction: the octets up to `cut` arrive in one piece, the rest in
   another. */
struct pipe {
	size_t moved, cut;
	struct rst_buf arrived;
};

static size_t pipe_move(struct pipe *pipe, const char *out, size_t n)
{
	if (pipe->moved < pipe->cut && n > pipe->cut - pipe->moved)
		n = pipe->cut - pipe->moved;
	rst_buf_append(&pipe->arrived, out, n);
	pipe->moved += n;
	return n;
}

struct pair {
	struct rst_provider *provider;
	struct rst_customer *customer;
	struct pipe up, down;
	bool closed;
	int row;
};

static enum rst_verdict judge(int row, struct rst_str initial)
{
	char right[RST_BASE64_SIZE(14)];
	size_t n = rst_base64_encode("\0roamer\0secret", 14, right);

	if (pairs[row].auth_away)
		return RST_VERDICT_TEMPFAIL;
	return rst_str_eq(initial, (struct rst_str){right, n})
		       ? RST_VERDICT_OK
		       : RST_VERDICT_REFUSED;
}

static void pair_decide(struct pair *pair, const struct rst_provider_event *ev)
{
	switch (ev->type) {
	case RST_PROVIDER_AUTH:
		ck_assert_rst_str_eq(ev->mechanism, "PLAIN");
		rst_provider_auth_done(pair->provider, ev->id,
				       judge(pair->row, ev->initial), 0);
		break;
	case RST_PROVIDER_ATRN:
		ck_assert_rst_str_eq(ev->domains, "");
		rst_provider_atrn_done(pair->provider, ev->id,
				       pairs[pair->row].atrn, 0);
		break;
	case RST_PROVIDER_CLOSE:
		pair->closed = true;
		break;
	default:
		ck_abort_msg("event %d", ev->type);
	}
}

static size_t provider_turn(struct pair *pair)
{
	struct rst_str in = rst_buf_view(&pair->up.arrived), out;
	struct rst_provider_event ev;
	ssize_t taken = rst_provider_recv(pair->provider, in.p, in.n, 0);

	ck_assert_int_ge(taken, 0);
	if (taken > 0)
		rst_buf_take(&pair->up.arrived, (size_t)taken);
	while (rst_provider_next(pair->provider, &ev))
		pair_decide(pair, &ev);
	out.p = rst_provider_output(pair->provider, &out.n);
	out.n = pipe_move(&pair->down, out.p, out.n);
	rst_provider_sent(pair->provider, out.n);
	return (size_t)taken + out.n;
}

static size_t customer_turn(struct pair *pair)
{
	struct rst_str in = rst_buf_view(&pair->down.arrived), out;
	ssize_t taken = rst_customer_recv(pair->customer, in.p, in.n, 0);

	ck_assert_int_ge(taken, 0);
	if (taken > 0)
		rst_buf_take(&pair->down.arrived, (size_t)taken);
	out.p = rst_customer_output(pair->customer, &out.n);
	out.n = pipe_move(&pair->up, out.p, out.n);
	rst_customer_sent(pair->customer, out.n);
	return (size_t)taken + out.n;
}

static void pair_check(const struct pair *pair)
{
	bool turned = pairs[pair->row].outcome == RST_CUSTOMER_TURNED;

	ck_assert_int_eq(rst_customer_outcome(pair->customer),
			 pairs[pair->row].outcome);
	ck_assert_str_eq(rst_customer_error(pair->customer),
			 pairs[pair->row].error);
	ck_assert_int_eq(rst_provider_turned(pair->provider), turned);
	/* a customer that is not served has said QUIT */
	ck_assert_int_eq(pair->closed, !turned);
	ck_assert_uint_eq(pair->up.arrived.used, 0);
	if (turned)
		ck_assert_uint_eq(pair->down.arrived.used, 0);
}

/* @return octets that went up and down */
static size_t run_pair(int row, bool pipelined, size_t up_cut, size_t down_cut)
{
	struct rst_customer_settings mine = settings;
	struct pair pair = {.row = row};
	size_t moved;

	mine.pipelined = pipelined;
	mine.user = "roamer";
	mine.password = pairs[row].password;
	pair.provider = rst_provider_new(&limits, 0);
	pair.customer = rst_customer_new(&mine, 0);
	pair.up.cut = up_cut;
	pair.down.cut = down_cut;
	do {
		moved = provider_turn(&pair);
		moved += customer_turn(&pair);
	} while (moved > 0);
	pair_check(&pair);
	moved = pair.up.moved + pair.down.moved;
	rst_buf_clear(&pair.up.arrived);
	rst_buf_clear(&pair.down.arrived);
	rst_provider_free(&pair.provider);
	rst_customer_free(&pair.customer);
	return moved;
}

static void check_pair(int row, bool pipelined)
{
	size_t total = run_pair(row, pipelined, 0, 0), cut;

	for (cut = 0; cut <= total; cut++) {
		ck_assert_uint_eq(run_pair(row, pipelined, cut, 0), total);
		ck_assert_uint_eq(run_pair(row, pipelined, 0, cut), total);
		ck_assert_uint_eq(run_pair(row, pipelined, cut, cut), total);
	}
}

START_TEST(test_pair)
{
	check_pair(_i, false);
}
END_TEST

START_TEST(test_pair_pipelined)
{
	check_pair(_i, true);
}
END_TEST

/* The customer says all with the end of the handshake, before the greeting. */
START_TEST(test_pipelined)
{
	struct rst_customer_settings mine = settings;
	struct rst_customer *c;
	struct rst_str out;

	mine.pipelined = true;
	c = rst_customer_new(&mine, 0);
	out.p = rst_customer_output(c, &out.n);
	ck_assert_rst_str_eq(out, SAY_ATRN);
	rst_customer_sent(c, out.n);
	ck_assert_int_gt(rst_customer_recv(c, TO_ATRN "250 ok\r\n",
					   strlen(TO_ATRN "250 ok\r\n"), 5),
			 0);
	ck_assert_int_eq(rst_customer_outcome(c), RST_CUSTOMER_TURNED);
	(void)rst_customer_output(c, &out.n);
	ck_assert_uint_eq(out.n, 0);
	rst_customer_free(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("customer");
	TCase *tcase = tcase_create("customer");

	tcase_add_loop_test(tcase, test_script, 0, N_ELEMENTS(scripts));
	tcase_add_loop_test(tcase, test_timeout, 0, N_ELEMENTS(timeouts));
	tcase_add_test(tcase, test_deadline_moves);
	tcase_add_test(tcase, test_endless_reply);
	tcase_add_test(tcase, test_long_error);
	tcase_add_test(tcase, test_long_password);
	tcase_add_loop_test(tcase, test_pair, 0, N_ELEMENTS(pairs));
	tcase_add_loop_test(tcase, test_pair_pipelined, 0, N_ELEMENTS(pairs));
	tcase_add_test(tcase, test_pipelined);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
