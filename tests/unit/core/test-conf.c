/* SPDX-License-Identifier: MIT */
#include "core/conf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test-util.h"

#define TLS "tls_certificate = /c.pem\ntls_key = /k.pem\n"

static char lines[4096];

static void add_line(const char *line, void *ctx)
{
	(void)ctx;
	ck_assert_uint_lt(strlen(lines) + strlen(line) + 2, sizeof(lines));
	strcat(lines, line);
	strcat(lines, "\n");
}

static struct conf *read_text(const char *text)
{
	static const char path[] = "test-conf.tmp";
	struct conf *conf;
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	lines[0] = '\0';
	conf = conf_read(path, add_line, NULL);
	(void)unlink(path);
	return conf;
}

START_TEST(test_defaults)
{
	struct conf *conf = read_text("hostname = mx.example.test\n" TLS);

	ck_assert_msg(conf != NULL, "%s", lines);
	ck_assert_str_eq(conf->hostname, "mx.example.test");
	ck_assert_str_eq(conf->tls_key, "/k.pem");
	ck_assert_uint_eq(conf->listen_count, 1);
	ck_assert_str_eq(conf->listen[0].text, "*:8463");
	ck_assert(conf->listen[0].any);
	ck_assert_str_eq(conf->policy_socket,
			 "/var/spool/postfix/private/restante");
	ck_assert_str_eq(conf->holders_directory, "/var/lib/restante/holders");
	ck_assert_str_eq(conf->congestion, "bbr");
	ck_assert_uint_ge(conf->workers, 1);
	ck_assert_int_eq(conf->reconcile_interval_ms, 86400000);
	ck_assert_str_eq(conf->userdb_socket, "/run/dovecot/restante-userdb");
	ck_assert_str_eq(conf->control_socket, "/run/restante/control");
	ck_assert_int_eq(conf->recheck_interval_ms, 50000);
	ck_assert_int_eq(conf->session_lifetime_ms, 86400000);
	ck_assert_uint_eq(conf->message_size_limit, 0);
	ck_assert_str_eq(conf->recipient_delimiter, "+");
	conf_free(&conf);
	ck_assert_ptr_null(conf);
}
END_TEST

START_TEST(test_all_set)
{
	struct conf *conf = read_text(
		"# a comment\n"
		"hostname = \"mx.example.test\"\n"
		"listen = {\"127.0.0.1:1\"}\n"
		"listen = {\"192.0.2.1:8463\", \"[2001:db8::1]:443\"}\n" TLS
		"policy_socket = /p\nauth_socket = /a\nhold_socket = \"/h\"\n"
		"holders_directory = /d\n"
		"userdb_socket = /u\ncontrol_socket = \"\"\n"
		"recheck_interval = 0\nsession_lifetime = 2h\n"
		"user = mail\nworkers = 3\npolicy_timeout_ms = 200\n"
		"keepalive = 30\nreply_timeout = 1500ms\nretry_interval = 2m\n"
		"sign_in_timeout = 2m\nmax_connections = 7\n"
		"reconcile_interval = 2h\nfallback_concurrency = 9\n"
		"recipient_delimiter = \"-+\"\n"
		"message_size_limit = 50M\ncongestion = \"\"\n");

	ck_assert_msg(conf != NULL, "%s", lines);
	ck_assert_uint_eq(conf->listen_count, 2);
	ck_assert_str_eq(conf->listen[0].text, "192.0.2.1:8463");
	ck_assert_int_eq(conf->listen[1].addr.sa.sa_family, AF_INET6);
	ck_assert_str_eq(conf->hold_socket, "/h");
	ck_assert_str_eq(conf->holders_directory, "/d");
	ck_assert_str_eq(conf->user, "mail");
	ck_assert_str_eq(conf->congestion, "");
	ck_assert_uint_eq(conf->workers, 3);
	ck_assert_uint_eq(conf->policy_timeout_ms, 200);
	ck_assert_int_eq(conf->keepalive_ms, 30000);
	ck_assert_int_eq(conf->reply_timeout_ms, 1500);
	ck_assert_int_eq(conf->retry_interval_ms, 120000);
	ck_assert_int_eq(conf->sign_in_timeout_ms, 120000);
	ck_assert_uint_eq(conf->max_connections, 7);
	ck_assert_int_eq(conf->reconcile_interval_ms, 7200000);
	ck_assert_str_eq(conf->userdb_socket, "/u");
	ck_assert_str_eq(conf->control_socket, "");
	ck_assert_int_eq(conf->recheck_interval_ms, 0);
	ck_assert_int_eq(conf->session_lifetime_ms, 7200000);
	ck_assert_uint_eq(conf->fallback_concurrency, 9);
	ck_assert_uint_eq(conf->message_size_limit, 50 * 1048576);
	ck_assert_str_eq(conf->recipient_delimiter, "-+");
	conf_free(&conf);
}
END_TEST

static const struct {
	const char *text;
	const char *line; /* its start */
} bad[] = {
	{"hostname = a..b\n", "1: hostname: a..b: expected a host name"},
	{"\n\nworkers = 1x\n", "3: workers: 1x: expected a number"},
	{"workers = -1\n", "1: workers: -1: expected"},
	{"workers = 257\n", "1: workers: 257: expected"},
	{"listen = {\"127.0.0.1\"}\n", "1: listen: 127.0.0.1: expected"},
	{"listen = {\"::1:25\"}\n", "1: listen: ::1:25: expected"},
	{"listen = {\"[::1]:0\"}\n", "1: listen: [::1]:0: expected"},
	{"listen = {\"mx:25\"}\n", "1: listen: mx:25: expected"},
	{"listen = {\"[127.0.0.1]:25\"}\n", "1: listen: [127.0.0.1]:25: exp"},
	{"tls_key = key.pem\n", "1: tls_key: key.pem: expected the full path"},
	{"holders_directory = h\n", "1: holders_directory: h: expected"},
	{"holders_directory = \"\"\n", "1: holders_directory: : expected"},
	/* of an earlier version */
	{"notify_socket = /run/n\n", "1: notify_socket: : there is no such"},
	{"auth_socket = run/a\n", "1: auth_socket: run/a: expected"},
	{"user = \"\"\n", "1: user: : expected the name of an account"},
	{"congestion = \"b b r\"\n", "1: congestion: b b r: expected the name"},
	{"congestion = sixteen-letters-\n",
	 "1: congestion: sixteen-letters-: "},
	{"policy_timeout_ms = 9\n", "1: policy_timeout_ms: 9: expected"},
	{"control_socket = control\n", "1: control_socket: control: expected"},
	{"userdb_socket = userdb\n", "1: userdb_socket: userdb: expected"},
	{"recheck_interval = 0s\n", "1: recheck_interval: 0s: expected a time"},
	{"recheck_interval = -1\n", "1: recheck_interval: -1: expected a time"},
	{"session_lifetime = no\n", "1: session_lifetime: no: expected a time"},
	{"keepalive = 0\n", "1: keepalive: 0: expected a time"},
	{"keepalive = 5y\n", "1: keepalive: 5y: expected a time"},
	{"reconcile_interval = 99999999999d\n", "1: reconcile_interval: 9"},
	{"max_connections = 0\n", "1: max_connections: 0: expected"},
	{"recipient_delimiter = x\n",
	 "1: recipient_delimiter: x: expected characters"},
	{"recipient_delimiter = \"+@\"\n",
	 "1: recipient_delimiter: +@: expected characters"},
	{"message_size_limit = 1T\n", "1: message_size_limit: 1T: expected"},
	{"message_size_limit = 18446744073709551615G\n",
	 "1: message_size_limit: 18446744073709551615G: expected"},
	{"\nwokers = 1\n", "2: wokers: : there is no such setting"},
	{"workers 1\n", "1: : : "},
	{"hostname = mx.example.test\n", "0: tls_certificate: : expected"},
};

START_TEST(test_bad)
{
	char text[512], want[512];

	(void)snprintf(text, sizeof(text), "%s%s", bad[_i].text,
		       strncmp(bad[_i].line, "0:", 2) == 0 ? "" : TLS);
	ck_assert_ptr_null(read_text(text));
	(void)snprintf(want, sizeof(want), "test-conf.tmp:%s", bad[_i].line);
	ck_assert_msg(strncmp(lines, want, strlen(want)) == 0, "got %swant %s",
		      lines, want);
}
END_TEST

START_TEST(test_all_are_reported)
{
	ck_assert_ptr_null(read_text("workers = x\nkeepalive = y\n" TLS));
	ck_assert_ptr_nonnull(strstr(lines, ":1: workers: x: "));
	ck_assert_ptr_nonnull(strstr(lines, ":2: keepalive: y: "));
}
END_TEST

START_TEST(test_no_file)
{
	lines[0] = '\0';
	ck_assert_ptr_null(conf_read("/nonexistent/x", add_line, NULL));
	ck_assert_str_eq(lines, "/nonexistent/x:0: : : "
				"No such file or directory\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conf");
	TCase *tcase = tcase_create("file");

	tcase_add_test(tcase, test_defaults);
	tcase_add_test(tcase, test_all_set);
	tcase_add_loop_test(tcase, test_bad, 0, N_ELEMENTS(bad));
	tcase_add_test(tcase, test_all_are_reported);
	tcase_add_test(tcase, test_no_file);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
