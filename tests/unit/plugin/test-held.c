/* SPDX-License-Identifier: MIT */
/* Which messages of the mailbox are still held: the rules by themselves. */
#include "hold-fixture.h"

#include "hold/attempts.h"
#include "hold/held.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_DRIVERS ((int)N_ELEMENTS(hold_drivers))

static struct rst_hold the_hold;

static void setup(void)
{
	hold_setup();
	hold_user("sdbox", NULL);
	the_hold = hold_opened();
}

static void teardown(void)
{
	rst_hold_close(&the_hold);
	hold_teardown();
}

static struct rst_held *must_open(bool locked)
{
	struct rst_held *held;
	const char *error;

	ck_assert_int_eq(rst_held_open(&the_hold, locked, &held, &error), 0);
	return held;
}

/* @param name '0': zeros */
static void fill_key(char name, unsigned char key_r[RST_KEY_SIZE])
{
	memset(key_r, name == '0' ? 0 : name, RST_KEY_SIZE);
}

/* Write a tombstone for each pair of id and K in text. */
static void bury(const char *text)
{
	struct rst_held *held = must_open(TRUE);
	unsigned char key[RST_KEY_SIZE];
	const char *error;

	for (; *text != '\0'; text += 2) {
		fill_key(text[1], key);
		rst_held_bury(held, t_strndup(text, 1), key);
	}
	ck_assert_int_eq(rst_held_commit(held, &error), 0);
	rst_held_close(&held);
}

/* Write to the log of attempts: message a of K A gets these states. */
static void attempt(const char *states)
{
	static const char letters[] = "-OBDF";
	unsigned char key[RST_KEY_SIZE];
	const char *error;

	fill_key('A', key);
	for (; *states != '\0'; states++)
		ck_assert_int_eq(
			rst_attempts_write(
				the_hold.dir, "a", key,
				(enum rst_attempt_state)(
					strchr(letters, *states) - letters),
				TRUE, &error),
			0);
}

/* @param text id, K, and '.' for a whole message, '!' for an incomplete one
   @return the state's letter: Still, Left, Key left, Double */
static char ask(struct rst_held *held, const char text[3])
{
	struct rst_message message = {
		.uid = (uint32_t)(text[0] - 'a' + 1),
		.id = t_strdup_noconst(t_strndup(text, 1)),
		.incomplete = text[2] == '!',
	};

	fill_key(text[1], message.key);
	switch (rst_held_state(held, &message)) {
	case RST_HELD_STILL:
		return 'S';
	case RST_HELD_LEFT:
		return 'L';
	case RST_HELD_KEY_LEFT:
		return 'K';
	case RST_HELD_DOUBLE:
		return 'D';
	}
	return '?';
}

static void must_answer(struct rst_held *held, const char *asked,
			const char *want)
{
	char got[16] = "";
	size_t i;

	for (i = 0; asked[3 * i] != '\0'; i++)
		got[i] = ask(held, asked + 3 * i);
	ck_assert_str_eq(got, want);
}

/* ---- the states */

static const struct {
	const char *buried;   /* see bury() */
	const char *attempts; /* see attempt() */
	const char *asked;    /* see ask() */
	const char *locked;   /* the answers with the lock ... */
	const char *reader;   /* ... and without; NULL: the same */
	bool no_dedup;
} states[] = {
	{"", "", "aA.", "S", NULL, FALSE},
	{"", "", "aA.bB.", "SS", NULL, FALSE},
	{"", "", "aA.bA.", "SD", NULL, FALSE},
	{"", "", "aA.bA.cA.", "SDD", NULL, FALSE},
	/* asked about again, as after a rewind */
	{"", "", "aA.bA.aA.bA.", "SDSD", NULL, FALSE},
	/* the first one that was asked about, whatever its uid */
	{"", "", "bA.aA.bA.", "SDS", NULL, FALSE},
	/* K does not count */
	{"", "", "a0.b0.", "SS", NULL, FALSE},
	{"", "", "aA.bA.", "SS", NULL, TRUE},
	/* incomplete */
	{"", "", "aA!", "S", NULL, FALSE},
	{"", "", "aA!bA!", "SS", NULL, FALSE},
	{"", "", "aA!bA.", "SS", NULL, FALSE},
	{"", "", "aA!bA.aA!", "SSD", NULL, FALSE},
	{"", "", "aA.bA!", "SD", NULL, FALSE},
	{"", "", "aA.bA!", "SS", NULL, TRUE},
	{"", "", "a0!b0.a0!", "SSS", NULL, FALSE},
	/* tombstones */
	{"aA", "", "aA.", "L", NULL, FALSE},
	{"aA", "", "aA.aA.", "LL", NULL, FALSE},
	{"aA", "", "bB.", "S", NULL, FALSE},
	{"aA", "", "bA.", "K", NULL, FALSE},
	{"aA", "", "bA.cA.bA.", "KKK", NULL, FALSE},
	{"aA", "", "bA!", "K", NULL, FALSE},
	{"aA", "", "bA.", "S", NULL, TRUE},
	{"aA", "", "aA.bA.", "LS", NULL, TRUE},
	{"aA", "", "a0.", "L", NULL, FALSE},
	/* of an incomplete message, and of one without K */
	{"a0", "", "aA!bA.", "LS", NULL, FALSE},
	{"a0", "", "aA.bA.cA.", "LSD", NULL, FALSE},
	{"a0", "", "b0.", "S", NULL, FALSE},
	{"aAbB", "", "aA.bB.cA.dB.eC.", "LLKKS", NULL, FALSE},
	/* attempts that are not resolved */
	{"", "O", "aA.", "S", NULL, FALSE},
	{"", "OB", "aA.bA.", "SD", NULL, FALSE},
	{"", "OBF", "aA.", "S", NULL, FALSE},
	{"", "OBD", "aA.", "S", "L", FALSE},
	{"", "OBD", "aA.bA.", "SD", "LS", FALSE},
	{"", "OBDO", "aA.", "S", "L", FALSE},
	{"aA", "OBD", "aA.bA.", "LK", NULL, FALSE},
};

START_TEST(test_state)
{
	bool locked = _i % 2 == 1;
	int i = _i / 2;
	struct rst_held *held;

	bury(states[i].buried);
	attempt(states[i].attempts);
	hold_fixture.set.test_no_dedup = states[i].no_dedup;
	held = must_open(locked);
	must_answer(held, states[i].asked,
		    locked || states[i].reader == NULL ? states[i].locked
						       : states[i].reader);
	rst_held_close(&held);
}
END_TEST

START_TEST(test_key_counts)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_held *held;

	bury("aAb0");
	held = must_open(FALSE);
	ck_assert(rst_held_has_left(held, "a"));
	ck_assert(rst_held_has_left(held, "b"));
	ck_assert(!rst_held_has_left(held, "c"));
	fill_key('0', key);
	ck_assert(!rst_held_key_counts(&the_hold, key));
	ck_assert(!rst_held_key_has_left(held, key));
	fill_key('B', key);
	ck_assert(rst_held_key_counts(&the_hold, key));
	ck_assert(!rst_held_key_has_left(held, key));
	fill_key('A', key);
	ck_assert(rst_held_key_counts(&the_hold, key));
	ck_assert(rst_held_key_has_left(held, key));
	hold_fixture.set.test_no_dedup = TRUE;
	ck_assert(!rst_held_key_counts(&the_hold, key));
	ck_assert(!rst_held_key_has_left(held, key));
	rst_held_close(&held);
}
END_TEST

/* ---- burying */

/* A tombstone counts at once for its writer, and for others after the commit.
 */
START_TEST(test_bury)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_held *held = must_open(TRUE), *reader;
	const char *error;

	fill_key('A', key);
	must_answer(held, "aA.bA.", "SD");
	rst_held_bury(held, "a", key);
	must_answer(held, "aA.bA.", "LK");
	reader = must_open(FALSE);
	must_answer(reader, "aA.bA.", "SD");
	rst_held_close(&reader);
	ck_assert_int_eq(rst_held_commit(held, &error), 0);
	reader = must_open(FALSE);
	must_answer(reader, "aA.bA.", "LK");
	rst_held_close(&reader);
	rst_held_close(&held);
}
END_TEST

START_TEST(test_not_committed)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_held *held = must_open(TRUE);

	fill_key('A', key);
	rst_held_bury(held, "a", key);
	rst_held_close(&held);
	held = must_open(TRUE);
	must_answer(held, "aA.", "S");
	rst_held_close(&held);
}
END_TEST

START_TEST(test_trim)
{
	unsigned int keep_secs = rst_hold_keep_secs(&hold_fixture.set);
	struct rst_held *held;
	const char *error;

	bury("aA");
	held = must_open(TRUE);
	ioloop_time += keep_secs;
	ck_assert_int_eq(rst_held_trim(held, &error), 0);
	must_answer(held, "aA.bA.", "LK");
	ioloop_time++;
	ck_assert_int_eq(rst_held_trim(held, &error), 0);
	must_answer(held, "aA.bA.", "SD");
	rst_held_close(&held);
}
END_TEST

/* ---- resolving */

static const struct {
	const char *attempts;
	const char *answers; /* about a of K A and b of K A */
	bool attempted, unresolved;
} outcomes[] = {
	{"", "SD", FALSE, FALSE},     {"O", "SD", FALSE, FALSE},
	{"OB", "SD", TRUE, TRUE},     {"OBO", "SD", TRUE, TRUE},
	{"OBF", "SD", FALSE, FALSE},  {"OBFO", "SD", FALSE, FALSE},
	{"OBFOB", "SD", TRUE, TRUE},  {"OBD", "LK", FALSE, FALSE},
	{"OBDO", "LK", FALSE, FALSE}, {"OBDF", "LK", FALSE, FALSE},
};

START_TEST(test_resolve)
{
	struct rst_held *held;
	const char *error;
	unsigned int round;

	attempt(outcomes[_i].attempts);
	for (round = 0; round < 2; round++) {
		held = must_open(TRUE);
		ck_assert_int_eq(rst_held_resolve(held, &error), 0);
		must_answer(held, "aA.bA.", outcomes[_i].answers);
		/* its tombstone says it from now on */
		if (outcomes[_i].answers[0] == 'S')
			ck_assert_int_eq(rst_held_is_attempted(held, "a"),
					 outcomes[_i].attempted);
		ck_assert_int_eq(rst_held_is_unresolved(held),
				 outcomes[_i].unresolved);
		rst_held_close(&held);
	}
	/* without the lock the answer is the same now */
	held = must_open(FALSE);
	must_answer(held, "aA.bA.", outcomes[_i].answers);
	rst_held_close(&held);
}
END_TEST

/* An attempt is open until the next _resolve() finds that it has not begun. */
START_TEST(test_open_attempt)
{
	struct rst_message message = {.uid = 1, .id = t_strdup_noconst("a")};
	struct rst_held *held = must_open(TRUE);
	struct rst_attempts *attempts;
	const char *error;

	fill_key('A', message.key);
	ck_assert_int_eq(rst_held_open_attempt(held, &message, &error), 0);
	ck_assert_int_eq(rst_attempts_read(the_hold.dir, &attempts, &error), 0);
	ck_assert_int_eq(rst_attempts_state(attempts, "a"), RST_ATTEMPT_OPEN);
	rst_attempts_free(&attempts);
	ck_assert_int_eq(rst_held_resolve(held, &error), 0);
	ck_assert(!rst_held_is_attempted(held, "a"));
	ck_assert(!rst_held_is_unresolved(held));
	/* LMTP has delivered it: K comes from the line that opened it */
	ck_assert_int_eq(rst_held_open_attempt(held, &message, &error), 0);
	attempt("BD");
	ck_assert_int_eq(rst_held_resolve(held, &error), 0);
	must_answer(held, "aA.bA.", "LK");
	rst_held_close(&held);
}
END_TEST

/* An attempt may have begun of which the log tells nothing any more: until the
   log can be read, no message goes any other way. */
START_TEST(test_attempts_unreadable)
{
	struct rst_held *held = must_open(TRUE);
	const char *error, *path;

	attempt("OBF");
	ck_assert_int_eq(rst_held_resolve(held, &error), 0);
	ck_assert(!rst_held_is_attempted(held, "a"));
	ck_assert(!rst_held_is_unresolved(held));
	path = t_strconcat(the_hold.dir, "/restante.handovers", NULL);
	i_unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(rst_held_resolve(held, &error), -1);
	ck_assert_ptr_nonnull(strstr(error, "restante.handovers"));
	ck_assert(rst_held_is_attempted(held, "a"));
	ck_assert(rst_held_is_attempted(held, "b"));
	ck_assert(rst_held_is_unresolved(held));
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rst_held_resolve(held, &error), 0);
	ck_assert(!rst_held_is_attempted(held, "a"));
	rst_held_close(&held);
}
END_TEST

/* ---- files of an earlier version */

static void write_file(const char *name, const char *text)
{
	const char *path = t_strconcat(the_hold.dir, "/", name, NULL);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	i_close_fd(&fd);
}

/* Their names and lines do not change: a hold outlives an upgrade. */
START_TEST(test_earlier_version)
{
	const char *a = t_strdup_printf("%064d", 1),
		   *b = t_strdup_printf("%064d", 2),
		   *now = dec2str(ioloop_time);
	struct rst_held *held;
	const char *error;

	write_file("restante.handovers",
		   t_strdup_printf("\na\t%s\tO\t%s\n\na\t%s\tB\t%s\n", a, now,
				   a, now));
	write_file("restante.tombstones",
		   t_strdup_printf("b\t%s\t%s\n", b, now));
	held = must_open(TRUE);
	ck_assert_int_eq(rst_held_resolve(held, &error), 0);
	must_answer(held, "aA.bB.cC.", "SLS");
	ck_assert(rst_held_is_attempted(held, "a"));
	ck_assert(!rst_held_is_attempted(held, "c"));
	rst_held_close(&held);
}
END_TEST

/* ---- the whole message of a K */

#define MESSAGE                                                        \
	"Received: from x\r\n\tby y (Postfix) with ESMTP id 4Bx2;\r\n" \
	"Subject: s\r\n\r\nx\r\n"

static bool is_whole_of(struct rst_hold *hold, uint32_t seq,
			const unsigned char key[RST_KEY_SIZE])
{
	struct mailbox_transaction_context *trans;
	struct rst_message message;
	const char *error;
	struct mail *mail;
	bool whole;

	trans = mailbox_transaction_begin(hold->box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	mail_set_seq(mail, seq);
	ck_assert_int_eq(rst_message_envelope(mail, "b", &message, &error), 1);
	whole = rst_held_is_whole_of(hold, mail, &message, key);
	rst_message_clear(&message);
	mail_free(&mail);
	ck_assert_int_eq(mailbox_transaction_commit(&trans), 0);
	return whole;
}

START_TEST(test_whole_of)
{
	unsigned char key[RST_KEY_SIZE];
	struct rst_delivery delivery;
	struct rst_hold hold;

	hold_user(hold_drivers[_i], NULL);
	hold_put_part(MESSAGE, strlen(MESSAGE), 3);
	delivery = hold_delivery("", MESSAGE, strlen(MESSAGE), 1700000000);
	memcpy(key, delivery.key, RST_KEY_SIZE);
	hold_save(&delivery);
	hold = hold_opened();
	ck_assert_int_eq(mailbox_sync(hold.box, 0), 0);
	ck_assert(!is_whole_of(&hold, 1, key));
	ck_assert(is_whole_of(&hold, 2, key));
	key[0] ^= 1;
	ck_assert(!is_whole_of(&hold, 2, key));
	rst_hold_close(&hold);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("held");
	TCase *tc = tcase_create("rules"), *boxes = tcase_create("mailboxes");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_state, 0, 2 * (int)N_ELEMENTS(states));
	tcase_add_test(tc, test_key_counts);
	tcase_add_test(tc, test_bury);
	tcase_add_test(tc, test_not_committed);
	tcase_add_test(tc, test_trim);
	tcase_add_loop_test(tc, test_resolve, 0, (int)N_ELEMENTS(outcomes));
	tcase_add_test(tc, test_open_attempt);
	tcase_add_test(tc, test_attempts_unreadable);
	tcase_add_test(tc, test_earlier_version);
	suite_add_tcase(s, tc);

	tcase_add_checked_fixture(boxes, hold_setup, hold_teardown);
	tcase_add_loop_test(boxes, test_whole_of, 0, N_DRIVERS);
	suite_add_tcase(s, boxes);
	return s;
}

int main(int argc, char *argv[])
{
	hold_fixture_init(&argc, &argv);
	return test_run(suite());
}
