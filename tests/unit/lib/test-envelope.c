/* SPDX-License-Identifier: MIT */
#include "restante/envelope.h"

#include "test-util.h"

#include <limits.h>
#include <string.h>

#define FIELD "X-Restante-Envelope:"
#define KEY64 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define REST " t=1700000000.123456; k=" KEY64 ";"

/* ---- ids */

static const struct {
	const char *id;
	bool valid;
} ids[] = {
	{"a", true},
	{"17000-ab_C.d9", true},
	{"0123456789012345678901234567890123456789012345678901234567890123",
	 true},
	{"01234567890123456789012345678901234567890123456789012345678901234",
	 false},
	{"", false},
	{".", false},
	{"..", false},
	{".hidden", false},
	{"a/b", false},
	{"a b", false},
	{"a\tb", false},
	{"a\n", false},
	{"a;b", false},
	{"\303\244", false},
};

START_TEST(id_valid)
{
	ck_assert_int_eq(rst_id_valid(rst_str(ids[_i].id)), ids[_i].valid);
}
END_TEST

START_TEST(id_with_nul)
{
	ck_assert(!rst_id_valid((struct rst_str){"a\0b", 3}));
}
END_TEST

/* ---- round trips */

static const struct {
	const char *mail_from, *rcpt_to, *mail_params, *rcpt_params;
	unsigned int trace_lines, own_lines;
	int64_t arrived_us;
	bool has_octets;
	uint64_t octets;
} trips[] = {
	{"s@example.org", "traveller@example.test", "", "", 3, 2,
	 1700000000123456, false, 0},
	{"", "traveller+detail@example.test", "", "", 0, 0, 0, true, 0},
	{"a;b=c+d@example.org", "\"a b;c\"@example.test", "", "", 7, 7, 1, true,
	 31457280},
	{"\303\244\303\266@example.org", "gr\303\274n@example.test",
	 "SMTPUTF8 RET=HDRS ENVID=QQ314159", "NOTIFY=SUCCESS,FAILURE", 1, 0,
	 999999, false, 0},
	{"from@example.org", "to@example.test", "BODY=8BITMIME",
	 "NOTIFY=NEVER ORCPT=rfc822;to+3D@example.test", UINT_MAX, UINT_MAX,
	 INT64_MAX - 1000000, true, UINT64_MAX},
	{"\001\002\t\r\n\177\377@x", "a", " ", ";", 1, 1, 1000000, false, 0},
};

static struct rst_envelope trip_envelope(int i)
{
	struct rst_envelope env = {
		.id = RST_STR("6a1f.0-b_C"),
		.arrived_us = trips[i].arrived_us,
		.mail_from = rst_str(trips[i].mail_from),
		.rcpt_to = rst_str(trips[i].rcpt_to),
		.mail_params = rst_str(trips[i].mail_params),
		.rcpt_params = rst_str(trips[i].rcpt_params),
		.trace_lines = trips[i].trace_lines,
		.own_lines = trips[i].own_lines,
		.has_octets = trips[i].has_octets,
		.octets = trips[i].octets,
	};
	size_t n;

	for (n = 0; n < RST_KEY_SIZE; n++)
		env.key[n] = (unsigned char)(n * 37 + 5);
	env.has_digest = i % 2 == 0;
	for (n = 0; n < RST_DIGEST_SIZE && env.has_digest; n++)
		env.digest[n] = (unsigned char)(n * 41 + 3);
	return env;
}

static void assert_same(const struct rst_envelope *a,
			const struct rst_envelope *b)
{
	ck_assert(rst_str_eq(a->id, b->id));
	ck_assert_int_eq(a->arrived_us, b->arrived_us);
	ck_assert_mem_eq(a->key, b->key, RST_KEY_SIZE);
	ck_assert(rst_str_eq(a->mail_from, b->mail_from));
	ck_assert(rst_str_eq(a->rcpt_to, b->rcpt_to));
	ck_assert(rst_str_eq(a->mail_params, b->mail_params));
	ck_assert(rst_str_eq(a->rcpt_params, b->rcpt_params));
	ck_assert_uint_eq(a->trace_lines, b->trace_lines);
	ck_assert_uint_eq(a->own_lines, b->own_lines);
	ck_assert_int_eq(a->has_octets, b->has_octets);
	ck_assert_uint_eq(a->octets, b->octets);
	ck_assert_int_eq(a->has_digest, b->has_digest);
	ck_assert_mem_eq(a->digest, b->digest, RST_DIGEST_SIZE);
}

/* The reader of a digest gets the octets that its writer got. */
static void assert_covered(const struct rst_envelope *env,
			   const struct rst_envelope *back)
{
	size_t len;
	char *covered = rst_envelope_covered(env, &len);

	ck_assert_ptr_nonnull(covered);
	ck_assert_rst_str_eq(back->covered, env->has_digest ? covered : "");
	free(covered);
}

/* @return the field and one octet of the next line; free() it */
static char *format_and_more(const struct rst_envelope *env, size_t *len_r)
{
	char *field = rst_envelope_format(env, len_r);

	ck_assert_ptr_nonnull(field);
	field = rst_realloc(field, *len_r + 1);
	field[(*len_r)++] = 'R';
	return field;
}

START_TEST(round_trip)
{
	struct rst_envelope env = trip_envelope(_i), back;
	char *storage;
	size_t len, cut;
	char *field = format_and_more(&env, &len);

	for (cut = 0; cut < len; cut++) {
		ck_assert_int_eq(
			rst_envelope_parse(field, cut, &back, &storage), 0);
		ck_assert_ptr_null(storage);
	}
	ck_assert_int_eq(rst_envelope_parse(field, len, &back, &storage),
			 (ssize_t)len - 1);
	assert_same(&env, &back);
	assert_covered(&env, &back);
	free(storage);
	free(field);
}
END_TEST

/* Lines short enough for every reader of mail, each a continuation. */
START_TEST(lines_are_short)
{
	struct rst_envelope env = trip_envelope(_i);
	char text[700];
	size_t len, i, start = 0;
	char *field;

	memset(text, ';', sizeof(text));
	env.rcpt_params = (struct rst_str){text, sizeof(text)};
	field = format_and_more(&env, &len);
	for (i = 0; i < len; i++) {
		if (field[i] != '\n')
			continue;
		ck_assert_uint_le(i - start, 79);
		ck_assert_int_eq(field[i - 1], '\r');
		ck_assert(i == len - 2 || field[i + 1] == ' ');
		ck_assert(field[i - 2] != ' ');
		start = i + 1;
	}
	ck_assert_uint_eq(start, len - 1);
	free(field);
}
END_TEST

/* dsync and other formats change line ends; nothing else may matter. */
START_TEST(other_line_ends)
{
	struct rst_envelope env = trip_envelope(_i), back;
	char *storage, *lf;
	size_t len, i, n = 0;
	char *field = format_and_more(&env, &len);

	lf = rst_malloc(len);
	for (i = 0; i < len; i++) {
		if (field[i] != '\r')
			lf[n++] = field[i];
	}
	ck_assert_int_eq(rst_envelope_parse(lf, n, &back, &storage),
			 (ssize_t)n - 1);
	assert_same(&env, &back);
	free(storage);
	free(lf);
	free(field);
}
END_TEST

/* ---- fields that are read, and others */

static const struct {
	const char *text;
	ssize_t ret; /* -100: all but the last octet */
} reads[] = {
	{"", 0},
	{"X-Rest", 0},
	{FIELD, 0},
	{FIELD " v=1;", 0},
	{FIELD " v=1;\r\n id=a", 0},
	{"Received: ", RST_EPROTO},
	{"X-Restante-Other", RST_EPROTO},
	{"\r\n", RST_EPROTO},
	{FIELD " v=1; id=a;" REST " from=; to=b; skip=3; own=1\nR", -100},
	/* "own" is younger than the other names: it may be missing */
	{FIELD " v=1; id=a;" REST " from=; to=b; skip=3;\nR", -100},
	{FIELD "v=1;id=a;" REST "from=;to=b;skip=3\nR", -100},
	{"x-restante-envelope: v=1; id=a;" REST " from=;to=b;skip=3\nR", -100},
	{FIELD "v\n\t=\r\n 1;i d=a;" REST "from=;to=b;ski\n p=3\nR", -100},
	{FIELD "v=1;id=a;new=x=y;" REST "from=;to=b;skip=3\nR", -100},
	{FIELD " skip=3; to=b; from=;" REST " id=a; v=1\nR", -100},
	{FIELD "v=2;id=a;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a/b;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;id=a;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "id=a;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;to=b\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;to=b;skip=3;own=4\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;to=b;skip=-3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;to=b;skip=4294967296\nR", RST_EPROTO},
	{FIELD "v=1;id=a;n=0;" REST "from=;to=b;skip=3\nR", -100},
	{FIELD "v=1;id=a;n=;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;n=-1;" REST "from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;n=18446744073709551616;" REST "from=;to=b;skip=3\nR",
	 RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=+ZZ;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=+4;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=;;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=\001;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;" REST "from=\303\244;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;t=1;k=" KEY64 ";from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;t=1.5;k=" KEY64 ";from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;t=.123456;k=" KEY64 ";from=;to=b;skip=3\nR",
	 RST_EPROTO},
	{FIELD "v=1;id=a;t=9223372036855.000000;k=" KEY64
	       ";from=;to=b;skip=3\nR",
	 RST_EPROTO},
	{FIELD "v=1;id=a;t=1.000000;k=0001;from=;to=b;skip=3\nR", RST_EPROTO},
	{FIELD "v=1;id=a;t=1.000000;k=g" KEY64 ";from=;to=b;skip=3\nR",
	 RST_EPROTO},
	{FIELD "\nR", RST_EPROTO},
	{FIELD "\n\n", RST_EPROTO},
};

/* Whole, and cut at every octet: the first answer that is not "more". */
START_TEST(reading)
{
	size_t len = strlen(reads[_i].text), cut;
	ssize_t want = reads[_i].ret == -100 ? (ssize_t)len - 1 : reads[_i].ret;
	struct rst_envelope env;
	char *storage;
	ssize_t ret;

	ret = rst_envelope_parse(reads[_i].text, len, &env, &storage);
	ck_assert_int_eq(ret, want);
	ck_assert((storage != NULL) == (ret > 0));
	free(storage);
	for (cut = 0, ret = 0; ret == 0 && cut <= len; cut++) {
		/* a copy, so that ASan sees a read beyond the cut */
		char *copy = rst_malloc(cut);

		memcpy(copy, reads[_i].text, cut);
		ret = rst_envelope_parse(copy, cut, &env, &storage);
		free(storage);
		free(copy);
	}
	ck_assert_int_eq(ret, want);
}
END_TEST

START_TEST(values_read)
{
	const char text[] =
		FIELD " v=1; id=6a1f; t=1700000000.000042; k=" KEY64 ";\r\n"
		      " from=a+2Bb@x; to=c+3Bd; mailp=RET+3DHDRS;\r\n"
		      " rcptp=NOTI\r\n FY+3DNEVER; skip=5; own=2\r\n"
		      "Received: from";
	struct rst_envelope env;
	char *storage;
	size_t i;

	ck_assert_int_gt(rst_envelope_parse(text, strlen(text), &env, &storage),
			 0);
	ck_assert_rst_str_eq(env.id, "6a1f");
	ck_assert_int_eq(env.arrived_us, 1700000000000042);
	for (i = 0; i < RST_KEY_SIZE; i++)
		ck_assert_uint_eq(env.key[i], i);
	ck_assert_rst_str_eq(env.mail_from, "a+b@x");
	ck_assert_rst_str_eq(env.rcpt_to, "c;d");
	ck_assert_rst_str_eq(env.mail_params, "RET=HDRS");
	ck_assert_rst_str_eq(env.rcpt_params, "NOTIFY=NEVER");
	ck_assert_uint_eq(env.trace_lines, 5);
	ck_assert_uint_eq(env.own_lines, 2);
	free(storage);
}
END_TEST

/* ---- remains of a field */

static const struct {
	struct rst_str text;
	bool cut;
	size_t start;
} parts[] = {
	{RST_STR(""), true, 0},
	{RST_STR("X"), true, 1},
	{RST_STR("x-restante-env"), true, 14},
	{RST_STR(FIELD), true, 0},
	{RST_STR(FIELD " v=1;"), true, 0},
	{RST_STR("\0\0" FIELD " v=1;"), true, 2},
	/* dbox-multi: half of the message's header */
	{RST_STR("N          00               " FIELD " v=1;"), true, 28},
	{RST_STR("0123456789012345678901234567890123456789"
		 "012345678901234567890123" FIELD),
	 true, 64},
	{RST_STR("0123456789012345678901234567890123456789"
		 "0123456789012345678901234" FIELD),
	 false, 85},
	{RST_STR("\0\0"), true, 2},
	{RST_STR("X-Other: v"), false, 10},
	{RST_STR("X-Restante-Envelopes: v"), false, 23},
	{RST_STR("\r\n"), false, 2},
	{RST_STR("From: a"), false, 7},
};

START_TEST(is_cut)
{
	size_t start;

	ck_assert_int_eq(
		rst_envelope_is_cut(parts[_i].text.p, parts[_i].text.n, &start),
		parts[_i].cut);
	ck_assert_uint_eq(start, parts[_i].start);
}
END_TEST

/* ---- bounds */

START_TEST(field_too_long)
{
	struct rst_envelope env = trip_envelope(0);
	char *text = rst_calloc(1, RST_ENVELOPE_MAX + 1);
	char *field, *storage;
	size_t len, n;

	for (n = RST_ENVELOPE_MAX; n <= RST_ENVELOPE_MAX + 1; n++) {
		env.rcpt_to = (struct rst_str){text, n};
		ck_assert_ptr_null(rst_envelope_format(&env, &len));
	}
	/* the largest field that can be written can also be read */
	n = RST_ENVELOPE_MAX / 3;
	do {
		env.rcpt_to = (struct rst_str){text, n--};
		field = rst_envelope_format(&env, &len);
	} while (field == NULL);
	ck_assert_uint_gt(n, RST_ENVELOPE_MAX / 4);
	ck_assert_uint_le(len, RST_ENVELOPE_MAX);
	field = rst_realloc(field, len + 1);
	field[len] = '\n';
	ck_assert_int_eq(rst_envelope_parse(field, len + 1, &env, &storage),
			 (ssize_t)len);
	free(storage);
	free(field);
	free(text);
}
END_TEST

START_TEST(nothing_yet)
{
	struct rst_envelope env;
	char *storage;

	ck_assert_int_eq(rst_envelope_parse(NULL, 0, &env, &storage), 0);
	ck_assert_ptr_null(storage);
}
END_TEST

START_TEST(endless_field)
{
	char *text = rst_malloc(RST_ENVELOPE_MAX + 1);
	struct rst_envelope env;
	char *storage;

	memset(text, ' ', RST_ENVELOPE_MAX + 1);
	memcpy(text, FIELD, strlen(FIELD));
	ck_assert_int_eq(
		rst_envelope_parse(text, RST_ENVELOPE_MAX, &env, &storage), 0);
	ck_assert_int_eq(
		rst_envelope_parse(text, RST_ENVELOPE_MAX + 1, &env, &storage),
		RST_ELIMIT);
	ck_assert_ptr_null(storage);
	free(text);
}
END_TEST

START_TEST(not_formatted)
{
	struct rst_envelope env = trip_envelope(0);
	size_t len;

	env.id = RST_STR("a b");
	ck_assert_ptr_null(rst_envelope_format(&env, &len));
	env = trip_envelope(0);
	env.arrived_us = -1;
	ck_assert_ptr_null(rst_envelope_format(&env, &len));
	env = trip_envelope(0);
	env.own_lines = env.trace_lines + 1;
	ck_assert_ptr_null(rst_envelope_format(&env, &len));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("envelope");
	TCase *tc = tcase_create("id");

	tcase_add_loop_test(tc, id_valid, 0, N_ELEMENTS(ids));
	tcase_add_test(tc, id_with_nul);
	suite_add_tcase(suite, tc);

	tc = tcase_create("round trip");
	tcase_add_loop_test(tc, round_trip, 0, N_ELEMENTS(trips));
	tcase_add_loop_test(tc, lines_are_short, 0, N_ELEMENTS(trips));
	tcase_add_loop_test(tc, other_line_ends, 0, N_ELEMENTS(trips));
	suite_add_tcase(suite, tc);

	tc = tcase_create("reading");
	tcase_add_loop_test(tc, reading, 0, N_ELEMENTS(reads));
	tcase_add_test(tc, values_read);
	tcase_add_loop_test(tc, is_cut, 0, N_ELEMENTS(parts));
	suite_add_tcase(suite, tc);

	tc = tcase_create("bounds");
	tcase_add_test(tc, field_too_long);
	tcase_add_test(tc, nothing_yet);
	tcase_add_test(tc, endless_field);
	tcase_add_test(tc, not_formatted);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
