/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "istream.h"
#include "istream-concat.h"
#include "str.h"

/* lib.h's and test-util.h's do the same */
#undef N_ELEMENTS
#include "hold/crlf.h"
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

	ck_assert_int_eq(rst_crlf_size(input, &size), 0);
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
		ck_assert_int_eq(rst_crlf_size(input, &size), 0);
		ck_assert_uint_eq(size, cases[_i].out.n);
		i_stream_seek(input, 0);
		check(input, UOFF_T_MAX, cases[_i].out);
		i_stream_unref(&input);
		i_stream_unref(&parts[0]);
		i_stream_unref(&parts[1]);
	}
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
