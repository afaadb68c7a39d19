/* SPDX-License-Identifier: MIT */
#include "hold-fixture.h"

#include "fallback/overflow.h"
#include "restante/hold-server.h"
#include "service/marks.h"

#define MESSAGES 3

static const char *ids[MESSAGES];
static struct rst_locked *locked;
static struct rst_marks *marks;

static void setup(void)
{
	static const char *const fields[] = {
		"restante=yes", "restante_release_socket=/nonexistent/lmtp",
		"restante_fallback_give_up=9999d", NULL};
	unsigned int i;

	hold_setup();
	hold_user("sdbox", fields);
	for (i = 0; i < MESSAGES; i++)
		ids[i] = hold_put("", "S: x\r\n\r\n", 8);
	locked = hold_open();
	marks = rst_marks_new(rst_locked_hold(locked), locked);
}

static void teardown(void)
{
	rst_marks_free(&marks);
	rst_locked_close(&locked);
	hold_teardown();
}

static void lease(unsigned int count)
{
	struct rst_message *message;
	const char *error;

	while (count-- > 0) {
		ck_assert_int_eq(rst_locked_next(locked, &message, &error), 1);
		ck_assert(rst_marks_lease(marks, message));
	}
}

static void add(struct rst_marks *to, struct rst_str id,
		const struct rst_str *refused)
{
	unsigned int pending = rst_marks_pending(to);

	rst_marks_add(to, id, refused);
	ck_assert_uint_eq(rst_marks_pending(to), pending + 1);
}

static void ack(const char *id)
{
	add(marks, rst_str(id), NULL);
}

/* A machine that has read a COMMIT, and has said nothing since. */
static struct rst_hold_server *asked(void)
{
	static const char *const said[] = {"VERSION\trestante-hold\t1\t0\n",
					   "USER\tu\n", "DRAIN\n", "COMMIT\n"};
	const struct rst_hold_server_limits limits = {.max_marks = 0};
	struct rst_hold_server *server = rst_hold_server_new(&limits);
	struct rst_hold_server_event ev;
	unsigned int i;
	size_t len;

	for (i = 0; i < N_ELEMENTS(said); i++) {
		ck_assert_uint_gt(
			rst_hold_server_recv(server, said[i], strlen(said[i])),
			0);
		while (rst_hold_server_next(server, &ev))
			rst_hold_server_ok(
				server, RST_STR("u"),
				&(struct rst_hold_server_held){0, 0, 0, false});
	}
	(void)rst_hold_server_output(server, &len);
	rst_hold_server_sent(server, len);
	return server;
}

static const char *answer_of(struct rst_marks *of)
{
	struct rst_hold_server *server = asked();
	const char *lines;
	size_t len;

	rst_marks_carry_out(of);
	rst_marks_answer(of, server);
	lines = rst_hold_server_output(server, &len);
	lines = t_strndup(lines, len);
	rst_hold_server_free(&server);
	return lines;
}

static const char *answer(void)
{
	return answer_of(marks);
}

static unsigned int left(void)
{
	struct rst_hold_status status;
	const char *error;

	ck_assert_int_eq(rst_locked_count(locked, &status, &error), 0);
	return status.messages;
}

START_TEST(test_ack)
{
	lease(MESSAGES);
	ack(ids[0]);
	ack(ids[2]);
	ck_assert_uint_eq(rst_marks_pending(marks), 2);
	ck_assert_int_eq(left(), MESSAGES);
	ck_assert_str_eq(answer(), t_strdup_printf("GONE\t%s\nGONE\t%s\n",
						   ids[0], ids[2]));
	ck_assert_uint_eq(rst_marks_pending(marks), 0);
	ck_assert_int_eq(left(), 1);
	ck_assert(!rst_marks_is_leased(ids[0], marks));
	ck_assert(rst_marks_is_leased(ids[1], marks));
	ck_assert_str_eq(answer(), "");
}
END_TEST

/* Many marks are carried out early, and answered when asked for. */
START_TEST(test_batch)
{
	lease(MESSAGES);
	ack(ids[0]);
	rst_marks_carry_out(marks);
	ck_assert_int_eq(left(), 2);
	ack(ids[1]);
	ck_assert_uint_eq(rst_marks_pending(marks), 1);
	ck_assert_str_eq(answer(), t_strdup_printf("GONE\t%s\nGONE\t%s\n",
						   ids[0], ids[1]));
	ck_assert_int_eq(left(), 1);
}
END_TEST

/* Each mark gets one answer, whatever its id. */
START_TEST(test_unknown)
{
	lease(1);
	ack("nosuch");
	/* not listed on this connection */
	ack(ids[2]);
	ack(ids[2]);
	ack(ids[0]);
	ack(ids[0]);
	ck_assert_str_eq(answer(),
			 t_strdup_printf("GONE\tnosuch\nGONE\t%s\nGONE\t%s\n"
					 "GONE\t%s\nGONE\t%s\n",
					 ids[2], ids[2], ids[0], ids[0]));
	ck_assert_int_eq(left(), 1);
	/* and the walk goes on where it was */
	lease(1);
	ck_assert(rst_marks_is_leased(ids[1], marks));
	ack(ids[0]);
	ck_assert_str_eq(answer(), t_strdup_printf("GONE\t%s\n", ids[0]));
}
END_TEST

/* Without LMTP a refused message stays, and an acknowledged one goes. */
START_TEST(test_fallback)
{
	struct rst_str refused = RST_STR("552 no");
	const char *lines;

	lease(MESSAGES);
	ack(ids[0]);
	add(marks, rst_str(ids[1]), &refused);
	add(marks, RST_STR("nosuch"), &refused);
	lines = answer();
	ck_assert_ptr_nonnull(
		strstr(lines, t_strdup_printf("GONE\t%s\n", ids[0])));
	ck_assert_ptr_nonnull(
		strstr(lines, t_strdup_printf("KEPT\t%s\t", ids[1])));
	ck_assert_ptr_nonnull(strstr(lines, "GONE\tnosuch\n"));
	ck_assert_int_eq(left(), 2);
	ck_assert(rst_marks_is_leased(ids[1], marks));
}
END_TEST

/* @return how many messages a mailbox of the user's own has; -1: there is none
 */
static int count_of_user(const char *name)
{
	struct mail_user *user = hold_fixture.ctx->user;
	struct mailbox_status status;
	struct mailbox *box = mailbox_alloc_for_user(user, name, 0);
	int count = -1;

	if (mailbox_open(box) == 0) {
		ck_assert_int_eq(
			mailbox_get_status(box, STATUS_MESSAGES, &status), 0);
		count = (int)status.messages;
	}
	mailbox_free(&box);
	return count;
}

/* A message whose fallback delivery has failed too long is moved to the
   overflow mailbox, once: one beside the hold, and one of the user's own. */
START_TEST(test_overflow)
{
	struct rst_hold hold = hold_of_user();
	struct rst_str refused = RST_STR("552 no");
	struct rst_message *message;
	const char *error;
	unsigned int count;

	if (_i == 1)
		hold_fixture.set.overflow_mailbox = "Mine";
	hold_fixture.set.fallback_give_up_secs = 60;
	lease(1);
	/* an earlier process was killed before it wrote the tombstone */
	ck_assert_int_eq(rst_locked_get(locked, 1, &message, &error), 1);
	ck_assert_int_eq(
		rst_overflow_save(rst_locked_hold(locked), message, &error), 0);
	lease(1);
	add(marks, rst_str(ids[0]), &refused);
	add(marks, rst_str(ids[1]), &refused);
	ck_assert_str_eq(answer(), t_strdup_printf("GONE\t%s\nGONE\t%s\n",
						   ids[0], ids[1]));
	ck_assert_int_eq(left(), 1);
	ck_assert_int_eq(rst_overflow_count(&hold, &count, &error), 0);
	rst_hold_close(&hold);
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(count_of_user("Mine"), _i == 1 ? 2 : -1);
	ck_assert_int_eq(count_of_user("Overflow"), -1);
}
END_TEST

START_TEST(test_no_hold)
{
	struct rst_marks *none = rst_marks_new(rst_locked_hold(locked), NULL);

	add(none, rst_str(ids[0]), NULL);
	ck_assert_str_eq(answer_of(none),
			 t_strdup_printf("GONE\t%s\n", ids[0]));
	rst_marks_free(&none);
	ck_assert_int_eq(left(), MESSAGES);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hold-marks");
	TCase *tc = tcase_create("marks");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_ack);
	tcase_add_test(tc, test_batch);
	tcase_add_test(tc, test_unknown);
	tcase_add_test(tc, test_fallback);
	tcase_add_loop_test(tc, test_overflow, 0, 2);
	tcase_add_test(tc, test_no_hold);
	suite_add_tcase(s, tc);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
