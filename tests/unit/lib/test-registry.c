/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <stdio.h>
#include <string.h>

#include "restante/registry.h"

#define CROWD 100000

static struct rst_registry *registry;

static void setup(void)
{
	registry = rst_registry_new();
}

static void teardown(void)
{
	rst_registry_free(&registry);
	ck_assert_ptr_null(registry);
	rst_registry_free(&registry);
}

static uint64_t add(const char *user, uint64_t session)
{
	struct rst_registration old;

	return rst_registry_add(registry, rst_str(user), session, NULL, &old);
}

START_TEST(test_add_find_remove)
{
	struct rst_registration reg, old = {.session = 99};
	struct rst_str user = RST_STR("bob@example.test");
	char name[] = "bob@example.test";
	int ctx;
	uint64_t epoch;

	ck_assert(!rst_registry_find(registry, user, &reg));
	epoch = rst_registry_add(registry, rst_str(name), 7, &ctx, &old);
	memset(name, '!', sizeof(name));
	ck_assert_uint_gt(epoch, 0);
	ck_assert_uint_eq(old.session, 0);
	ck_assert(rst_registry_find(registry, user, &reg));
	ck_assert_rst_str_eq(reg.user, "bob@example.test");
	ck_assert_uint_eq(reg.session, 7);
	ck_assert_uint_eq(reg.epoch, epoch);
	ck_assert_ptr_eq(reg.ctx, &ctx);
	/* the view given to _remove() may be the entry's own name */
	ck_assert(rst_registry_remove(registry, reg.user, epoch));
	ck_assert(!rst_registry_find(registry, user, &reg));
	ck_assert(!rst_registry_remove(registry, user, epoch));
}
END_TEST

START_TEST(test_newer_wins)
{
	struct rst_str user = RST_STR("bob");
	struct rst_registration old, reg;
	int first_ctx, second_ctx;
	uint64_t first = rst_registry_add(registry, user, 1, &first_ctx, &old);
	uint64_t second =
		rst_registry_add(registry, user, 2, &second_ctx, &old);

	ck_assert_uint_gt(second, first);
	ck_assert_uint_eq(old.session, 1);
	ck_assert_uint_eq(old.epoch, first);
	ck_assert_ptr_eq(old.ctx, &first_ctx);
	ck_assert_rst_str_eq(old.user, "bob");
	/* the old session's removal comes too late */
	ck_assert(!rst_registry_remove(registry, user, first));
	ck_assert(!rst_registry_remove(registry, user, 0));
	ck_assert(rst_registry_find(registry, user, &reg));
	ck_assert_uint_eq(reg.session, 2);
	ck_assert(rst_registry_remove(registry, user, second));
	/* bob had no other entry */
	ck_assert(!rst_registry_find(registry, user, &reg));
}
END_TEST

/* Epochs grow over all users, and over removals. */
START_TEST(test_epochs)
{
	uint64_t a = add("a", 1), b = add("b", 2), a2;

	ck_assert_uint_gt(b, a);
	ck_assert(rst_registry_remove(registry, RST_STR("a"), a));
	a2 = add("a", 3);
	ck_assert_uint_gt(a2, b);
	ck_assert(!rst_registry_remove(registry, RST_STR("a"), a));
}
END_TEST

/* Names are as Dovecot spells them: another spelling is another user. */
START_TEST(test_names)
{
	static const struct rst_str names[] = {
		{"bob", 3},    {"Bob", 3},    {"bob ", 4},      {"bo", 2},
		{"bob\0x", 5}, {"bob\0y", 5}, {"b\xc3\xb6", 3}, {"", 0},
	};
	struct rst_registration reg, old;
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++) {
		(void)rst_registry_add(registry, names[i], i + 1, NULL, &old);
		ck_assert_uint_eq(old.session, 0);
	}
	for (i = 0; i < N_ELEMENTS(names); i++) {
		ck_assert(rst_registry_find(registry, names[i], &reg));
		ck_assert_uint_eq(reg.session, i + 1);
		ck_assert(rst_str_eq(reg.user, names[i]));
	}
}
END_TEST

static struct rst_str crowd_name(char out[40], unsigned int i)
{
	(void)snprintf(out, 40, "traveller%u@example.test", i);
	return rst_str(out);
}

/* A crowd comes, changes sessions, and goes in another order. */
START_TEST(test_crowd)
{
	struct rst_registration reg, old;
	char name[40];
	unsigned int i;

	for (i = 0; i < CROWD; i++)
		(void)rst_registry_add(registry, crowd_name(name, i), i + 1,
				       NULL, &old);
	for (i = 0; i < CROWD; i++)
		ck_assert(
			rst_registry_find(registry, crowd_name(name, i), &reg));
	for (i = 0; i < CROWD; i += 2) {
		(void)rst_registry_add(registry, crowd_name(name, i), CROWD + i,
				       NULL, &old);
		ck_assert_uint_eq(old.session, i + 1);
	}
	for (i = 0; i < CROWD; i++) {
		/* 7919 is prime: every user is met once */
		unsigned int k = i * 7919u % CROWD;

		ck_assert(
			rst_registry_find(registry, crowd_name(name, k), &reg));
		ck_assert_uint_eq(reg.session, k % 2 == 0 ? CROWD + k : k + 1);
		ck_assert(rst_registry_remove(registry, reg.user, reg.epoch));
		ck_assert(!rst_registry_find(registry, rst_str(name), &reg));
	}
	for (i = 0; i < CROWD; i++)
		ck_assert(!rst_registry_find(registry, crowd_name(name, i),
					     &reg));
}
END_TEST

START_TEST(test_free_full)
{
	char name[40];
	unsigned int i;

	for (i = 0; i < 1000; i++)
		(void)add(crowd_name(name, i).p, i + 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("registry");
	TCase *tc = tcase_create("registry");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60); /* valgrind is slow */
	tcase_add_test(tc, test_add_find_remove);
	tcase_add_test(tc, test_newer_wins);
	tcase_add_test(tc, test_epochs);
	tcase_add_test(tc, test_names);
	tcase_add_test(tc, test_crowd);
	tcase_add_test(tc, test_free_full);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
