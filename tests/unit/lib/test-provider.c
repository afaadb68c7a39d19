/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <stdio.h>

#include "provider-run.h"

static const struct rst_provider_limits limits = PROVIDER_RUN_LIMITS;

#define GREETING "220 mx ESMTP Restante\r\n"
#define EHLO_REPLY                                          \
	"250-mx\r\n250-AUTH PLAIN CRAM-MD5\r\n250-ATRN\r\n" \
	"250 ENHANCEDSTATUSCODES\r\n"
#define R235 "235 2.7.0 Authentication succeeded\r\n"
#define R250 "250 2.0.0 OK\r\n"
#define R250_TURN "250 2.0.0 OK, now reversing the connection\r\n"
#define R421_BAD "421 4.7.0 Too many errors\r\n"
#define R454 "454 4.7.0 Temporary authentication failure\r\n"
#define R500 "500 5.5.2 Unknown command\r\n"
#define R500_SYNTAX "500 5.5.2 Syntax error\r\n"
#define R500_OCTETS "500 5.5.2 CR and LF only together, and no NUL\r\n"
#define R500_LONG "500 5.5.6 Line too long\r\n"
#define R501_CANCEL "501 5.7.0 Authentication cancelled\r\n"
#define R501_DECODE "501 5.5.2 Cannot decode\r\n"
#define R501_HOST "501 5.5.4 Hostname missing\r\n"
#define R502 "502 5.5.1 Command not implemented\r\n"
#define R503_EHLO "503 5.5.1 Say EHLO first\r\n"
#define R503_AUTH "503 5.5.1 Already authenticated\r\n"
#define R504 "504 5.5.4 Mechanism not supported\r\n"
#define R530 "530 5.7.0 Authentication required\r\n"
#define R535 "535 5.7.8 Authentication credentials invalid\r\n"

static const struct {
	struct rst_str input;
	const char *answers;
	const char *log; /* after the greeting */
} scripts[] = {
	/* the main job */
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\r\n"), "o",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R235 "<ATRN>" R250_TURN
		    "<TURNED>"},
	{RST_STR("ehlo c\r\nauth plain AGEAYg==\r\natrn a.example,b\r\n"), "o",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R235
		    "<ATRN a.example,b>" R250_TURN "<TURNED>"},
	/* octets behind the turnaround are left to rst_push */
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\r\n220 me\r\n"), "o",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R235 "<ATRN>" R250_TURN
		    "<TURNED><8 left>"},
	/* and are passed over if there is no turnaround */
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\r\n220 me\r\n"
		 "250-me\r\n250-A\r\n250-B\r\n250 C\r\nQUIT\r\n"),
	 "r",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R535 R530
		    "221 2.0.0 Bye\r\n<CLOSE>"},
	/* no octet is looked at while a question is open */
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\n\0"), "-",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]><6 left>"},
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\r\nQUIT\r\n"), "o-",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R235 "<ATRN><6 left>"},
	/* ATRN: no, not now, not at all */
	{RST_STR("ATRN\r\nEHLO c\r\nATRN a\r\n"), "o", R530 EHLO_REPLY R530},
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN\r\nATRN\r\nQUIT\r\n"),
	 "otr",
	 EHLO_REPLY
	 "<AUTH PLAIN [AGEAYg==]>" R235
	 "<ATRN>451 4.3.0 Unable to process ATRN request now\r\n"
	 "<ATRN>450 4.7.1 ATRN request refused\r\n221 2.0.0 Bye\r\n<CLOSE>"},
	{RST_STR("EHLO c\r\nAUTH PLAIN AGEAYg==\r\nATRN a\x1b[2J\r\n"), "o",
	 EHLO_REPLY "<AUTH PLAIN [AGEAYg==]>" R235 "501 5.5.4 Bad domain\r\n"},
	/* AUTH, step by step */
	{RST_STR("EHLO c\r\nAUTH CRAM-MD5\r\nZm9v\r\nATRN\r\n"), "co",
	 EHLO_REPLY "<AUTH CRAM-MD5>334 Pz8/\r\n<CONTINUE [Zm9v]>" R235
		    "<ATRN>" R250_TURN "<TURNED>"},
	{RST_STR("EHLO c\r\nAUTH PLAIN =\r\n\r\nNOOP\r\n"), "cr",
	 EHLO_REPLY "<AUTH PLAIN []>334 Pz8/\r\n<CONTINUE []>" R535 R250},
	{RST_STR("EHLO c\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n"), "c",
	 EHLO_REPLY "<AUTH PLAIN>334 Pz8/\r\n" R501_CANCEL "<CANCEL>" R250},
	{RST_STR("EHLO c\r\nAUTH PLAIN\r\n=\r\nAUTH PLAIN\r\nA\tB=\r\n"), "c",
	 EHLO_REPLY "<AUTH PLAIN>334 Pz8/\r\n" R501_DECODE
		    "<CANCEL><AUTH PLAIN>334 Pz8/\r\n" R501_DECODE "<CANCEL>"},
	{RST_STR("EHLO c\r\nAUTH PLAIN\r\nATRN\r\nQUIT\r\n"), "co",
	 /* "ATRN" is base64, and no command, here */
	 EHLO_REPLY "<AUTH PLAIN>334 Pz8/\r\n<CONTINUE [ATRN]>" R235
		    "221 2.0.0 Bye\r\n<CLOSE>"},
	/* AUTH, refused without asking the caller */
	{RST_STR("AUTH PLAIN AGEAYg==\r\nHELO c\r\nAUTH PLAIN =\r\n"), "o",
	 R503_EHLO "250 mx\r\n" R503_EHLO},
	{RST_STR("EHLO c\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\n"), "o",
	 EHLO_REPLY "<AUTH PLAIN []>" R235 R503_AUTH},
	{RST_STR("EHLO c\r\nAUTH LOGIN =\r\nAUTH PLAI\r\nAUTH PLAIN\t=\r\n"),
	 "o", EHLO_REPLY R504 R504 R504},
	{RST_STR("EHLO c\r\nAUTH\r\nAUTH PLAIN Zg=\r\nAUTH PLAIN Zg== x\r\n"),
	 "o",
	 EHLO_REPLY "501 5.5.4 Mechanism missing\r\n" R501_DECODE R501_DECODE},
	{RST_STR("EHLO c\r\nAUTH PLAIN Zg==\tcert_username=root\r\n"), "o",
	 EHLO_REPLY R501_DECODE},
	/* wrong passwords */
	{RST_STR("EHLO c\r\nAUTH PLAIN =\r\nATRN\r\nAUTH PLAIN =\r\nNOOP\r\n"),
	 "rt",
	 EHLO_REPLY "<AUTH PLAIN []>" R535 R530 "<AUTH PLAIN []>" R454 R250},
	{RST_STR("EHLO c\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\n"
		 "NOOP\r\n"),
	 "r",
	 EHLO_REPLY "<AUTH PLAIN []>" R535 "<AUTH PLAIN []>" R535
		    "<AUTH PLAIN []>" R535
		    "421 4.7.0 Too many authentication failures\r\n"
		    "<CLOSE><6 left>"},
	/* commands that are not offered */
	{RST_STR("MAIL FROM:<a@b>\r\nDATA\r\nNOOP\r\nRSET\r\nSTARTTLS\r\n"),
	 "o", R502 R502 R250 R250 R502},
	{RST_STR("EHLO\r\nHELO\r\n"), "o", R501_HOST R501_HOST},
	/* a command behind a bad line is carried out */
	{RST_STR("FOO\r\n\r\nNOOP now\r\n"), "o", R500 R500_SYNTAX R250},
	{RST_STR("FOO\r\nVRFY\r\n \r\nGET / HTTP/1.1\r\nNOOP\r\n"), "o",
	 R500 R502 R500_SYNTAX R500 R421_BAD "<CLOSE><6 left>"},
	/* "*" as the last bad command: both CANCEL and CLOSE */
	{RST_STR("EHLO c\r\nX\r\nX\r\nX\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n"), "c",
	 EHLO_REPLY R500 R500 R500
	 "<AUTH PLAIN>334 Pz8/\r\n" R501_CANCEL R421_BAD
	 "<CANCEL><CLOSE><6 left>"},
	/* octets that are no SMTP: no command behind them is obeyed */
	{RST_STR("NOOP\r\nNOOP\nQUIT\r\n"), "o",
	 R250 R500_OCTETS "<CLOSE><EPROTO><11 left>"},
	{RST_STR("NOOP\rQUIT\r\n"), "o",
	 R500_OCTETS "<CLOSE><EPROTO><11 left>"},
	{RST_STR("NO\0OP\r\n"), "o", R500_OCTETS "<CLOSE><EPROTO><7 left>"},
	{RST_STR("EHLO c\r\nAUTH PLAIN\r\nZm9v\nQUIT\r\n"), "c",
	 EHLO_REPLY "<AUTH PLAIN>334 Pz8/\r\n" R500_OCTETS
		    "<CLOSE><EPROTO><11 left>"},
	{RST_STR("QUIT\r\nNOOP\n"), "o", "221 2.0.0 Bye\r\n<CLOSE><5 left>"},
};

/* Octets behind the end are not taken. Their number is known only once all have
   arrived, so the log is made at the end. */
static char *run_cut(struct rst_str input, const char *answers, size_t cut)
{
	struct provider_run run;

	provider_run_start(&run, &limits, answers);
	provider_run_feed(&run, input.p, cut);
	provider_run_feed(&run, input.p + cut, input.n - cut);
	return provider_run_end(&run);
}

static char *run_octets(struct rst_str input, const char *answers)
{
	struct provider_run run;
	size_t i;

	provider_run_start(&run, &limits, answers);
	for (i = 0; i < input.n; i++)
		provider_run_feed(&run, input.p + i, 1);
	return provider_run_end(&run);
}

static void check_log(char *log, const char *want)
{
	ck_assert_int_eq(strncmp(log, GREETING, strlen(GREETING)), 0);
	ck_assert_str_eq(log + strlen(GREETING), want);
	free(log);
}

START_TEST(test_script)
{
	struct rst_str input = scripts[_i].input;
	size_t cut;

	for (cut = 0; cut <= input.n; cut++)
		check_log(run_cut(input, scripts[_i].answers, cut),
			  scripts[_i].log);
	check_log(run_octets(input, scripts[_i].answers), scripts[_i].log);
}
END_TEST

/* A line of n octets, with its CRLF. */
static char *long_line(const char *start, size_t n)
{
	char *line = rst_malloc(n);

	memset(line, 'A', n);
	memcpy(line, start, strlen(start));
	memcpy(line + n - 2, "\r\n", 2);
	return line;
}

static const struct {
	const char *before, *start;
	const char *answers;
	size_t max;
	size_t fits; /* the longest good line: base64 goes by fours */
	const char *last;
} long_lines[] = {
	{"", "NOOP ", "o", RST_SMTP_LINE_MAX, RST_SMTP_LINE_MAX, R250},
	{"EHLO c\r\n", "AUTH PLAIN ", "o", RST_SMTP_AUTH_LINE_MAX,
	 RST_SMTP_AUTH_LINE_MAX - 3, R235},
	{"EHLO c\r\nAUTH PLAIN\r\n", "AAAA", "co", RST_SMTP_AUTH_LINE_MAX,
	 RST_SMTP_AUTH_LINE_MAX - 2, R235},
};

static void check_long_line(int i, size_t n, const char *want)
{
	char *line = long_line(long_lines[i].start, n), *log;
	struct provider_run run;
	size_t half = n / 2, length;

	provider_run_start(&run, &limits, long_lines[i].answers);
	provider_run_feed(&run, long_lines[i].before,
			  strlen(long_lines[i].before));
	provider_run_feed(&run, line, half);
	provider_run_feed(&run, line + half, n - half);
	log = provider_run_end(&run);
	length = strlen(log);
	ck_assert_uint_ge(length, strlen(want));
	ck_assert_str_eq(log + length - strlen(want), want);
	free(log);
	free(line);
}

START_TEST(test_long_line)
{
	char want[200];

	check_long_line(_i, long_lines[_i].fits, long_lines[_i].last);
	snprintf(want, sizeof(want), R500_LONG "<CLOSE><ELIMIT><%zu left>",
		 long_lines[_i].max + 1);
	check_long_line(_i, long_lines[_i].max + 1, want);
}
END_TEST

/* NOOPs are no errors, but bounded as well: so the output is bounded. */
START_TEST(test_command_flood)
{
	struct provider_run run;
	unsigned int i;
	char *log;

	provider_run_start(&run, &limits, "o");
	for (i = 0; i < 1000; i++)
		provider_run_feed(&run, "NOOP\r\n", 6);
	ck_assert(run.closed);
	log = provider_run_end(&run);
	ck_assert_uint_lt(strlen(log), 2000);
	ck_assert_ptr_nonnull(strstr(log, "421 4.7.0 Too many commands"));
	free(log);
}
END_TEST

START_TEST(test_no_mechanisms)
{
	struct rst_provider_limits none = limits;
	struct provider_run run;

	none.mechanisms = "";
	provider_run_start(&run, &none, "o");
	provider_run_feed(&run, "EHLO c\r\nAUTH PLAIN =\r\n", 22);
	check_log(provider_run_end(&run),
		  "250-mx\r\n250-ATRN\r\n250 ENHANCEDSTATUSCODES\r\n" R454);
}
END_TEST

static struct rst_provider *fed(const char *input,
				struct rst_provider_event *ev)
{
	struct rst_provider *p = rst_provider_new(&limits, 0);
	size_t n;

	ck_assert_int_eq(rst_provider_recv(p, input, strlen(input), 0),
			 strlen(input));
	(void)rst_provider_output(p, &n);
	rst_provider_sent(p, n);
	ck_assert(rst_provider_next(p, ev));
	return p;
}

static void check_output(struct rst_provider *p, const char *want)
{
	struct rst_str out;

	out.p = rst_provider_output(p, &out.n);
	ck_assert_rst_str_eq(out, want);
	rst_provider_sent(p, out.n);
}

START_TEST(test_late_answer)
{
	struct rst_provider_event ev, ev2;
	struct rst_provider *p = fed("EHLO c\r\nAUTH PLAIN =\r\n", &ev);

	/* other ids, other questions */
	rst_provider_auth_done(p, ev.id + 1, RST_VERDICT_OK, 0);
	rst_provider_atrn_done(p, ev.id, RST_VERDICT_OK, 0);
	check_output(p, "");
	rst_provider_auth_done(p, ev.id, RST_VERDICT_REFUSED, 0);
	check_output(p, R535);
	/* a second answer */
	rst_provider_auth_done(p, ev.id, RST_VERDICT_OK, 0);
	rst_provider_auth_continue(p, ev.id, RST_STR(""), 0);
	check_output(p, "");
	/* and while the next question is open */
	ck_assert_int_eq(rst_provider_recv(p, "AUTH PLAIN\r\n", 12, 0), 12);
	ck_assert(rst_provider_next(p, &ev2));
	rst_provider_auth_done(p, ev.id, RST_VERDICT_OK, 0);
	check_output(p, "");
	rst_provider_auth_continue(p, ev2.id, RST_STR(""), 0);
	check_output(p, "334 \r\n");
	ck_assert(!rst_provider_turned(p));
	rst_provider_free(&p);
}
END_TEST

/* A challenge goes out only if it is base64. */
START_TEST(test_bad_challenge)
{
	struct rst_provider_event ev;
	struct rst_provider *p = fed("EHLO c\r\nAUTH PLAIN\r\n", &ev);

	rst_provider_auth_continue(p, ev.id, RST_STR("\r\n235 ok"), 0);
	check_output(p, R454);
	rst_provider_free(&p);
}
END_TEST

/* The views of an event that was not pulled stay good, whatever is offered. */
START_TEST(test_event_waits)
{
	struct rst_provider *p = rst_provider_new(&limits, 0);
	struct rst_provider_event ev;

	ck_assert_int_eq(
		rst_provider_recv(p, "EHLO c\r\nAUTH PLAIN Zm9v\r\n", 25, 0),
		25);
	ck_assert_int_eq(rst_provider_recv(p, "NOOP\r\n", 6, 0), 0);
	ck_assert(rst_provider_next(p, &ev));
	ck_assert_rst_str_eq(ev.initial, "Zm9v");
	ck_assert(!rst_provider_next(p, &ev));
	rst_provider_free(&p);
}
END_TEST

static const struct {
	const char *input;
	const char *answers;
	int64_t deadline; /* of a session begun at 0, fed at 0 */
} timeouts[] = {
	{"", "o", 1000},
	{"EHLO c\r\n", "o", 1000},
	{"EHLO", "o", 1000},
	{"EHLO c\r\nAUTH PLAIN\r\n", "-", 5000},
	{"EHLO c\r\nAUTH PLAIN\r\n", "c", 1000},
	{"EHLO c\r\nAUTH PLAIN\r\nZm9v\r\n", "c-", 5000},
	{"EHLO c\r\nAUTH PLAIN =\r\n", "o", 1000},
	{"EHLO c\r\nAUTH PLAIN =\r\n", "r", 1000},
	{"EHLO c\r\nAUTH PLAIN =\r\nATRN\r\n", "o-", 5000},
	{"EHLO c\r\nAUTH PLAIN =\r\nATRN\r\n", "ot", 1000},
	{"EHLO c\r\nAUTH PLAIN =\r\nATRN\r\n", "o", -1},
	{"QUIT\r\n", "o", -1},
	{"NOOP\n", "o", -1},
};

START_TEST(test_timeout)
{
	int64_t deadline = timeouts[_i].deadline;
	struct provider_run run;
	char *log;

	provider_run_start(&run, &limits, timeouts[_i].answers);
	provider_run_feed(&run, timeouts[_i].input, strlen(timeouts[_i].input));
	ck_assert_int_eq(rst_provider_deadline(run.provider), deadline);
	rst_provider_tick(run.provider, deadline < 0 ? 99999 : deadline - 1);
	check_output(run.provider, "");
	if (deadline >= 0) {
		rst_provider_tick(run.provider, deadline);
		check_output(run.provider, "421 4.4.2 Time-out\r\n");
		ck_assert_int_eq(rst_provider_deadline(run.provider), -1);
		provider_run_pump(&run);
		ck_assert(run.closed);
		/* an answer is too late now */
		rst_provider_auth_done(run.provider, 1, RST_VERDICT_OK, 5000);
		rst_provider_atrn_done(run.provider, 2, RST_VERDICT_OK, 5000);
		check_output(run.provider, "");
	}
	log = provider_run_end(&run);
	free(log);
}
END_TEST

/* Every line gives a second more, within the time of the session. */
START_TEST(test_session_timeout)
{
	struct rst_provider *p = rst_provider_new(&limits, 0);

	ck_assert_int_eq(rst_provider_recv(p, "NOOP\r\n", 6, 900), 6);
	ck_assert_int_eq(rst_provider_deadline(p), 1900);
	/* half a line is silence */
	ck_assert_int_eq(rst_provider_recv(p, NULL, 0, 1800), 0);
	ck_assert_int_eq(rst_provider_recv(p, "NOO", 3, 1800), 0);
	ck_assert_int_eq(rst_provider_deadline(p), 1900);
	ck_assert_int_eq(rst_provider_recv(p, "NOOP\r\n", 6, 4900), 6);
	ck_assert_int_eq(rst_provider_deadline(p), 5000);
	rst_provider_free(&p);
	ck_assert_ptr_null(p);
	rst_provider_free(&p);
}
END_TEST

static const struct {
	const char *input;
	const char *answers;
	const char *output;
} closes[] = {
	{"EHLO c\r\n", "o", "421 4.3.2 Newer sign-in\r\n"},
	{"EHLO c\r\nAUTH PLAIN =\r\n", "-", "421 4.3.2 Newer sign-in\r\n"},
	{"EHLO c\r\nAUTH PLAIN =\r\nATRN\r\n", "o-",
	 "421 4.3.2 Newer sign-in\r\n"},
	{"EHLO c\r\nAUTH PLAIN =\r\nATRN\r\n", "o", ""},
	{"QUIT\r\n", "o", ""},
};

START_TEST(test_close)
{
	struct provider_run run;

	provider_run_start(&run, &limits, closes[_i].answers);
	provider_run_feed(&run, closes[_i].input, strlen(closes[_i].input));
	rst_provider_close(run.provider, "Newer sign-in");
	check_output(run.provider, closes[_i].output);
	free(provider_run_end(&run));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("provider");
	TCase *tcase = tcase_create("provider");

	tcase_add_loop_test(tcase, test_script, 0, N_ELEMENTS(scripts));
	tcase_add_loop_test(tcase, test_long_line, 0, N_ELEMENTS(long_lines));
	tcase_add_test(tcase, test_command_flood);
	tcase_add_test(tcase, test_no_mechanisms);
	tcase_add_test(tcase, test_late_answer);
	tcase_add_test(tcase, test_bad_challenge);
	tcase_add_test(tcase, test_event_waits);
	tcase_add_loop_test(tcase, test_timeout, 0, N_ELEMENTS(timeouts));
	tcase_add_test(tcase, test_session_timeout);
	tcase_add_loop_test(tcase, test_close, 0, N_ELEMENTS(closes));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
