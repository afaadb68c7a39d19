/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>

#include "restante/smtp.h"

/* A copy of exactly n octets, so that ASan sees a read beyond them. */
static char *exact_copy(const char *p, size_t n)
{
	char *copy = malloc(n == 0 ? 1 : n);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, p, n);
	return copy;
}

static const struct {
	struct rst_str input;
	size_t max;
	ssize_t result;
	const char *line;
} lines[] = {
	{RST_STR(""), 10, 0, NULL},
	{RST_STR("NOOP"), 10, 0, NULL},
	{RST_STR("NOOP\r"), 10, 0, NULL},
	{RST_STR("NOOP\r\n"), 10, 6, "NOOP"},
	{RST_STR("NOOP\r\nQUIT\r\n"), 10, 6, "NOOP"},
	{RST_STR("\r\n"), 10, 2, ""},
	{RST_STR("12345678\r\n"), 10, 10, "12345678"},
	{RST_STR("123456789\r\n"), 10, RST_ELIMIT, NULL},
	{RST_STR("123456789\r"), 10, RST_ELIMIT, NULL},
	{RST_STR("123456789\rx"), 10, RST_ELIMIT, NULL},
	{RST_STR("1234567890"), 10, RST_ELIMIT, NULL},
	{RST_STR("NOOP\n"), 10, RST_EPROTO, NULL},
	{RST_STR("\n"), 10, RST_EPROTO, NULL},
	{RST_STR("NO\rOP\r\n"), 10, RST_EPROTO, NULL},
	{RST_STR("NOOP\r\r\n"), 10, RST_EPROTO, NULL},
	{RST_STR("NO\0OP\r\n"), 10, RST_EPROTO, NULL},
	{RST_STR("b\xc3\xbc\t \x01\r\n"), 10, 8, "b\xc3\xbc\t \x01"},
};

/* Offer more and more: nothing is taken, and then what the whole gives. */
START_TEST(test_line)
{
	struct rst_str input = lines[_i].input, line;
	ssize_t ret = 0;
	size_t n;

	for (n = 0; n <= input.n && ret == 0; n++) {
		char *copy = exact_copy(input.p, n);

		ret = rst_smtp_line(copy, n, lines[_i].max, &line);
		if (ret > 0) {
			ck_assert_int_eq(ret, n);
			ck_assert_rst_str_eq(line, lines[_i].line);
		}
		free(copy);
	}
	ck_assert_int_eq(ret, lines[_i].result);
	ck_assert_int_eq(rst_smtp_line(input.p, input.n, lines[_i].max, &line),
			 lines[_i].result);
}
END_TEST

static const struct {
	const char *line;
	const char *verb, *args; /* NULL: refused */
} commands[] = {
	{"NOOP", "NOOP", ""},
	{"noop  ", "noop", ""},
	{"MAIL FROM:<a@b>", "MAIL", "FROM:<a@b>"},
	{"Mail \t FROM:<a@b> SIZE=1 \t", "Mail", "FROM:<a@b> SIZE=1"},
	{"X1\tb", "X1", "b"},
	{"", NULL, NULL},
	{" NOOP", NULL, NULL},
	{"Host: x", NULL, NULL},
	{"NOOP\x01", NULL, NULL},
	{"\xc3\xbc", NULL, NULL},
	{"*", NULL, NULL},
};

START_TEST(test_command)
{
	struct rst_smtp_command command;
	int ret = rst_smtp_command_parse(rst_str(commands[_i].line), &command);

	if (commands[_i].verb == NULL) {
		ck_assert_int_eq(ret, RST_EPROTO);
		return;
	}
	ck_assert_int_eq(ret, 0);
	ck_assert_rst_str_eq(command.verb, commands[_i].verb);
	ck_assert_rst_str_eq(command.args, commands[_i].args);
}
END_TEST

static const struct {
	const char *args;
	int result;
	const char *address, *params;
} paths[] = {
	{"FROM:<>", 0, "", ""},
	{"from: <a@b.example>  SIZE=5", 0, "a@b.example", "SIZE=5"},
	{"FROM:<a+x@b> A B=c \t", 0, "a+x@b", "A B=c"},
	{"FROM:<\"a b>\"@c>", 0, "\"a b>\"@c", ""},
	{"FROM:<\"a\\\"b>\"@c> X", 0, "\"a\\\"b>\"@c", "X"},
	{"FROM:<\"a\\\\\"@c>", 0, "\"a\\\\\"@c", ""},
	{"FROM:<\xc3\xbc@b>", 0, "\xc3\xbc@b", ""},
	{"FROM:<@r1,@r2:a@b>", 0, "a@b", ""},
	{"FROM:<@[IPv6:::1]:a@[IPv6:::2]>", 0, "a@[IPv6:::2]", ""},
	{"FROM:<postmaster>", 0, "postmaster", ""},
	{"FROM:<@r1>", RST_EPROTO, NULL, NULL},
	{"FROM:<@r1:>", RST_EPROTO, NULL, NULL},
	{"FROM:<@r\"1:\":a@b>", RST_EPROTO, NULL, NULL},
	{"FROM:", RST_EPROTO, NULL, NULL},
	{"FROM", RST_EPROTO, NULL, NULL},
	{"", RST_EPROTO, NULL, NULL},
	{"TO:<a@b>", RST_EPROTO, NULL, NULL},
	{"FROM:a@b", RST_EPROTO, NULL, NULL},
	{"FROM:<a@b", RST_EPROTO, NULL, NULL},
	{"FROM:<a@b>x", RST_EPROTO, NULL, NULL},
	{"FROM:<a@b>>", RST_EPROTO, NULL, NULL},
	{"FROM:<<a@b>", RST_EPROTO, NULL, NULL},
	{"FROM:<a b@c>", RST_EPROTO, NULL, NULL},
	{"FROM:<a\x01@c>", RST_EPROTO, NULL, NULL},
	{"FROM:<\"a>", RST_EPROTO, NULL, NULL},
	{"FROM:<\"a\\>", RST_EPROTO, NULL, NULL},
	{"FROM:<\"a\\", RST_EPROTO, NULL, NULL},
	{"FROM:<\"a\x7f\"@c>", RST_EPROTO, NULL, NULL},
	{"FROM:<\"a\\\x7f\"@c>", RST_EPROTO, NULL, NULL},
};

START_TEST(test_path)
{
	size_t n = strlen(paths[_i].args);
	char *copy = exact_copy(paths[_i].args, n);
	struct rst_smtp_path path;
	int ret = rst_smtp_path_parse((struct rst_str){copy, n},
				      RST_STR("FROM:"), &path);

	ck_assert_int_eq(ret, paths[_i].result);
	if (ret == 0) {
		ck_assert_rst_str_eq(path.address, paths[_i].address);
		ck_assert_rst_str_eq(path.params, paths[_i].params);
		ck_assert(rst_smtp_address_valid(path.address));
	}
	free(copy);
}
END_TEST

START_TEST(test_path_to)
{
	struct rst_smtp_path path;

	ck_assert_int_eq(rst_smtp_path_parse(RST_STR("to:<a@b> NOTIFY=NEVER"),
					     RST_STR("TO:"), &path),
			 0);
	ck_assert_rst_str_eq(path.address, "a@b");
	ck_assert_rst_str_eq(path.params, "NOTIFY=NEVER");
}
END_TEST

START_TEST(test_address_length)
{
	char args[RST_SMTP_ADDRESS_MAX + 16];
	struct rst_smtp_path path;
	size_t n;

	for (n = RST_SMTP_ADDRESS_MAX; n <= RST_SMTP_ADDRESS_MAX + 1; n++) {
		memcpy(args, "TO:<", 4);
		memset(args + 4, 'a', n);
		args[4 + n] = '>';
		ck_assert_int_eq(
			rst_smtp_path_parse((struct rst_str){args, n + 5},
					    RST_STR("TO:"), &path),
			n > RST_SMTP_ADDRESS_MAX ? RST_ELIMIT : 0);
		ck_assert_int_eq(
			rst_smtp_address_valid((struct rst_str){args + 4, n}),
			n <= RST_SMTP_ADDRESS_MAX);
	}
}
END_TEST

static const struct {
	const char *address;
	bool valid, utf8;
} addresses[] = {
	{"", true, false},
	{"a@b", true, false},
	{"\"a b\"@c", true, false},
	{"\"a<b>\"@c", true, false},
	{"\xc3\xbc@c", true, true},
	{"a@b> SIZE=1", false, false},
	{"a b@c", false, false},
	{"<a@c", false, false},
	{"a@c\r\nRSET", false, false},
	{"\"a\r\n\"@c", false, false},
	{"\"a@c", false, false},
	{"\"a@c\\", false, false},
	{"a\x7f@c", false, false},
};

START_TEST(test_address)
{
	struct rst_str address = rst_str(addresses[_i].address);

	ck_assert_int_eq(rst_smtp_address_valid(address), addresses[_i].valid);
	ck_assert_int_eq(rst_smtp_address_is_utf8(address), addresses[_i].utf8);
}
END_TEST

static const struct {
	const char *params;
	const char *want; /* "K=V;", and "!" where it is malformed */
} params[] = {
	{"", ""},
	{" \t", ""},
	{"SIZE=10", "SIZE=10;"},
	{"SIZE=10  BODY=8BITMIME\tSMTPUTF8 ",
	 "SIZE=10;BODY=8BITMIME;SMTPUTF8=;"},
	{"ORCPT=utf-8;\xc3\xbc@b", "ORCPT=utf-8;\xc3\xbc@b;"},
	{"X-A1=<>", "X-A1=<>;"},
	{"A=", "!"},
	{"=A", "!"},
	{"A=b=c", "!"},
	{"OK -A=b", "OK=;!"},
	{"A:b", "!"},
	{"A=\x7f", "!"},
	{"A=b\x01"
	 "c",
	 "!"},
};

START_TEST(test_param)
{
	struct rst_str rest = rst_str(params[_i].params), keyword, value;
	char got[100] = "";
	int ret;

	while ((ret = rst_smtp_param_next(&rest, &keyword, &value)) > 0) {
		strncat(got, keyword.p, keyword.n);
		strcat(got, "=");
		strncat(got, value.p, value.n);
		strcat(got, ";");
	}
	if (ret < 0) {
		ck_assert_int_eq(ret, RST_EPROTO);
		strcat(got, "!");
	}
	ck_assert_str_eq(got, params[_i].want);
}
END_TEST

static const struct {
	struct rst_str input;
	ssize_t result;
	unsigned int code;
	const char *enhanced, *text;
	const char *texts; /* of all lines, each with '|' */
} replies[] = {
	{RST_STR("250 ok\r\n"), 8, 250, "", "ok", "ok|"},
	{RST_STR("250 ok\r\n250 "), 8, 250, "", "ok", "ok|"},
	{RST_STR("250\r\n"), 5, 250, "", "", "|"},
	{RST_STR("250 \r\n"), 6, 250, "", "", "|"},
	{RST_STR("250 2.0.0 fine\r\n"), 16, 250, "2.0.0", "fine",
	 "2.0.0 fine|"},
	{RST_STR("550 5.7.123\r\n"), 13, 550, "5.7.123", "", "5.7.123|"},
	{RST_STR("550 5.7.1234 x\r\n"), 16, 550, "", "5.7.1234 x",
	 "5.7.1234 x|"},
	{RST_STR("550 2.0.0 x\r\n"), 13, 550, "", "2.0.0 x", "2.0.0 x|"},
	{RST_STR("550 5..0 x\r\n"), 12, 550, "", "5..0 x", "5..0 x|"},
	{RST_STR("550 5.1 x\r\n"), 11, 550, "", "5.1 x", "5.1 x|"},
	{RST_STR("550 5.1.1x\r\n"), 12, 550, "", "5.1.1x", "5.1.1x|"},
	{RST_STR("250-a b\r\n250-\r\n250 C\r\n"), 22, 250, "", "C", "a b||C|"},
	{RST_STR("250-a\r\n250\r\n"), 12, 250, "", "", "a||"},
	{RST_STR("354 go\r\n"), 8, 354, "", "go", "go|"},
	{RST_STR("250-a\r\n251 b\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("250-a\r\nb\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("hello\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("25 a\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("2500 a\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("250x\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("150 a\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("650 a\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("250 a\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("250 a\0\r\n"), RST_EPROTO, 0, NULL, NULL, NULL},
	{RST_STR("250-a\r\n250-b\r\n250-c\r\n250-d\r\n250"), RST_ELIMIT, 0,
	 NULL, NULL, NULL},
	{RST_STR("250-aaaaaaaaaaaaa\r\n250-bbbbb\r\n250 c\r\n"), RST_ELIMIT, 0,
	 NULL, NULL, NULL},
	{RST_STR("250 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"), RST_ELIMIT, 0,
	 NULL, NULL, NULL},
	{RST_STR("250-a\r\n250"), 0, 0, NULL, NULL, NULL},
};
#define REPLY_MAX 30

static void check_reply(int i, const struct rst_smtp_reply *reply)
{
	struct rst_str rest = reply->lines, text;
	char got[100] = "";

	ck_assert_uint_eq(reply->code, replies[i].code);
	ck_assert_rst_str_eq(reply->enhanced, replies[i].enhanced);
	ck_assert_rst_str_eq(reply->text, replies[i].text);
	while (rst_smtp_reply_line(&rest, &text)) {
		strncat(got, text.p, text.n);
		strcat(got, "|");
	}
	ck_assert_str_eq(got, replies[i].texts);
}

START_TEST(test_reply)
{
	struct rst_str input = replies[_i].input;
	struct rst_smtp_reply reply;
	ssize_t ret = 0;
	size_t n;

	for (n = 0; n <= input.n && ret == 0; n++) {
		char *copy = exact_copy(input.p, n);

		ret = rst_smtp_reply_parse(copy, n, REPLY_MAX, &reply);
		if (ret > 0) {
			ck_assert_int_eq(ret, n);
			check_reply(_i, &reply);
		}
		free(copy);
	}
	ck_assert_int_eq(ret, replies[_i].result);
	ret = rst_smtp_reply_parse(input.p, input.n, REPLY_MAX, &reply);
	ck_assert_int_eq(ret, replies[_i].result);
	if (ret > 0)
		check_reply(_i, &reply);
}
END_TEST

/* evbuffer_pullup() gives NULL for an empty buffer. */
START_TEST(test_no_buffer)
{
	struct rst_smtp_reply reply;
	struct rst_str line;

	ck_assert_int_eq(rst_smtp_line(NULL, 0, 10, &line), 0);
	ck_assert_int_eq(rst_smtp_reply_parse(NULL, 0, 10, &reply), 0);
}
END_TEST

START_TEST(test_xtext_all_octets)
{
	char all[256], coded[3 * 256], back[3 * 256];
	size_t i, n;

	for (i = 0; i < sizeof(all); i++)
		all[i] = (char)i;
	n = rst_xtext_encode((struct rst_str){all, sizeof(all)}, coded);
	for (i = 0; i < n; i++)
		ck_assert(coded[i] > 32 && coded[i] < 127 && coded[i] != '=');
	ck_assert_int_eq(rst_xtext_decode((struct rst_str){coded, n}, back),
			 sizeof(all));
	ck_assert_mem_eq(back, all, sizeof(all));
}
END_TEST

static const struct {
	const char *xtext;
	const char *plain; /* NULL: malformed */
} xtexts[] = {
	{"", ""},      {"abc", "abc"}, {"a+2Bb+3D", "a+b="}, {"a+2bb", "a+b"},
	{"a b", NULL}, {"a=b", NULL},  {"\xc3\xbc", NULL},   {"a+", NULL},
	{"a+2", NULL}, {"a+G0", NULL}, {"a+0G", NULL},       {"+", NULL},
};

START_TEST(test_xtext)
{
	char out[20];
	ssize_t ret = rst_xtext_decode(rst_str(xtexts[_i].xtext), out);

	if (xtexts[_i].plain == NULL) {
		ck_assert_int_eq(ret, RST_EPROTO);
		return;
	}
	ck_assert_int_ge(ret, 0);
	out[ret] = '\0';
	ck_assert_str_eq(out, xtexts[_i].plain);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("smtp");
	TCase *tcase = tcase_create("smtp");

	tcase_add_loop_test(tcase, test_line, 0, N_ELEMENTS(lines));
	tcase_add_loop_test(tcase, test_command, 0, N_ELEMENTS(commands));
	tcase_add_loop_test(tcase, test_path, 0, N_ELEMENTS(paths));
	tcase_add_test(tcase, test_path_to);
	tcase_add_test(tcase, test_address_length);
	tcase_add_loop_test(tcase, test_address, 0, N_ELEMENTS(addresses));
	tcase_add_loop_test(tcase, test_param, 0, N_ELEMENTS(params));
	tcase_add_loop_test(tcase, test_reply, 0, N_ELEMENTS(replies));
	tcase_add_test(tcase, test_no_buffer);
	tcase_add_test(tcase, test_xtext_all_octets);
	tcase_add_loop_test(tcase, test_xtext, 0, N_ELEMENTS(xtexts));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
