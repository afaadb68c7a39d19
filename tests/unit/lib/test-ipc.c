/* SPDX-License-Identifier: MIT */
#include "restante/ipc.h"

#include "test-util.h"

#include <string.h>

/* of an encoded message */
#define SESSION_AT 8
#define LENGTH_A_AT (16 + RST_IPC_NUMBERS * 8)

static const struct {
	enum rst_ipc_type type;
	enum rst_ipc_side side;
	bool has_fd, has_session, has_verdict;
	size_t max_a, max_b, max_c;
} types[] = {
	{RST_IPC_CONFIG, RST_IPC_TO_WORKER, false, false, false, 255, 15, 0},
	{RST_IPC_TLS, RST_IPC_TO_WORKER, true, false, false, 128, 0, 0},
	{RST_IPC_MECHANISMS, RST_IPC_TO_WORKER, false, false, false, 1024, 0,
	 0},
	{RST_IPC_AUTH_CHALLENGE, RST_IPC_TO_WORKER, false, true, false, 12288,
	 0, 0},
	{RST_IPC_AUTH_DONE, RST_IPC_TO_WORKER, false, true, true, 0, 0, 0},
	{RST_IPC_ATRN_DONE, RST_IPC_TO_WORKER, false, true, true, 1024, 0, 0},
	{RST_IPC_HELD, RST_IPC_TO_WORKER, false, true, false, 0, 0, 0},
	{RST_IPC_HOLD, RST_IPC_TO_WORKER, true, true, false, 0, 0, 0},
	{RST_IPC_HOLD_FAILED, RST_IPC_TO_WORKER, false, true, false, 0, 0, 0},
	{RST_IPC_DISMISS, RST_IPC_TO_WORKER, false, true, false, 512, 0, 0},
	{RST_IPC_SHUTDOWN, RST_IPC_TO_WORKER, false, false, false, 0, 0, 0},
	{RST_IPC_PING, RST_IPC_TO_WORKER, false, false, false, 0, 0, 0},
	{RST_IPC_PONG, RST_IPC_TO_CORE, false, false, false, 0, 0, 0},
	{RST_IPC_AUTH, RST_IPC_TO_CORE, false, true, false, 64, 12288, 64},
	{RST_IPC_AUTH_CONTINUE, RST_IPC_TO_CORE, false, true, false, 12288, 0,
	 0},
	{RST_IPC_AUTH_CANCEL, RST_IPC_TO_CORE, false, true, false, 0, 0, 0},
	{RST_IPC_ATRN, RST_IPC_TO_CORE, false, true, false, 2048, 0, 0},
	{RST_IPC_HOLD_OPEN, RST_IPC_TO_CORE, false, true, false, 0, 0, 0},
	{RST_IPC_HOLD_CLOSED, RST_IPC_TO_CORE, false, true, false, 0, 0, 0},
	{RST_IPC_SETTLING, RST_IPC_TO_CORE, false, true, false, 0, 0, 0},
	{RST_IPC_CLOSED, RST_IPC_TO_CORE, false, true, false, 0, 0, 0},
};

static char octets[RST_IPC_MAX];
static char out[RST_IPC_MAX];

/* The longest message of its type. */
static struct rst_ipc longest(int i)
{
	struct rst_ipc msg = {
		.type = types[i].type,
		.session = types[i].has_session ? UINT64_MAX - 1 : 0,
		.id = 0xfedcba98,
		.verdict = types[i].has_verdict ? RST_VERDICT_REFUSED
						: RST_VERDICT_OK,
		.n = {INT64_MIN, -1, 0, INT64_MAX},
		.a = {octets, types[i].max_a},
		.b = {octets + 1, types[i].max_b},
		.c = {octets + 2, types[i].max_c},
	};
	size_t k;

	for (k = 0; k < sizeof(octets); k++)
		octets[k] = (char)(k * 7);
	return msg;
}

START_TEST(round_trip)
{
	struct rst_ipc msg = longest(_i), back;
	ssize_t n = rst_ipc_encode(&msg, out);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(rst_ipc_decode(out, (size_t)n, types[_i].side, &back),
			 0);
	ck_assert_int_eq(back.type, msg.type);
	ck_assert_uint_eq(back.session, msg.session);
	ck_assert_uint_eq(back.id, msg.id);
	ck_assert_int_eq(back.verdict, msg.verdict);
	ck_assert_mem_eq(back.n, msg.n, sizeof(msg.n));
	ck_assert(rst_str_eq(back.a, msg.a));
	ck_assert(rst_str_eq(back.b, msg.b));
	ck_assert(rst_str_eq(back.c, msg.c));
	ck_assert_int_eq(rst_ipc_has_fd(msg.type), types[_i].has_fd);
}
END_TEST

/* Fields that an initializer left all zero are empty. */
START_TEST(zero_fields)
{
	struct rst_ipc msg = {.type = types[_i].type,
			      .session = types[_i].has_session},
		       back;
	ssize_t n = rst_ipc_encode(&msg, out);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(rst_ipc_decode(out, (size_t)n, types[_i].side, &back),
			 0);
	ck_assert_uint_eq(back.a.n + back.b.n + back.c.n, 0);
	ck_assert_ptr_nonnull(back.a.p);
}
END_TEST

START_TEST(too_long)
{
	struct rst_ipc msg = longest(_i);

	msg.a.n++;
	ck_assert_int_eq(rst_ipc_encode(&msg, out), RST_ELIMIT);
	msg.a.n--;
	msg.b.n++;
	ck_assert_int_eq(rst_ipc_encode(&msg, out), RST_ELIMIT);
	msg.b.n--;
	msg.c.n++;
	ck_assert_int_eq(rst_ipc_encode(&msg, out), RST_ELIMIT);
}
END_TEST

static void refuse(const char *buf, size_t len, enum rst_ipc_side side)
{
	/* a copy, so that ASan sees a read beyond its end */
	char *copy = rst_malloc(len);
	struct rst_ipc msg;

	memcpy(copy, buf, len);
	ck_assert_int_eq(rst_ipc_decode(copy, len, side, &msg), RST_EPROTO);
	free(copy);
}

START_TEST(wrong_way)
{
	struct rst_ipc msg = longest(_i);
	ssize_t n = rst_ipc_encode(&msg, out);

	refuse(out, (size_t)n,
	       types[_i].side == RST_IPC_TO_CORE ? RST_IPC_TO_WORKER
						 : RST_IPC_TO_CORE);
}
END_TEST

START_TEST(cut_or_longer)
{
	struct rst_ipc msg = longest(_i);
	size_t n, cut;

	if (msg.a.n > 64)
		msg.a.n = 64;
	if (msg.b.n > 64)
		msg.b.n = 64;
	n = (size_t)rst_ipc_encode(&msg, out);
	for (cut = 0; cut < n; cut++)
		refuse(out, cut, types[_i].side);
	refuse(out, n + 1, types[_i].side);
}
END_TEST

START_TEST(wrong_session)
{
	struct rst_ipc msg = longest(_i);
	ssize_t n = rst_ipc_encode(&msg, out);

	memset(out + SESSION_AT, types[_i].has_session ? 0 : 1, 8);
	refuse(out, (size_t)n, types[_i].side);
}
END_TEST

START_TEST(wrong_verdict)
{
	struct rst_ipc msg = longest(_i);
	ssize_t n = rst_ipc_encode(&msg, out);

	out[2] = types[_i].has_verdict ? RST_VERDICT_REFUSED + 1
				       : RST_VERDICT_TEMPFAIL;
	refuse(out, (size_t)n, types[_i].side);
	out[2] = 0;
	out[3] = 1;
	refuse(out, (size_t)n, types[_i].side);
}
END_TEST

/* A length that its type does not allow, with the octets for it. */
START_TEST(longer_than_allowed)
{
	struct rst_ipc msg = longest(_i);
	size_t n, max = msg.a.n;

	msg.b.n = msg.c.n = 0;
	n = (size_t)rst_ipc_encode(&msg, out);
	out[LENGTH_A_AT] = (char)((max + 1) & 0xff);
	out[LENGTH_A_AT + 1] = (char)((max + 1) >> 8);
	memmove(out + LENGTH_A_AT + 5, out + LENGTH_A_AT + 4,
		n - LENGTH_A_AT - 4);
	refuse(out, n + 1, types[_i].side);
	memset(out + LENGTH_A_AT, 0xff, 4);
	refuse(out, n + 1, types[_i].side);
}
END_TEST

START_TEST(unknown_types)
{
	struct rst_ipc msg = longest(0);
	size_t n = (size_t)rst_ipc_encode(&msg, out), i;
	unsigned int type;

	for (type = 0; type < 300; type++) {
		for (i = 0; i < N_ELEMENTS(types); i++) {
			if (types[i].type == type)
				break;
		}
		if (i < N_ELEMENTS(types))
			continue;
		out[0] = (char)(type & 0xff);
		out[1] = (char)(type >> 8);
		refuse(out, n, RST_IPC_TO_CORE);
		refuse(out, n, RST_IPC_TO_WORKER);
		msg.type = type;
		ck_assert(!rst_ipc_has_fd(type));
	}
	ck_assert_int_eq(rst_ipc_encode(&msg, octets), RST_ELIMIT);
}
END_TEST

START_TEST(layout)
{
	static const char want[] = "\x46\0\0\0"
				   "\x04\x03\x02\x01"
				   "\x08\x07\x06\x05\x04\x03\x02\x01"
				   "\xfe\xff\xff\xff\xff\xff\xff\xff"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0"
				   "\0\0\0\0"
				   "\0\0\0\0"
				   "\0\0\0";
	struct rst_ipc msg = {.type = RST_IPC_CLOSED,
			      .id = 0x01020304,
			      .session = 0x0102030405060708,
			      .n = {-2}};

	ck_assert_int_eq(rst_ipc_encode(&msg, out), sizeof(want));
	ck_assert_mem_eq(out, want, sizeof(want));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ipc");
	TCase *tc = tcase_create("types");

	tcase_add_loop_test(tc, round_trip, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, zero_fields, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, too_long, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, wrong_way, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, cut_or_longer, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, wrong_session, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, wrong_verdict, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, wrong_verdict, 0, N_ELEMENTS(types));
	tcase_add_loop_test(tc, longer_than_allowed, 0, N_ELEMENTS(types));
	suite_add_tcase(suite, tc);

	tc = tcase_create("layout");
	tcase_add_test(tc, unknown_types);
	tcase_add_test(tc, layout);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
