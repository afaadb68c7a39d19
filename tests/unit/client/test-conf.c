/* SPDX-License-Identifier: MIT */
#include <sys/stat.h>

#include "conf.h"
#include "fault.h"

static char reported[4096];

static void on_error(const char *line, void *ctx)
{
	(void)ctx;
	strncat(reported, line, sizeof(reported) - strlen(reported) - 1);
	strncat(reported, "\n", sizeof(reported) - strlen(reported) - 1);
}

static void set_up(void)
{
	temp_dir_make();
	reported[0] = '\0';
	ck_assert_int_eq(setenv("HOME", "/home/me", 1), 0);
	ck_assert_int_eq(setenv("XDG_CONFIG_HOME", temp_dir, 1), 0);
}

static struct conf *read_text(const char *text, char *const *options)
{
	static char *const none[CONF_COUNT];

	temp_write("c", text, strlen(text));
	return conf_read(temp_path("c"), options == NULL ? none : options,
			 on_error, NULL);
}

#define GOOD                                 \
	"user = \"me@example.org\"\n"        \
	"server = \"mx.example.org:8463\"\n" \
	"password_file = \"/etc/password\"\n"

START_TEST(test_defaults)
{
	struct conf *conf = read_text(GOOD, NULL);

	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_USER], "me@example.org");
	ck_assert_str_eq(conf->host, "mx.example.org");
	ck_assert_str_eq(conf->port, "8463");
	ck_assert_ptr_null(conf->value[CONF_CA_FILE]);
	ck_assert_str_eq(conf->value[CONF_MAILDIR], "/home/me/Maildir");
	ck_assert_str_eq(conf->value[CONF_STATE_DIR], "/home/me/Maildir");
	ck_assert_ptr_nonnull(conf->value[CONF_HOSTNAME]);
	conf_free(&conf);
	ck_assert_ptr_null(conf);
	conf_free(&conf);
}
END_TEST

START_TEST(test_all)
{
	struct conf *conf =
		read_text("# everything\n" GOOD "ca_file = \"~/ca.pem\"\n"
			  "maildir = '/mail/me'\n"
			  "state_dir = /var/lib/x\n"
			  "hostname = laptop.example.org\n",
			  NULL);

	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_CA_FILE], "/home/me/ca.pem");
	ck_assert_str_eq(conf->value[CONF_MAILDIR], "/mail/me");
	ck_assert_str_eq(conf->value[CONF_STATE_DIR], "/var/lib/x");
	ck_assert_str_eq(conf->value[CONF_HOSTNAME], "laptop.example.org");
	conf_free(&conf);
}
END_TEST

START_TEST(test_command_line_wins)
{
	char maildir[] = "here", server[] = "[2001:db8::1]:443";
	char *const options[CONF_COUNT] = {
		[CONF_MAILDIR] = maildir,
		[CONF_SERVER] = server,
	};
	struct conf *conf = read_text(GOOD "maildir = \"/there\"\n", options);

	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_MAILDIR], "here");
	ck_assert_str_eq(conf->value[CONF_STATE_DIR], "here");
	ck_assert_str_eq(conf->host, "2001:db8::1");
	ck_assert_str_eq(conf->port, "443");
	conf_complain(conf, CONF_MAILDIR, "no good", on_error, NULL);
	ck_assert_str_eq(reported, "command line: maildir: here: no good; "
				   "expected a directory\n");
	conf_free(&conf);
}
END_TEST

/* The usual file need not exist; if it does, its settings count. */
START_TEST(test_usual_file)
{
	char user[] = "me", server[] = "mx:1", password[] = "p";
	char *const options[CONF_COUNT] = {
		[CONF_USER] = user,
		[CONF_SERVER] = server,
		[CONF_PASSWORD_FILE] = password,
	};
	struct conf *conf = conf_read(NULL, options, on_error, NULL);

	ck_assert_msg(conf != NULL, "%s", reported);
	conf_free(&conf);
	ck_assert_int_eq(mkdir(temp_path("restante"), 0700), 0);
	temp_write("restante/restante.conf", "maildir = /here\n", 16);
	conf = conf_read(NULL, options, on_error, NULL);
	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_MAILDIR], "/here");
	conf_free(&conf);
}
END_TEST

START_TEST(test_no_file)
{
	static char *const none[CONF_COUNT];

	ck_assert_ptr_null(
		conf_read(temp_path("nowhere"), none, on_error, NULL));
	ck_assert_ptr_nonnull(strstr(reported, "/nowhere: "));
}
END_TEST

static const struct {
	const char *hostname, *domain;
} domains[] = {
	{"laptop.example.org", "laptop.example.org"},
	{"a b", "a-b"},
	{"my_laptop", "my-laptop"},
	{"a/b:c", "a-b-c"},
	{"a--b", "a--b"},
	{"t\xc3\xa4st.example.org", "t-st.example.org"},
	{"\xc3\xa4", "localhost"},
	{"\xc3\xa4x\xc3\xa4", "x"},
	{"-.x.-", "x"},
	{"::1", "1"},
	{"/", "localhost"},
};

/* Any name will do, and what SMTP cannot say is replaced. */
START_TEST(test_domain)
{
	char text[512];
	struct conf *conf;

	(void)snprintf(text, sizeof(text), GOOD "hostname = \"%s\"\n",
		       domains[_i].hostname);
	conf = read_text(text, NULL);
	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_HOSTNAME], domains[_i].hostname);
	ck_assert_str_eq(conf->domain, domains[_i].domain);
	conf_free(&conf);
}
END_TEST

static const struct {
	const char *line;
	const char *report; /* after "file:4: " */
} wrong[] = {
	{"user = \"\"", "user: : expected "},
	{"user = \"a\tb\"", "user: a\tb: expected "},
	{"server = \"mx\"", "server: mx: expected HOST:PORT"},
	{"server = \":25\"", "server: :25: expected "},
	{"server = \"mx:\"", "server: mx:: expected "},
	{"server = \"mx:0\"", "server: mx:0: expected "},
	{"server = \"mx:65536\"", "server: mx:65536: expected "},
	{"server = \"mx:smtp\"", "server: mx:smtp: expected "},
	{"server = \"::1:25\"", "server: ::1:25: expected "},
	{"server = \"[::1:25\"", "server: [::1:25: expected "},
	{"server = \"[]:25\"", "server: []:25: expected "},
	{"server = \"m x:25\"", "server: m x:25: expected "},
	{"server = \"m<x>:25\"", "server: m<x>:25: expected "},
	{"hostname = \"a\tb\"", "hostname: a\tb: expected "},
	{"hostname = \"\"", "hostname: : expected "},
	{"maildir = \"here\"", "maildir: here: expected a full path"},
	{"maildir = \"\"", "maildir: : expected a full path"},
	{"ca_file = \"~other/ca\"", "ca_file: ~other/ca: expected a full"},
	{"colour = \"blue\"", "colour: : there is no such setting"},
};

START_TEST(test_wrong)
{
	char text[512], want[512];

	(void)snprintf(text, sizeof(text), GOOD "%s\n", wrong[_i].line);
	ck_assert_ptr_null(read_text(text, NULL));
	(void)snprintf(want, sizeof(want), "%s:4: %s", temp_path("c"),
		       wrong[_i].report);
	ck_assert_msg(strncmp(reported, want, strlen(want)) == 0,
		      "got %s, want %s", reported, want);
}
END_TEST

/* All wrong values are reported, not only the first. */
START_TEST(test_two_wrong)
{
	ck_assert_ptr_null(
		read_text("server = \"x\"\nhostname = \"\x1b\"\n", NULL));
	ck_assert_ptr_nonnull(strstr(reported, ":1: server: x: "));
	ck_assert_ptr_nonnull(strstr(reported, ":2: hostname: \x1b: "));
}
END_TEST

START_TEST(test_not_set)
{
	ck_assert_ptr_null(read_text("", NULL));
	ck_assert_ptr_nonnull(strstr(reported, "not set: user: "));
	ck_assert_ptr_nonnull(strstr(reported, "not set: server: "));
	ck_assert_ptr_nonnull(strstr(reported, "not set: password_file: "));
}
END_TEST

/* Without HOME, as in a system service, paths have to be full. */
START_TEST(test_no_home)
{
	struct conf *conf;

	if (_i == 0)
		ck_assert_int_eq(unsetenv("HOME"), 0);
	else
		ck_assert_int_eq(setenv("HOME", "", 1), 0);
	conf = read_text(GOOD "maildir = \"/var/mail/me\"\n", NULL);
	ck_assert_msg(conf != NULL, "%s", reported);
	ck_assert_str_eq(conf->value[CONF_STATE_DIR], "/var/mail/me");
	conf_free(&conf);
	ck_assert_ptr_null(read_text(GOOD, NULL));
	ck_assert_str_eq(reported,
			 "not set: maildir: : expected a directory\n");
	reported[0] = '\0';
	ck_assert_ptr_null(read_text(GOOD "maildir = \"~/M\"\n", NULL));
	ck_assert_ptr_nonnull(strstr(reported, "maildir: ~/M: HOME is not"));
}
END_TEST

#define OCTETS(literal) RST_STR(literal)
#define BOM "\xef\xbb\xbf"
#define UTF16 "it is UTF-16: save it as UTF-8"
#define NUL                                                         \
	"its first line has a NUL octet, as in UTF-16: save it as " \
	"UTF-8"

static const struct {
	struct rst_str octets;
	const char *password; /* NULL: none */
	const char *error;
} passwords[] = {
	{OCTETS("secret"), "secret", NULL},
	{OCTETS("secret\n"), "secret", NULL},
	{OCTETS("secret\r\n"), "secret", NULL},
	{OCTETS("secret\r"), "secret", NULL},
	{OCTETS("with blank \nx\n"), "with blank ", NULL},
	{OCTETS("p\xc3\xa4ss\n"), "p\xc3\xa4ss", NULL},
	{OCTETS(BOM "secret\r\n"), "secret", NULL},
	{OCTETS(BOM "secret"), "secret", NULL},
	/* only the first mark is none of the password's */
	{OCTETS(BOM BOM "x\n"), BOM "x", NULL},
	{OCTETS("x" BOM "\n"), "x" BOM, NULL},
	{OCTETS("secret\na\0b"), "secret", NULL},
	{OCTETS(""), NULL, "it is empty"},
	{OCTETS("\n"), NULL, "its first line is empty"},
	{OCTETS("\r\n"), NULL, "its first line is empty"},
	{OCTETS("\nsecret\n"), NULL, "its first line is empty"},
	{OCTETS(BOM), NULL, "its first line is empty"},
	{OCTETS(BOM "\r\n"), NULL, "its first line is empty"},
	{OCTETS("\xff\xfes\0e\0\r\0\n\0"), NULL, UTF16},
	{OCTETS("\xfe\xff\0s\0e\0\r\0\n"), NULL, UTF16},
	{OCTETS("\xff\xfe"), NULL, UTF16},
	{OCTETS("s\0e\0\r\0\n\0"), NULL, NUL},
	{OCTETS("\0s\0e"), NULL, NUL},
	{OCTETS("secret\0\n"), NULL, NUL},
};

START_TEST(test_password)
{
	struct rst_str octets = passwords[_i].octets;
	const char *want = passwords[_i].password;
	const char *error = "none";
	char *password;

	temp_write("p", octets.p, octets.n);
	password = conf_password(temp_path("p"), &error);
	if (want == NULL) {
		ck_assert_ptr_null(password);
		ck_assert_str_eq(error, passwords[_i].error);
	} else {
		ck_assert_ptr_nonnull(password);
		ck_assert_str_eq(password, want);
	}
	conf_password_free(&password);
}
END_TEST

START_TEST(test_password_doubt)
{
	ck_assert_ptr_null(conf_password_doubt("se cret"));
	ck_assert_ptr_nonnull(conf_password_doubt("secret "));
	ck_assert_ptr_nonnull(conf_password_doubt("secret\t"));
	ck_assert_ptr_nonnull(conf_password_doubt(" secret"));
}
END_TEST

/* The mark does not count. */
START_TEST(test_password_longest)
{
	char text[3 + 1025];
	const char *error = NULL;
	char *password;

	memcpy(text, BOM, 3);
	memset(text + 3, 'x', 1025);
	memcpy(text + 3 + 1023, "\r\n", 2);
	temp_write("p", text, sizeof(text));
	password = conf_password(temp_path("p"), &error);
	ck_assert_ptr_nonnull(password);
	ck_assert_uint_eq(strlen(password), 1023);
	conf_password_free(&password);
	memset(text + 3, 'x', 1025);
	temp_write("p", text, sizeof(text));
	ck_assert_ptr_null(conf_password(temp_path("p"), &error));
	ck_assert_str_eq(error, "its first line is too long");
}
END_TEST

START_TEST(test_password_too_long)
{
	char text[4000];
	const char *error = NULL;
	char *password;

	memset(text, 'x', sizeof(text));
	temp_write("p", text, 1024);
	password = conf_password(temp_path("p"), &error);
	ck_assert_ptr_nonnull(password);
	conf_password_free(&password);
	temp_write("p", text, sizeof(text));
	ck_assert_ptr_null(conf_password(temp_path("p"), &error));
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_null(conf_password(temp_path("q"), &error));
	ck_assert_str_eq(error, strerror(ENOENT));
}
END_TEST

static Suite *conf_suite(void)
{
	Suite *suite = suite_create("client-conf");
	TCase *tc = tcase_create("conf");

	tcase_add_checked_fixture(tc, set_up, temp_dir_remove);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_all);
	tcase_add_test(tc, test_command_line_wins);
	tcase_add_test(tc, test_usual_file);
	tcase_add_test(tc, test_no_file);
	tcase_add_loop_test(tc, test_domain, 0, (int)N_ELEMENTS(domains));
	tcase_add_loop_test(tc, test_wrong, 0, (int)N_ELEMENTS(wrong));
	tcase_add_test(tc, test_two_wrong);
	tcase_add_test(tc, test_not_set);
	tcase_add_loop_test(tc, test_no_home, 0, 2);
	tcase_add_loop_test(tc, test_password, 0, (int)N_ELEMENTS(passwords));
	tcase_add_test(tc, test_password_doubt);
	tcase_add_test(tc, test_password_longest);
	tcase_add_test(tc, test_password_too_long);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return test_run(conf_suite());
}
