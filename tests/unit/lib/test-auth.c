/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <stdio.h>
#include <string.h>

#include "restante/auth.h"

#define HELLO "VERSION\t1\t2\nCPID\t42\n"
/* Dovecot 2.3.19.1 sends this at once to a new connection. */
#define HANDSHAKE                                    \
	"VERSION\t1\t2\n"                            \
	"MECH\tPLAIN\tplaintext\n"                   \
	"MECH\tLOGIN\tplaintext\n"                   \
	"MECH\tCRAM-MD5\tdictionary\tactive\n"       \
	"MECH\tSCRAM-SHA-256\tmutual-auth\n"         \
	"MECH\tANONYMOUS\tanonymous\n"               \
	"MECH\tEXTERNAL\n"                           \
	"SPID\t21505\n"                              \
	"CUID\t1\n"                                  \
	"COOKIE\t3da5447edae2e80d22a56a33d9525fa6\n" \
	"DONE\n"
#define START "AUTH\t1\tPLAIN\tservice=restante\tsecured=tls"

static const struct rst_auth_limits limits = {
	.pid = 42,
	.handshake_timeout_ms = 5000,
	.request_timeout_ms = 30000,
	.max_requests = 3,
	.slow_ms = 50,
	.max_slow = 2,
};

static struct rst_auth *auth;

static void setup(void)
{
	auth = rst_auth_new(&limits, 0);
}

static void teardown(void)
{
	rst_auth_free(&auth);
	ck_assert_ptr_null(auth);
	rst_auth_free(&auth);
}

/* The octets alone on the heap, so that ASan sees a read beyond them. */
static ssize_t feed_octets(const char *octets, size_t len, int64_t now_ms)
{
	char *copy = rst_malloc(len);
	ssize_t ret;

	memcpy(copy, octets, len);
	ret = rst_auth_recv(auth, copy, len, now_ms);
	memset(copy, '!', len);
	free(copy);
	return ret;
}

static ssize_t feed(const char *text, int64_t now_ms)
{
	return feed_octets(text, strlen(text), now_ms);
}

static void expect_output(const char *want)
{
	struct rst_str out;

	out.p = rst_auth_output(auth, &out.n);
	ck_assert_rst_str_eq(out, want);
	rst_auth_sent(auth, out.n);
}

static struct rst_auth_event expect_event(enum rst_auth_event_type type,
					  uint32_t id)
{
	struct rst_auth_event ev;

	ck_assert(rst_auth_next(auth, &ev));
	ck_assert_int_eq(ev.type, type);
	ck_assert_uint_eq(ev.id, id);
	ck_assert_ptr_nonnull(ev.challenge.p);
	ck_assert_ptr_nonnull(ev.user.p);
	ck_assert_ptr_nonnull(ev.reason.p);
	return ev;
}

static void expect_no_event(void)
{
	struct rst_auth_event ev;

	ck_assert(!rst_auth_next(auth, &ev));
}

static void handshake(void)
{
	ck_assert_int_gt(feed(HANDSHAKE, 0), 0);
	(void)expect_event(RST_AUTH_READY, 0);
	expect_output(HELLO);
}

static ssize_t start(const char *mechanism, const char *initial, int64_t now_ms)
{
	struct rst_auth_request req = {
		.service = "restante",
		.mechanism = rst_str(mechanism),
		.initial = rst_str(initial),
		.has_initial = initial != NULL,
		.remote_ip = RST_STR(""),
		.local_ip = RST_STR(""),
	};

	return rst_auth_start(auth, &req, now_ms);
}

START_TEST(test_handshake)
{
	expect_output(HELLO);
	ck_assert_str_eq(rst_auth_mechanisms(auth), "");
	ck_assert_int_eq(rst_auth_deadline(auth), 5000);
	expect_no_event();
	ck_assert_int_eq(feed(HANDSHAKE, 0), (ssize_t)strlen(HANDSHAKE));
	(void)expect_event(RST_AUTH_READY, 0);
	expect_no_event();
	ck_assert_str_eq(rst_auth_mechanisms(auth),
			 "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256");
	ck_assert_int_eq(rst_auth_deadline(auth), -1);
	rst_auth_tick(auth, 100000);
	ck_assert_int_eq(feed("", 100000), 0);
	expect_output("");
}
END_TEST

static const struct {
	const char *lines;
	const char *want; /* NULL: refused */
} handshakes[] = {
	{"VERSION\t1\t2\nMECH\tPLAIN\nDONE\n", "PLAIN"},
	/* later minor versions, and their new words */
	{"VERSION\t1\t99\nNEWS\tfrom\t2.5\n\nMECH\tPLAIN\tnew\nDONE\textra\n",
	 "PLAIN"},
	{"VERSION\t1\t2\t3\nMECH\tPLAIN\nDONE\n", "PLAIN"},
	{"VERSION\t1\t2\nDONE\n", ""},
	{"VERSION\t1\t2\nMECH\tPLAIN\nMECH\tPLAIN\nDONE\n", "PLAIN"},
	/* mechanisms that cannot be used */
	{"VERSION\t1\t2\nMECH\tGSSAPI\nMECH\tGSS-SPNEGO\nMECH\tNTLM\n"
	 "MECH\tEXTERNAL\nMECH\tSCRAM-SHA-1-PLUS\nMECH\tAPOP\tprivate\n"
	 "MECH\tX\tplaintext\tanonymous\nMECH\tXOAUTH2\nDONE\n",
	 "XOAUTH2"},
	/* names that must not stand in a reply to EHLO */
	{"VERSION\t1\t2\nMECH\tplain\nMECH\t\nMECH\tA B\nMECH\tA\r\n"
	 "MECH\tABCDEFGHIJKLMNOPQRSTU\nMECH\tABCDEFGHIJKLMNOPQRST\nDONE\n",
	 "ABCDEFGHIJKLMNOPQRST"},
	{"VERSION\t2\t0\n", NULL},
	{"VERSION\t1\n", NULL},
	{"VERSION\t1\tx\n", NULL},
	{"VERSION\n", NULL},
	{"\n", NULL},
	{"MECH\tPLAIN\nVERSION\t1\t2\nDONE\n", NULL},
	{"VERSION\t1\t2\nMECH\nDONE\n", NULL},
	{"* OK IMAP4rev1 ready\n", NULL},
};

START_TEST(test_handshakes)
{
	ssize_t used = feed(handshakes[_i].lines, 0);

	if (handshakes[_i].want == NULL) {
		ck_assert_int_eq(used, RST_EPROTO);
		ck_assert_int_eq(feed(HANDSHAKE, 0), RST_EPROTO);
		ck_assert_int_eq(start("PLAIN", NULL, 0), RST_ETEMP);
		ck_assert_int_eq(rst_auth_deadline(auth), -1);
		expect_no_event();
		return;
	}
	ck_assert_int_eq(used, (ssize_t)strlen(handshakes[_i].lines));
	(void)expect_event(RST_AUTH_READY, 0);
	ck_assert_str_eq(rst_auth_mechanisms(auth), handshakes[_i].want);
}
END_TEST

START_TEST(test_handshake_timeout)
{
	ck_assert_int_gt(feed("VERSION\t1\t2\n", 10), 0);
	rst_auth_tick(auth, 4999);
	ck_assert_int_eq(feed("", 4999), 0);
	rst_auth_tick(auth, 5000);
	ck_assert_int_eq(feed("", 5000), RST_EPROTO);
	ck_assert_int_eq(rst_auth_deadline(auth), -1);
	ck_assert_int_eq(feed("DONE\n", 5001), RST_EPROTO);
	expect_no_event();
}
END_TEST

START_TEST(test_too_many_mechanisms)
{
	char line[40];
	ssize_t used = feed("VERSION\t1\t2\n", 0);
	int i;

	for (i = 0; i < 1000 && used > 0; i++) {
		(void)snprintf(line, sizeof(line), "MECH\tM%d\n", i);
		used = feed(line, 0);
	}
	ck_assert_int_eq(used, RST_ELIMIT);
}
END_TEST

/* A request, and the line that Dovecot gets; NULL: refused. */
static const struct {
	struct rst_auth_request req;
	const char *want;
} requests[] = {
#define S(literal)                              \
	{                                       \
		"" literal, sizeof(literal) - 1 \
	}
#define BASIC .service = "restante", .mechanism = S("PLAIN")
	{{BASIC, S("AGEAYg=="), true, S(""), S(""), 0, 0},
	 START "\tresp=AGEAYg==\n"},
	{{BASIC, S(""), false, S(""), S(""), 0, 0}, START "\n"},
	/* an empty response differs from none */
	{{BASIC, S(""), true, S(""), S(""), 0, 0}, START "\tresp=\n"},
	{{BASIC, S("AA=="), false, S(""), S(""), 0, 0}, START "\n"},
	/* resp comes last */
	{{BASIC, S("AA=="), true, S("192.0.2.9"), S("198.51.100.1"), 40000,
	  443},
	 START "\tlip=198.51.100.1\trip=192.0.2.9\tlport=443\trport=40000"
	       "\tresp=AA==\n"},
	{{BASIC, S(""), false, S("2001:db8::9"), S("::ffff:192.0.2.1"), 1, 0},
	 START "\tlip=::ffff:192.0.2.1\trip=2001:db8::9\trport=1\n"},
	{{.service = "a\tb\001c\nd\re", .mechanism = S("PLAIN")},
	 "AUTH\t1\tPLAIN\tservice=a\001tb\0011c\001nd\001re\tsecured=tls\n"},
	/* no request adds a field, or a line */
	{{BASIC, S("AA==\tuser=root"), true, S(""), S(""), 0, 0}, NULL},
	{{BASIC, S("AA==\nCANCEL\t1"), true, S(""), S(""), 0, 0}, NULL},
	{{BASIC,
	  S("AA=="
	    "\0"),
	  true, S(""), S(""), 0, 0},
	 NULL},
	{{BASIC, S("AA"), true, S(""), S(""), 0, 0}, NULL},
	{{BASIC, S("="), true, S(""), S(""), 0, 0}, NULL},
	{{BASIC, S(""), false, S("192.0.2.9\tno-penalty"), S(""), 0, 0}, NULL},
	{{BASIC, S(""), false, S("host.example"), S(""), 0, 0}, NULL},
	{{BASIC, S(""), false, S(""), S("1\n"), 0, 0}, NULL},
	{{.service = "restante", .mechanism = S("plain")}, NULL},
	{{.service = "restante", .mechanism = S("")}, NULL},
	{{.service = "restante", .mechanism = S("PLAIN\tdebug")}, NULL},
	{{.service = "restante", .mechanism = S("PLAIN LOGIN")}, NULL},
	{{.service = "restante", .mechanism = S("ABCDEFGHIJKLMNOPQRSTU")},
	 NULL},
	/* not on offer: Dovecot would close the connection */
	{{.service = "restante", .mechanism = S("OTP")}, NULL},
	{{.service = "restante", .mechanism = S("EXTERNAL")}, NULL},
	{{.service = "restante", .mechanism = S("PLAI")}, NULL},
#undef BASIC
#undef S
};

START_TEST(test_request)
{
	struct rst_auth_request req = requests[_i].req;

	handshake();
	ck_assert_int_eq(rst_auth_start(auth, &req, 0),
			 requests[_i].want == NULL ? RST_EPERM : 1);
	expect_output(requests[_i].want == NULL ? "" : requests[_i].want);
}
END_TEST

/* A line that is too long for Dovecot is never sent: a service name of one
   octet more makes it so. */
START_TEST(test_longest_request)
{
	static const char service[] = "restante12345678";
	size_t fixed = strlen("AUTH\t1\tPLAIN\tservice=\tsecured=tls\tresp=\n");
	size_t len = (16384 - fixed - strlen("restante")) / 4 * 4;
	size_t spare = 16384 - fixed - len;
	char *octets = rst_malloc(len);
	struct rst_auth_request req = {
		.service = service + strlen(service) - spare,
		.mechanism = RST_STR("PLAIN"),
		.initial = {octets, len},
		.has_initial = true,
	};

	memset(octets, 'A', len);
	handshake();
	ck_assert_int_eq(rst_auth_start(auth, &req, 0), 1);
	(void)rst_auth_output(auth, &len);
	ck_assert_uint_eq(len, 16384);
	rst_auth_sent(auth, len);
	req.service--;
	ck_assert_int_eq(rst_auth_start(auth, &req, 0), RST_EPERM);
	expect_output("");
	free(octets);
}
END_TEST

/* Before READY nothing goes out; then in order, if it is on offer. */
START_TEST(test_queued)
{
	struct rst_auth_event ev;

	ck_assert_int_eq(start("PLAIN", "AA==", 100), 1);
	ck_assert_int_eq(start("OTP", NULL, 200), 2);
	ck_assert_int_eq(start("LOGIN", NULL, 300), 3);
	ck_assert_int_eq(start("LOGIN", NULL, 300), RST_ETEMP);
	expect_output(HELLO);
	ck_assert_int_eq(rst_auth_deadline(auth), 5000);
	ck_assert_int_gt(feed(HANDSHAKE, 4000), 0);
	expect_output(START "\tresp=AA==\n"
			    "AUTH\t3\tLOGIN\tservice=restante\tsecured=tls\n");
	(void)expect_event(RST_AUTH_READY, 0);
	ev = expect_event(RST_AUTH_FAILED, 2);
	ck_assert(!ev.temporary);
	ck_assert_rst_str_eq(ev.reason, "mechanism not offered");
	expect_no_event();
	ck_assert_int_eq(rst_auth_deadline(auth), 34000);
}
END_TEST

START_TEST(test_queued_timeout)
{
	struct rst_auth_limits hasty = limits;

	rst_auth_free(&auth);
	hasty.request_timeout_ms = 1000;
	auth = rst_auth_new(&hasty, 0);
	expect_output(HELLO);
	ck_assert_int_eq(start("PLAIN", NULL, 100), 1);
	ck_assert_int_eq(rst_auth_deadline(auth), 1100);
	rst_auth_tick(auth, 1100);
	ck_assert(expect_event(RST_AUTH_FAILED, 1).temporary);
	ck_assert_int_gt(feed(HANDSHAKE, 1200), 0);
	expect_output("");
}
END_TEST

static void expect_auth(uint32_t id)
{
	char want[64];

	(void)snprintf(want, sizeof(want),
		       "AUTH\t%u\tPLAIN\tservice=restante\tsecured=tls\n", id);
	expect_output(want);
}

/* Allow many exchanges at once, and start the first. */
static void start_crowd(void)
{
	struct rst_auth_limits crowd = limits;

	rst_auth_free(&auth);
	crowd.max_requests = 100;
	auth = rst_auth_new(&crowd, 0);
	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 0), 1);
}

/* While passwords are expensive, waiting exchanges cost Dovecot nothing. */
START_TEST(test_slow)
{
	uint32_t id;

	start_crowd();
	expect_auth(1);
	ck_assert_int_gt(feed("OK\t1\tuser=a\n", 50), 0);
	(void)expect_event(RST_AUTH_OK, 1);

	ck_assert_int_eq(start("PLAIN", NULL, 100), 2);
	expect_auth(2);
	ck_assert_int_eq(start("PLAIN", NULL, 100), 3);
	expect_auth(3);
	for (id = 4; id <= 9; id++)
		ck_assert_int_eq(start("PLAIN", NULL, 200), id);
	expect_output("");

	/* any answer makes room, and so does a cancelled exchange */
	ck_assert_int_gt(feed("FAIL\t2\tuser=a\n", 300), 0);
	(void)expect_event(RST_AUTH_FAILED, 2);
	expect_auth(4);
	ck_assert_int_eq(rst_auth_deadline(auth), 30100);
	rst_auth_cancel(auth, 3);
	expect_output("CANCEL\t3\n");
	ck_assert_int_le(rst_auth_deadline(auth), 300);
	rst_auth_tick(auth, 400);
	expect_auth(5);
	rst_auth_cancel(auth, 6);
	expect_output("");

	/* waiting exchanges time out, and Dovecot never hears of them */
	ck_assert_int_eq(rst_auth_deadline(auth), 30200);
	rst_auth_tick(auth, 30200);
	for (id = 7; id <= 9; id++)
		ck_assert(expect_event(RST_AUTH_FAILED, id).temporary);
	expect_no_event();
	expect_output("");
}
END_TEST

START_TEST(test_quick_again)
{
	uint32_t id;

	start_crowd();
	ck_assert_int_gt(feed("OK\t1\tuser=a\n", 60), 0);
	(void)expect_event(RST_AUTH_OK, 1);
	for (id = 2; id <= 5; id++)
		ck_assert_int_eq(start("PLAIN", NULL, 100), id);
	/* a delayed answer to a wrong password does not count as slow */
	ck_assert_int_gt(feed("OK\t2\tuser=a\n", 110), 0);
	(void)expect_event(RST_AUTH_OK, 2);
	ck_assert_int_gt(feed("FAIL\t3\tuser=a\n", 5000), 0);
	(void)expect_event(RST_AUTH_FAILED, 3);
	expect_output("AUTH\t1\tPLAIN\tservice=restante\tsecured=tls\n"
		      "AUTH\t2\tPLAIN\tservice=restante\tsecured=tls\n"
		      "AUTH\t3\tPLAIN\tservice=restante\tsecured=tls\n"
		      "AUTH\t4\tPLAIN\tservice=restante\tsecured=tls\n"
		      "AUTH\t5\tPLAIN\tservice=restante\tsecured=tls\n");
	ck_assert_int_eq(start("PLAIN", NULL, 5000), 6);
	expect_auth(6);
}
END_TEST

/* Dovecot's answer to exchange 1, and the event. */
static const struct {
	const char *line;
	enum rst_auth_event_type type;
	bool temporary;
	const char *user, *reason, *challenge;
} answers[] = {
	{"OK\t1\tuser=bob@example.test", RST_AUTH_OK, false, "bob@example.test",
	 "", ""},
	{"OK\t1\toriginal_user=Bob\tuser=bob\tauth_user=boss\tx", RST_AUTH_OK,
	 false, "bob", "", ""},
	{"OK\t1\tuser=b\001tb\0011\001", RST_AUTH_FAILED, true, NULL,
	 "no usable user name from auth", ""},
	{"OK\t1\tuser=b\xc3\xa9 =b", RST_AUTH_OK, false, "b\xc3\xa9 =b", "",
	 ""},
	{"OK\t1\tuser=bob\tresp=AAAA", RST_AUTH_OK, false, "bob", "", ""},
	{"OK\t1", RST_AUTH_FAILED, true, "", "no usable user name from auth",
	 ""},
	{"OK\t1\tuser=", RST_AUTH_FAILED, true, "",
	 "no usable user name from auth", ""},
	/* another server, or none, would have checked the password */
	{"OK\t1\tuser=bob\tproxy\thost=10.0.0.1", RST_AUTH_FAILED, true, "bob",
	 "account is on another server", ""},
	{"OK\t1\tuser=bob\tproxy=y\tnologin", RST_AUTH_FAILED, true, "bob",
	 "account is on another server", ""},
	{"OK\t1\tuser=bob\tproxy_maybe=n", RST_AUTH_OK, false, "bob", "", ""},
	{"OK\t1\tuser=anon\tanonymous", RST_AUTH_FAILED, false, "anon",
	 "anonymous login", ""},
	{"OK\t1\tuser=bob\tnologin\treason=closed for now", RST_AUTH_FAILED,
	 false, "bob", "closed for now", ""},
	{"OK\t1\tuser=bob\tnologin", RST_AUTH_FAILED, false, "bob",
	 "account may not log in", ""},
	{"FAIL\t1", RST_AUTH_FAILED, false, "", "", ""},
	{"FAIL\t1\tuser=bob", RST_AUTH_FAILED, false, "bob", "", ""},
	{"FAIL\t1\tuser=bob\tcode=temp_fail", RST_AUTH_FAILED, true, "bob",
	 "temp_fail", ""},
	{"FAIL\t1\tuser=bob\ttemp", RST_AUTH_FAILED, true, "bob", "", ""},
	{"FAIL\t1\tuser=bob\tauthz\tcode=authz_fail", RST_AUTH_FAILED, false,
	 "bob", "authz_fail", ""},
	{"FAIL\t1\tuser=bob\tcode=user_disabled", RST_AUTH_FAILED, false, "bob",
	 "user_disabled", ""},
	{"FAIL\t1\tuser=bob\tcode=pass_expired", RST_AUTH_FAILED, false, "bob",
	 "pass_expired", ""},
	{"FAIL\t1\tcode=invalid_base64\treason=Invalid\001tbase64",
	 RST_AUTH_FAILED, false, "", "Invalid\tbase64", ""},
	{"FAIL\t1\treason=", RST_AUTH_FAILED, false, "", "", ""},
	{"FAIL\t1\ttemperature=hot\tcode=temp_failure", RST_AUTH_FAILED, false,
	 "", "temp_failure", ""},
	{"CONT\t1\tPDEyM0B2bT4=", RST_AUTH_CONTINUE, false, "", "",
	 "PDEyM0B2bT4="},
	{"CONT\t1\t", RST_AUTH_CONTINUE, false, "", "", ""},
};

static void expect_answer(int i)
{
	struct rst_auth_event ev = expect_event(answers[i].type, 1);

	ck_assert(ev.temporary == answers[i].temporary);
	if (answers[i].user != NULL)
		ck_assert_rst_str_eq(ev.user, answers[i].user);
	ck_assert_rst_str_eq(ev.reason, answers[i].reason);
	ck_assert_rst_str_eq(ev.challenge, answers[i].challenge);
	expect_no_event();
}

START_TEST(test_answer)
{
	size_t len = strlen(answers[_i].line);
	char *line = rst_calloc(1, len + 2);

	handshake();
	ck_assert_int_eq(start("PLAIN", "AA==", 0), 1);
	ck_assert_int_eq(feed_octets(answers[_i].line, len, 10), 0);
	expect_no_event();
	ck_assert_int_gt(feed("OK\t2\tuser=other\n", 10), 0);
	expect_no_event();
	memcpy(line, answers[_i].line, len);
	line[len] = '\n';
	ck_assert_int_eq(feed(line, 10), (ssize_t)len + 1);
	free(line);
	expect_answer(_i);
}
END_TEST

/* From the handshake on, cut once at every octet. */
START_TEST(test_cut)
{
	char input[1000];
	size_t total, cut;

	(void)snprintf(input, sizeof(input), "%s%s\n", HANDSHAKE,
		       answers[_i].line);
	total = strlen(input);
	for (cut = 0; cut <= total; cut++) {
		ssize_t used;

		teardown();
		setup();
		ck_assert_int_eq(start("PLAIN", "AA==", 0), 1);
		used = feed_octets(input, cut, 0);
		ck_assert_int_ge(used, 0);
		ck_assert_int_eq(feed(input + used, 0), (ssize_t)total - used);
		expect_output(HELLO START "\tresp=AA==\n");
		(void)expect_event(RST_AUTH_READY, 0);
		expect_answer(_i);
	}
}
END_TEST

/* Lines that Dovecot never sends. */
static const char *const faults[] = {
	"OK\n",
	"OK\t\n",
	"OK\tone\tuser=bob\n",
	"OK\t0\tuser=bob\n",
	"FAIL\t-1\n",
	"FAIL\t4294967296\n",
	"CONT\t1\n",
	"CONT\t1\tnot base64\n",
	"CONT\t1\tAA\n",
	"CONT\t1\tAA==\r\n",
};

START_TEST(test_fault)
{
	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 0), 1);
	ck_assert_int_eq(feed(faults[_i], 0), RST_EPROTO);
	ck_assert_int_eq(feed("", 0), RST_EPROTO);
	expect_no_event();
}
END_TEST

/* Events from before a fault can be pulled. */
START_TEST(test_fault_after_answer)
{
	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 0), 1);
	ck_assert_int_eq(start("LOGIN", NULL, 0), 2);
	ck_assert_int_eq(feed("OK\t1\tuser=bob\nOK\n", 0), RST_EPROTO);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_OK, 1).user, "bob");
	expect_no_event();
}
END_TEST

START_TEST(test_unknown_words)
{
	handshake();
	ck_assert_int_gt(feed("\nNEWS\t1\tx\nOKAY\t1\nOK\t77\tuser=x\n"
			      "CONT\t77\t!\nFAIL\t77\n",
			      0),
			 0);
	expect_no_event();
}
END_TEST

START_TEST(test_continue)
{
	handshake();
	ck_assert_int_eq(start("CRAM-MD5", NULL, 0), 1);
	/* not the client's turn */
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR("AA=="), 0),
			 RST_EPERM);
	expect_output("AUTH\t1\tCRAM-MD5\tservice=restante\tsecured=tls\n");
	ck_assert_int_gt(feed("CONT\t1\tPDE+\n", 10), 0);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_CONTINUE, 1).challenge,
			     "PDE+");
	/* no timer runs while the client has to answer */
	ck_assert_int_eq(rst_auth_deadline(auth), -1);
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR("AA==\t"), 20),
			 RST_EPERM);
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR("*"), 20),
			 RST_EPERM);
	ck_assert_int_eq(rst_auth_continue(auth, 2, RST_STR("AA=="), 20),
			 RST_EPERM);
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR("AA=="), 20), 0);
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR("AA=="), 20),
			 RST_EPERM);
	ck_assert_int_eq(rst_auth_deadline(auth), 30020);
	/* SCRAM's last step: a challenge, and an empty response */
	ck_assert_int_gt(feed("CONT\t1\t\n", 30), 0);
	(void)expect_event(RST_AUTH_CONTINUE, 1);
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR(""), 40), 0);
	expect_output("CONT\t1\tAA==\nCONT\t1\t\n");
	ck_assert_int_gt(feed("OK\t1\tuser=bob\n", 50), 0);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_OK, 1).user, "bob");
	ck_assert_int_eq(rst_auth_continue(auth, 1, RST_STR(""), 60),
			 RST_EPERM);
}
END_TEST

/* Before the client has answered, Dovecot may not confirm or challenge; it may
   fail the exchange. */
START_TEST(test_not_its_turn)
{
	static const char *const lines[] = {"OK\t1\tuser=bob\n",
					    "CONT\t1\tAA==\n", "FAIL\t1\n"};

	handshake();
	ck_assert_int_eq(start("CRAM-MD5", NULL, 0), 1);
	ck_assert_int_gt(feed("CONT\t1\tPDE+\n", 10), 0);
	(void)expect_event(RST_AUTH_CONTINUE, 1);
	if (_i < 2) {
		ck_assert_int_eq(feed(lines[_i], 20), RST_EPROTO);
		expect_no_event();
	} else {
		ck_assert_int_gt(feed(lines[_i], 20), 0);
		(void)expect_event(RST_AUTH_FAILED, 1);
	}
}
END_TEST

/* One read may bring a challenge and, behind it, the answer to the response:
   that waits until the challenge was pulled. Lines before it do not wait. */
START_TEST(test_challenge_first)
{
	static const char lines[] = "CONT\t1\t\nOK\t2\tuser=eve\nFAIL\t1\n";
	ssize_t taken;

	handshake();
	ck_assert_int_eq(start("LOGIN", NULL, 0), 1);
	ck_assert_int_eq(start("PLAIN", NULL, 0), 2);
	taken = feed(lines, 10);
	ck_assert_int_eq(taken, (ssize_t)strlen(lines) - 7);
	ck_assert_int_eq(feed(lines + taken, 10), 0);
	(void)expect_event(RST_AUTH_CONTINUE, 1);
	(void)expect_event(RST_AUTH_OK, 2);
	ck_assert_int_eq(feed(lines + taken, 10), 7);
	(void)expect_event(RST_AUTH_FAILED, 1);
	expect_no_event();
}
END_TEST

START_TEST(test_continue_too_long)
{
	char *octets = rst_malloc(16384);

	memset(octets, 'A', 16384);
	handshake();
	ck_assert_int_eq(start("LOGIN", NULL, 0), 1);
	ck_assert_int_gt(feed("CONT\t1\t\n", 10), 0);
	(void)expect_event(RST_AUTH_CONTINUE, 1);
	ck_assert_int_eq(
		rst_auth_continue(auth, 1, (struct rst_str){octets, 16384}, 20),
		RST_EPERM);
	free(octets);
}
END_TEST

START_TEST(test_timeout)
{
	struct rst_auth_event ev;

	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 100), 1);
	ck_assert_int_eq(start("PLAIN", NULL, 200), 2);
	ck_assert_int_eq(rst_auth_deadline(auth), 30100);
	rst_auth_tick(auth, 30099);
	expect_no_event();
	rst_auth_tick(auth, 30100);
	ev = expect_event(RST_AUTH_FAILED, 1);
	ck_assert(ev.temporary);
	ck_assert_rst_str_eq(ev.reason, "no answer from auth in time");
	expect_no_event();
	ck_assert_int_eq(rst_auth_deadline(auth), 30200);
	expect_output("AUTH\t1\tPLAIN\tservice=restante\tsecured=tls\n"
		      "AUTH\t2\tPLAIN\tservice=restante\tsecured=tls\n"
		      "CANCEL\t1\n");
	/* too late for one, and not for the other */
	ck_assert_int_gt(feed("OK\t1\tuser=bob\nOK\t2\tuser=eve\n", 30150), 0);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_OK, 2).user, "eve");
	expect_no_event();
}
END_TEST

/* The time-out was not pulled yet when the answer came: still one event. */
START_TEST(test_timeout_then_answer)
{
	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 0), 1);
	rst_auth_tick(auth, 30000);
	ck_assert_int_gt(feed("OK\t1\tuser=bob\n", 30000), 0);
	(void)expect_event(RST_AUTH_FAILED, 1);
	expect_no_event();
}
END_TEST

/* Cancelled in each state: no event comes, and Dovecot is told if it knows the
   exchange. */
START_TEST(test_cancel)
{
	static const char *const told[] = {"", "CANCEL\t1\n", "CANCEL\t1\n", "",
					   "CANCEL\t1\n"};
	struct rst_auth_event ev;
	size_t len;

	if (_i > 0)
		handshake();
	ck_assert_int_eq(start("LOGIN", NULL, 0), 1);
	if (_i == 2 || _i == 4)
		ck_assert_int_gt(feed("CONT\t1\t\n", 0), 0);
	if (_i == 2)
		(void)expect_event(RST_AUTH_CONTINUE, 1);
	if (_i == 3)
		ck_assert_int_gt(feed("OK\t1\tuser=bob\n", 0), 0);
	(void)rst_auth_output(auth, &len);
	rst_auth_sent(auth, len);
	rst_auth_cancel(auth, 1);
	rst_auth_cancel(auth, 1);
	rst_auth_cancel(auth, 99);
	expect_output(told[_i]);
	ck_assert(!rst_auth_next(auth, &ev));
	rst_auth_tick(auth, 4000);
	if (_i > 0)
		ck_assert_int_gt(feed("OK\t1\tuser=bob\n", 0), 0);
	ck_assert(!rst_auth_next(auth, &ev));
	/* its place is free */
	ck_assert_int_eq(start("LOGIN", NULL, 0), 2);
	ck_assert_int_eq(start("LOGIN", NULL, 0), 3);
	ck_assert_int_eq(start("LOGIN", NULL, 0), 4);
	ck_assert_int_eq(start("LOGIN", NULL, 0), RST_ETEMP);
}
END_TEST

/* Dovecot answers in another order than it was asked. */
START_TEST(test_many)
{
	handshake();
	ck_assert_int_eq(start("PLAIN", NULL, 0), 1);
	ck_assert_int_eq(start("PLAIN", NULL, 0), 2);
	ck_assert_int_eq(start("PLAIN", NULL, 0), 3);
	ck_assert_int_eq(start("PLAIN", NULL, 0), RST_ETEMP);
	ck_assert_int_gt(feed("FAIL\t3\tuser=c\nOK\t1\tuser=a\n", 0), 0);
	/* an event that was not pulled keeps its place */
	ck_assert_int_eq(start("PLAIN", NULL, 0), RST_ETEMP);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_FAILED, 3).user, "c");
	ck_assert_rst_str_eq(expect_event(RST_AUTH_OK, 1).user, "a");
	ck_assert_int_eq(start("PLAIN", NULL, 0), 4);
	ck_assert_int_gt(feed("OK\t2\tuser=b\n", 0), 0);
	ck_assert_rst_str_eq(expect_event(RST_AUTH_OK, 2).user, "b");
}
END_TEST

START_TEST(test_long_line)
{
	size_t len = 16386;
	char *line = rst_malloc(len);

	memset(line, 'x', len);
	handshake();
	ck_assert_int_eq(feed_octets(line, 16384, 0), 0);
	if (_i == 0) {
		ck_assert_int_eq(feed_octets(line, 16385, 0), RST_ELIMIT);
	} else if (_i == 1) {
		line[16385] = '\n';
		ck_assert_int_eq(feed_octets(line, len, 0), RST_ELIMIT);
	} else {
		line[16384] = '\n';
		ck_assert_int_eq(feed_octets(line, 16385, 0), 16385);
	}
	free(line);
}
END_TEST

/* A password that was sent is not in memory any more. */
START_TEST(test_wiped)
{
	const char *out;
	size_t len, i;

	handshake();
	ck_assert_int_eq(start("PLAIN", "AGJvYgBzZWNyZXQ=", 0), 1);
	out = rst_auth_output(auth, &len);
	rst_auth_sent(auth, len - 1);
	for (i = 0; i < len - 1; i++)
		ck_assert_int_eq(out[i], '\0');
	expect_output("\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("auth");
	TCase *tc = tcase_create("auth");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_handshake);
	tcase_add_loop_test(tc, test_handshakes, 0, N_ELEMENTS(handshakes));
	tcase_add_test(tc, test_handshake_timeout);
	tcase_add_test(tc, test_too_many_mechanisms);
	tcase_add_loop_test(tc, test_request, 0, N_ELEMENTS(requests));
	tcase_add_test(tc, test_longest_request);
	tcase_add_test(tc, test_queued);
	tcase_add_test(tc, test_queued_timeout);
	tcase_add_test(tc, test_slow);
	tcase_add_test(tc, test_quick_again);
	tcase_add_loop_test(tc, test_answer, 0, N_ELEMENTS(answers));
	tcase_add_loop_test(tc, test_cut, 0, N_ELEMENTS(answers));
	tcase_add_loop_test(tc, test_fault, 0, N_ELEMENTS(faults));
	tcase_add_test(tc, test_fault_after_answer);
	tcase_add_test(tc, test_unknown_words);
	tcase_add_test(tc, test_continue);
	tcase_add_loop_test(tc, test_not_its_turn, 0, 3);
	tcase_add_test(tc, test_challenge_first);
	tcase_add_test(tc, test_continue_too_long);
	tcase_add_test(tc, test_timeout);
	tcase_add_test(tc, test_timeout_then_answer);
	tcase_add_loop_test(tc, test_cancel, 0, 5);
	tcase_add_test(tc, test_many);
	tcase_add_loop_test(tc, test_long_line, 0, 3);
	tcase_add_test(tc, test_wiped);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
