/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "hex-binary.h"
#include "istream.h"
#include "istream-concat.h"
#include "str.h"

/* lib.h's and test-util.h's do the same */
#undef N_ELEMENTS
#include "hold/crlf.h"
#include "hold/digest.h"
#include "test-util.h"

static const struct {
	struct rst_str in, out;
} cases[] = {
	{RST_STR(""), RST_STR("")},
	{RST_STR("a"), RST_STR("a")},
	{RST_STR("\n"), RST_STR("\r\n")},
	{RST_STR("\n\n"), RST_STR("\r\n\r\n")},
	{RST_STR("a\nb\n"), RST_STR("a\r\nb\r\n")},
	/* also after a CR, which is the message's own */
	{RST_STR("a\r\nb"), RST_STR("a\r\r\nb")},
	{RST_STR("\r\r\n\r"), RST_STR("\r\r\r\n\r")},
	{RST_STR("\0\n\0"), RST_STR("\0\r\n\0")},
};

static struct rst_digest digest;

/* @return the result, as if nothing were covered but the octets */
static const char *result_of(const struct rst_digest *of)
{
	unsigned char result[RST_DIGEST_SIZE];

	rst_digest_result(of, RST_STR(""), result);
	return binary_to_hex(result, sizeof(result));
}

/* The octets of text, with those after each cut in another call. */
static const char *digest_of(struct rst_str text, bool crlf, size_t cut)
{
	struct rst_digest of;

	rst_digest_init(&of, crlf);
	rst_digest_update(&of, (const unsigned char *)text.p, cut);
	rst_digest_update(&of, (const unsigned char *)text.p + cut,
			  text.n - cut);
	return result_of(&of);
}

static void check(struct istream *input, uoff_t size, struct rst_str want)
{
	struct istream *crlf = rst_crlf_istream(input, size);
	string_t *got = t_str_new(64);
	const unsigned char *data;
	size_t n;
	uoff_t known;

	if (size != UOFF_T_MAX) {
		ck_assert_int_eq(i_stream_get_size(crlf, TRUE, &known), 1);
		ck_assert_uint_eq(known, want.n);
	}
	while (i_stream_read_more(crlf, &data, &n) > 0) {
		str_append_data(got, data, 1);
		i_stream_skip(crlf, 1);
	}
	ck_assert_int_eq(crlf->stream_errno, 0);
	ck_assert_uint_eq(str_len(got), want.n);
	ck_assert_mem_eq(str_data(got), want.p, want.n);
	i_stream_unref(&crlf);
}

START_TEST(test_whole)
{
	struct istream *input =
		i_stream_create_from_data(cases[_i].in.p, cases[_i].in.n);
	uoff_t size;

	rst_digest_init(&digest, FALSE);
	ck_assert_int_eq(rst_crlf_size(input, &digest, &size), 0);
	ck_assert_str_eq(result_of(&digest), digest_of(cases[_i].in, FALSE, 0));
	ck_assert_uint_eq(size, cases[_i].out.n);
	i_stream_seek(input, 0);
	check(input, size, cases[_i].out);
	i_stream_unref(&input);
}
END_TEST

START_TEST(test_cut)
{
	struct rst_str in = cases[_i].in;
	struct istream *parts[3], *input;
	size_t cut;
	uoff_t size;

	for (cut = 0; cut <= in.n; cut++) {
		parts[0] = i_stream_create_from_data(in.p, cut);
		parts[1] = i_stream_create_from_data(in.p + cut, in.n - cut);
		parts[2] = NULL;
		input = i_stream_create_concat(parts);
		ck_assert_int_eq(rst_crlf_size(input, &digest, &size), 0);
		ck_assert_uint_eq(size, cases[_i].out.n);
		i_stream_seek(input, 0);
		check(input, UOFF_T_MAX, cases[_i].out);
		i_stream_unref(&input);
		i_stream_unref(&parts[0]);
		i_stream_unref(&parts[1]);
	}
}
END_TEST

/* With LF, and with CRLF: it is the same message. CRs at its end do not count.
 */
START_TEST(test_digest)
{
	struct rst_str in = cases[_i].in, out = cases[_i].out;
	const char *want = digest_of(in, FALSE, 0);
	size_t cut;

	for (cut = 0; cut <= in.n; cut++)
		ck_assert_str_eq(digest_of(in, FALSE, cut), want);
	for (cut = 0; cut <= out.n; cut++)
		ck_assert_str_eq(digest_of(out, TRUE, cut), want);
	ck_assert_str_eq(
		digest_of(rst_str(t_strdup_printf("%s\r\r", in.p)), FALSE, 0),
		digest_of(rst_str(in.p), FALSE, 0));
	ck_assert_str_ne(
		digest_of(rst_str(t_strdup_printf("%s\r\r.", in.p)), FALSE, 0),
		digest_of(rst_str(t_strdup_printf("%s.", in.p)), FALSE, 0));
}
END_TEST

START_TEST(test_digest_is_sha256)
{
	/* printf 'a\r\nb\nv=1;id=x' | sha256sum */
	static const char want[] =
		"6b98ee22e332d74235a7316497973285daf45a34a16ff7d0eea7dba2b4e167dc";
	unsigned char result[RST_DIGEST_SIZE];
	struct rst_digest of;

	rst_digest_init(&of, FALSE);
	rst_digest_update(&of, (const unsigned char *)"a\r\nb\n\r", 6);
	rst_digest_result(&of, RST_STR("v=1;id=x"), result);
	ck_assert_str_eq(binary_to_hex(result, sizeof(result)), want);
}
END_TEST

/* @return how many octets come out; -1: and then an error */
static int read_digested(const char *text, const char *wanted_of,
			 size_t max_buffer)
{
	unsigned char wanted[RST_DIGEST_SIZE];
	struct istream *input, *stream;
	const unsigned char *data;
	struct rst_digest of;
	int got = 0;
	size_t n;

	rst_digest_init(&of, FALSE);
	rst_digest_update(&of, (const unsigned char *)wanted_of,
			  strlen(wanted_of));
	rst_digest_result(&of, RST_STR("x"), wanted);
	rst_digest_init(&of, FALSE);
	input = i_stream_create_from_data(text, strlen(text));
	stream = rst_digest_istream(input, &of, RST_STR("x"), wanted);
	i_stream_set_max_buffer_size(stream, max_buffer);
	while (i_stream_read_more(stream, &data, &n) > 0) {
		ck_assert_mem_eq(data, text + got, n);
		got += (int)n;
		i_stream_skip(stream, n);
	}
	if (stream->stream_errno != 0) {
		ck_assert_int_lt(got, (int)strlen(text));
		got = -1;
	}
	i_stream_unref(&stream);
	i_stream_unref(&input);
	return got;
}

START_TEST(test_digest_stream)
{
	static const size_t buffers[] = {1, 2, 3, 7, 8192};
	size_t max = buffers[_i];

	ck_assert_int_eq(read_digested("", "", max), 0);
	ck_assert_int_eq(read_digested("a", "a", max), 1);
	ck_assert_int_eq(read_digested("abc\ndef\r\n", "abc\ndef\r\n", max), 9);
	ck_assert_int_eq(read_digested("a", "b", max), -1);
	ck_assert_int_eq(read_digested("abc\ndef\r\n", "abc\ndef\n", max), -1);
	ck_assert_int_eq(read_digested("abcdefgh", "abcdefg", max), -1);
	ck_assert_int_eq(read_digested("abcdefg", "abcdefgh", max), -1);
}
END_TEST

/* Longer than any buffer: every length of output must fit somehow. */
START_TEST(test_long)
{
	string_t *in = str_new(default_pool, 70000);
	string_t *out = str_new(default_pool, 140000);
	struct istream *input;
	unsigned int i;

	for (i = 0; i < 66000; i++) {
		str_append_c(in, i % 3 == 0 ? 'x' : '\n');
		str_append(out, i % 3 == 0 ? "x" : "\r\n");
	}
	input = i_stream_create_from_data(str_data(in), str_len(in));
	check(input, str_len(out), (struct rst_str){str_c(out), str_len(out)});
	i_stream_unref(&input);
	str_free(&in);
	str_free(&out);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-crlf");
	TCase *tc = tcase_create("crlf");

	tcase_add_loop_test(tc, test_whole, 0, (int)N_ELEMENTS(cases));
	tcase_add_loop_test(tc, test_cut, 0, (int)N_ELEMENTS(cases));
	tcase_add_loop_test(tc, test_digest, 0, (int)N_ELEMENTS(cases));
	tcase_add_test(tc, test_digest_is_sha256);
	tcase_add_loop_test(tc, test_digest_stream, 0, 5);
	tcase_add_test(tc, test_long);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	int ret;

	lib_init();
	ret = test_run(suite());
	lib_deinit();
	return ret;
}
