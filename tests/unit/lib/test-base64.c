/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>

#include "base64.h"

static const struct {
	const char *coded;
	const char *plain; /* NULL: malformed */
} table[] = {
	/* RFC 4648 section 10 */
	{"", ""},
	{"Zg==", "f"},
	{"Zm8=", "fo"},
	{"Zm9v", "foo"},
	{"Zm9vYg==", "foob"},
	{"Zm9vYmE=", "fooba"},
	{"Zm9vYmFy", "foobar"},
	{"+/+/", "\xfb\xff\xbf"},
	/* bits that pad must be zero */
	{"Zh==", NULL},
	{"Zm9=", NULL},
	/* padding */
	{"Zg=", NULL},
	{"Zg", NULL},
	{"=", NULL},
	{"====", NULL},
	{"Z===", NULL},
	{"Zg=v", NULL},
	{"Zg==Zm9v", NULL},
	{"Zm8=Zm9v", NULL},
	{"Zm9vZ", NULL},
	/* other octets */
	{"Zm9v\tresp=", NULL},
	{"Zm 9", NULL},
	{"Zm-_", NULL},
	{"Zm\xc3\xbc", NULL},
};

/* Decode valid base64 by the letter of the RFC. @return octets */
static size_t decode(struct rst_str in, char *out)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "abcdefghijklmnopqrstuvwxyz"
				       "0123456789+/";
	unsigned int bits = 0, count = 0;
	size_t i, n = 0;

	for (i = 0; i < in.n && in.p[i] != '='; i++) {
		bits = (bits << 6 |
			(unsigned int)(strchr(alphabet, in.p[i]) - alphabet)) &
		       0xffffff;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[n++] = (char)(bits >> count);
		}
	}
	return n;
}

START_TEST(test_table)
{
	struct rst_str coded = rst_str(table[_i].coded);
	char out[32];
	size_t n;

	ck_assert_int_eq(rst_base64_valid(coded), table[_i].plain != NULL);
	if (table[_i].plain == NULL)
		return;
	n = decode(coded, out);
	ck_assert_uint_eq(n, strlen(table[_i].plain));
	ck_assert_mem_eq(out, table[_i].plain, n);
	n = rst_base64_encode(table[_i].plain, n, out);
	ck_assert_rst_str_eq(((struct rst_str){out, n}), coded.p);
}
END_TEST

START_TEST(test_all_octets)
{
	char all[256], coded[RST_BASE64_SIZE(256)], back[256];
	struct rst_str view = {coded, 0};
	size_t i;

	for (i = 0; i < sizeof(all); i++)
		all[i] = (char)i;
	for (i = 0; i <= sizeof(all); i++) {
		view.n = rst_base64_encode(all, i, coded);
		ck_assert_uint_eq(view.n, RST_BASE64_SIZE(i));
		ck_assert(rst_base64_valid(view));
		ck_assert_uint_eq(decode(view, back), i);
		ck_assert_mem_eq(back, all, i);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base64");
	TCase *tcase = tcase_create("base64");

	tcase_add_loop_test(tcase, test_table, 0, N_ELEMENTS(table));
	tcase_add_test(tcase, test_all_octets);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
