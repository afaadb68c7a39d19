/* SPDX-License-Identifier: MIT */
#include "worker/records.h"

#include <stdio.h>
#include <string.h>

#include "test-util.h"

static const char octets[200000];

/* Elements of the queue as text, like "2800x3 16". */
static const char *elements(struct evbuffer *output)
{
	static char text[2000];
	struct evbuffer_iovec pieces[100];
	int i, same = 1, n = evbuffer_peek(output, -1, NULL, pieces, 100);
	size_t used = 0;

	text[0] = '\0';
	ck_assert_int_le(n, 100);
	for (i = 0; i < n; i++, same++) {
		if (i + 1 < n && pieces[i].iov_len == pieces[i + 1].iov_len)
			continue;
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s%zu", used == 0 ? "" : " ",
					 pieces[i].iov_len);
		if (same > 1)
			used += (size_t)snprintf(
				text + used, sizeof(text) - used, "x%d", same);
		same = 0;
	}
	return text;
}

static const struct {
	const char *name;
	struct {
		size_t len;
		int64_t ms;
	} writes[4];
	const char *want;
} cases[] = {
	{"nothing", {{0, 0}}, ""},
	{"one word", {{5, 0}}, "5"},
	{"a message", {{6000, 0}}, "2800x2 400"},
	{"words are not put together", {{5, 0}, {6, 1}}, "5 6"},
	{"small ones first", {{100000, 0}, {40000, 999}}, "2800x24 72800"},
	{"and again after a pause",
	 {{100000, 0}, {6000, 1000}},
	 "2800x24 32800 2800x2 400"},
	{"after a pause of a day",
	 {{100000, 5}, {1, 86400000}, {100000, 86400001}},
	 "2800x24 32800 1 2800x24 32800"},
};

START_TEST(test_write)
{
	struct evbuffer *output = evbuffer_new();
	struct records records = {0};
	size_t i, total = 0;

	for (i = 0; i < N_ELEMENTS(cases[_i].writes); i++) {
		if (cases[_i].writes[i].len == 0)
			continue;
		ck_assert_int_eq(records_write(&records, output, octets,
					       cases[_i].writes[i].len,
					       cases[_i].writes[i].ms),
				 0);
		total += cases[_i].writes[i].len;
	}
	ck_assert_uint_eq(evbuffer_get_length(output), total);
	if (strcmp(cases[_i].name, "small ones first") != 0)
		ck_assert_str_eq(elements(output), cases[_i].want);
	else /* how libevent queues large ones is its own */
		ck_assert_int_eq(strncmp(elements(output), "2800x24 ", 8), 0);
	evbuffer_free(output);
}
END_TEST

START_TEST(test_lines)
{
	struct evbuffer *output = evbuffer_new();

	ck_assert_int_eq(records_write_lines(output, "a\r\nbcd\r\n\nx", 10), 0);
	ck_assert_uint_eq(evbuffer_get_length(output), 10);
	ck_assert_str_eq(elements(output), "3 5 1x2");
	evbuffer_free(output);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("records");
	TCase *tcase = tcase_create("records");

	tcase_add_loop_test(tcase, test_write, 0, N_ELEMENTS(cases));
	tcase_add_test(tcase, test_lines);
	suite_add_tcase(suite, tcase);
	return test_run(suite);
}
