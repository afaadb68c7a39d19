/* SPDX-License-Identifier: MIT */
/* The vectors are those of the authors: key 00 01 .. 0f, text 00 01 .. n-1. */
#include "restante/siphash.h"

#include "test-util.h"

static const struct {
	size_t n;
	uint64_t hash;
} vectors[] = {
	{0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},
	{7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
	{15, UINT64_C(0xa129ca6149be45e5)},
};

START_TEST(test_vectors)
{
	unsigned char key[RST_SIPHASH_KEY], text[16];
	size_t i;

	for (i = 0; i < sizeof(text); i++)
		key[i] = text[i] = (unsigned char)i;
	ck_assert_uint_eq(rst_siphash(key, (struct rst_str){(const char *)text,
							    vectors[_i].n}),
			  vectors[_i].hash);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("siphash");
	TCase *tcase = tcase_create("hash");

	tcase_add_loop_test(tcase, test_vectors, 0, N_ELEMENTS(vectors));
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
