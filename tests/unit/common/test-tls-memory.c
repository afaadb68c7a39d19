/* SPDX-License-Identifier: MIT */
#include "common/tls-memory.h"
#include "test-util.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD (16 * 1024 + 300)
#define MANY 5000 /* more than there are slots */

static size_t resident_kib(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long size, resident;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu %lu", &size, &resident), 2);
	fclose(file);
	return resident * 4;
}

static const size_t sizes[] = {
	0,      1,         100,           16 * 1024 - 1, 16 * 1024,
	RECORD, 24 * 1024, 24 * 1024 + 1, 1000000,
};

START_TEST(test_octets_stay)
{
	size_t i, j, count = sizeof(sizes) / sizeof(sizes[0]);
	unsigned char *p;

	for (i = 0; i < count; i++) {
		for (j = 0; j < count; j++) {
			size_t k, same = sizes[i] < sizes[j] ? sizes[i]
							     : sizes[j];

			if (sizes[j] == 0)
				continue;
			p = tls_memory_malloc(sizes[i]);
			memset(p, (int)i + 1, sizes[i]);
			p = tls_memory_realloc(p, sizes[j]);
			for (k = 0; k < same; k++)
				ck_assert_uint_eq(p[k], i + 1);
			memset(p, 0xff, sizes[j]);
			tls_memory_free(p);
		}
	}
	tls_memory_free(NULL);
	p = tls_memory_realloc(NULL, RECORD);
	memset(p, 1, RECORD);
	ck_assert_ptr_null(tls_memory_realloc(p, 0));
}
END_TEST

START_TEST(test_many_are_apart)
{
	static unsigned char *p[MANY];
	unsigned int i;

	for (i = 0; i < MANY; i++) {
		p[i] = tls_memory_malloc(RECORD);
		memcpy(p[i], &i, sizeof(i));
		memcpy(p[i] + RECORD - sizeof(i), &i, sizeof(i));
	}
	for (i = 0; i < MANY; i++) {
		ck_assert_int_eq(memcmp(p[i], &i, sizeof(i)), 0);
		ck_assert_int_eq(
			memcmp(p[i] + RECORD - sizeof(i), &i, sizeof(i)), 0);
		tls_memory_free(p[i]);
	}
}
END_TEST

/* Small blocks that stay, between large ones that come and go: malloc() alone
   keeps 70 MB here. */
START_TEST(test_crowd_leaves_nothing)
{
	enum {
		CROWD = 4000
	};
	static void *small[CROWD], *large[CROWD];
	size_t before = resident_kib();
	unsigned int i;

	for (i = 0; i < CROWD; i++) {
		large[i] = tls_memory_malloc(RECORD);
		memset(large[i], 1, RECORD);
		small[i] = tls_memory_malloc(100);
		memset(small[i], 1, 100);
	}
	for (i = 0; i < CROWD; i++)
		tls_memory_free(large[i]);
	ck_assert_uint_lt(resident_kib(), before + 8 * 1024);
	for (i = 0; i < CROWD; i++)
		tls_memory_free(small[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls-memory");
	TCase *tc = tcase_create("all");

	tcase_add_test(tc, test_octets_stay);
	tcase_add_test(tc, test_many_are_apart);
	tcase_add_test(tc, test_crowd_leaves_nothing);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
