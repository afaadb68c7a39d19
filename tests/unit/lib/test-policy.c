/* SPDX-License-Identifier: MIT */
#include "test-util.h"

#include <string.h>

#include "restante/policy.h"

#define START "request=smtpd_access_policy\n"

/* Postfix 3.7 sends these attributes at RCPT. */
static const char postfix_3_7[] =
	START "protocol_state=RCPT\n"
	      "protocol_name=ESMTP\n"
	      "client_address=192.0.2.7\n"
	      "client_name=unknown\n"
	      "client_port=51234\n"
	      "reverse_client_name=unknown\n"
	      "server_address=198.51.100.1\n"
	      "server_port=25\n"
	      "helo_name=mx.sender.example\n"
	      "sender=prvs=1234=list@sender.example\n"
	      "recipient=Traveller0+hotel@example.test\n"
	      "recipient_count=0\n"
	      "queue_id=\n"
	      "instance=1a2b.65f0.c0ffe.0\n"
	      "size=123456\n"
	      "etrn_domain=\n"
	      "stress=\n"
	      "sasl_method=\n"
	      "sasl_username=\n"
	      "sasl_sender=\n"
	      "ccert_subject=\n"
	      "ccert_issuer=\n"
	      "ccert_fingerprint=\n"
	      "ccert_pubkey_fingerprint=\n"
	      "encryption_protocol=TLSv1.3\n"
	      "encryption_cipher=TLS_AES_256_GCM_SHA384\n"
	      "encryption_keysize=256\n"
	      "policy_context=\n"
	      "\n";

static const struct {
	struct rst_str input;
	ssize_t want;
	const char *sender, *recipient;
} requests[] = {
#define REQUEST(literal)                        \
	{                                       \
		"" literal, sizeof(literal) - 1 \
	}
	{REQUEST(START "\n"), 29, "", ""},
	{REQUEST(START "sender=a@b\nrecipient=c@d\n\n"), 54, "a@b", "c@d"},
	/* the order is the sender's */
	{REQUEST("recipient=c@d\n" START "\n"), 43, "", "c@d"},
	/* octets behind it belong to the next request */
	{REQUEST(START "\n" START "sender=a@b\n\n"), 29, "", ""},
	{REQUEST(START "\nGET / HTTP/1.0\n"), 29, "", ""},
	/* values with '=', blanks, 8-bit, control characters; empty names */
	{REQUEST(START "sender=a=b@c\n\n"), 42, "a=b@c", ""},
	{REQUEST(START "sender==\n\n"), 38, "=", ""},
	{REQUEST(START "recipient=a b@d\n=x\n\n"), 48, "", "a b@d"},
	{REQUEST(START "recipient=\xc3\xa9@d\n\n"), 44, "", "\xc3\xa9@d"},
	{REQUEST(START "recipient=c@d\r\n\n"), 44, "", "c@d\r"},
	/* of an attribute sent twice the last counts, even if empty */
	{REQUEST(START "sender=a@b\nsender=c@d\n\n"), 51, "c@d", ""},
	{REQUEST(START "sender=a@b\nsender=\n\n"), 48, "", ""},
	/* names match as a whole, and case counts */
	{REQUEST(START "Sender=a@b\nsender2=c\nsende=d\n\n"), 58, "", ""},
	/* not a request of this protocol */
	{REQUEST("\n"), RST_EPROTO, NULL, NULL},
	{REQUEST("sender=a@b\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST("request=junk\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST("request=smtpd_access_policy2\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST(START "request=\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST("GET / HTTP/1.0\n"), RST_EPROTO, NULL, NULL},
	{REQUEST(START "noequals\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST(START "\r\n"), RST_EPROTO, NULL, NULL},
	{REQUEST(START "sender=a\0b\n\n"), RST_EPROTO, NULL, NULL},
	{REQUEST(START "sen\0der=b\n\n"), RST_EPROTO, NULL, NULL},
	/* not whole yet */
	{REQUEST(""), 0, NULL, NULL},
	{REQUEST("noequals"), 0, NULL, NULL},
	{REQUEST(START), 0, NULL, NULL},
	{REQUEST(START "sender=a@b\n"), 0, NULL, NULL},
#undef REQUEST
};

/* The octets alone on the heap, so that ASan sees a read beyond them. */
static ssize_t parse(const char *octets, size_t len,
		     struct rst_policy_request *req_r, char **copy_r)
{
	*copy_r = rst_malloc(len);
	memcpy(*copy_r, octets, len);
	return rst_policy_parse(*copy_r, len, req_r);
}

START_TEST(test_request)
{
	struct rst_policy_request req;
	char *copy;

	ck_assert_int_eq(
		parse(requests[_i].input.p, requests[_i].input.n, &req, &copy),
		requests[_i].want);
	if (requests[_i].want > 0) {
		ck_assert_rst_str_eq(req.sender, requests[_i].sender);
		ck_assert_rst_str_eq(req.recipient, requests[_i].recipient);
		ck_assert_ptr_nonnull(req.size.p);
		ck_assert_uint_eq(req.size.n, 0);
	}
	free(copy);
}
END_TEST

/* Wherever the network cuts: "more" or the answer of the whole. */
START_TEST(test_cut)
{
	struct rst_policy_request req;
	ssize_t want = requests[_i].want;
	bool seen = false;
	size_t n;

	for (n = 0; n <= requests[_i].input.n; n++) {
		char *copy;
		ssize_t got = parse(requests[_i].input.p, n, &req, &copy);

		free(copy);
		if (got == 0) {
			ck_assert(!seen);
			continue;
		}
		ck_assert_int_eq(got, want);
		seen = true;
	}
	ck_assert(seen == (want != 0));
}
END_TEST

START_TEST(test_postfix)
{
	struct rst_policy_request req;
	size_t len = sizeof(postfix_3_7) - 1, n;

	for (n = 0; n < len; n++)
		ck_assert_int_eq(rst_policy_parse(postfix_3_7, n, &req), 0);
	ck_assert_int_eq(rst_policy_parse(postfix_3_7, len, &req),
			 (ssize_t)len);
	ck_assert_rst_str_eq(req.request, "smtpd_access_policy");
	ck_assert_rst_str_eq(req.protocol_state, "RCPT");
	ck_assert_rst_str_eq(req.protocol_name, "ESMTP");
	ck_assert_rst_str_eq(req.client_address, "192.0.2.7");
	ck_assert_rst_str_eq(req.client_name, "unknown");
	ck_assert_rst_str_eq(req.helo_name, "mx.sender.example");
	ck_assert_rst_str_eq(req.queue_id, "");
	ck_assert_rst_str_eq(req.instance, "1a2b.65f0.c0ffe.0");
	ck_assert_rst_str_eq(req.sender, "prvs=1234=list@sender.example");
	ck_assert_rst_str_eq(req.recipient, "Traveller0+hotel@example.test");
	ck_assert_rst_str_eq(req.recipient_count, "0");
	ck_assert_rst_str_eq(req.sasl_username, "");
	ck_assert_rst_str_eq(req.size, "123456");
	ck_assert_rst_str_eq(req.policy_context, "");
}
END_TEST

/* No field is left over from the request before. */
START_TEST(test_fresh)
{
	struct rst_policy_request req;

	(void)rst_policy_parse(postfix_3_7, sizeof(postfix_3_7) - 1, &req);
	ck_assert_int_eq(rst_policy_parse(START "\n", strlen(START "\n"), &req),
			 29);
	ck_assert_rst_str_eq(req.recipient, "");
	ck_assert_rst_str_eq(req.size, "");
}
END_TEST

/* A request of exactly `total` octets. */
static char *long_request(size_t total)
{
	char *octets = rst_malloc(total);
	size_t start = strlen(START "stress=");

	memset(octets, 'x', total);
	memcpy(octets, START "stress=", start);
	memcpy(octets + total - 2, "\n\n", 2);
	return octets;
}

START_TEST(test_longest)
{
	static const size_t sizes[] = {RST_POLICY_REQUEST_MAX,
				       RST_POLICY_REQUEST_MAX + 1};
	size_t total = sizes[_i], n;
	char *octets = long_request(total);
	struct rst_policy_request req;

	ck_assert_int_eq(rst_policy_parse(octets, total, &req),
			 _i == 0 ? (ssize_t)total : RST_ELIMIT);
	for (n = RST_POLICY_REQUEST_MAX - 3; n < RST_POLICY_REQUEST_MAX; n++)
		ck_assert_int_eq(rst_policy_parse(octets, n, &req), 0);
	/* an error beyond the limit is not reached */
	memcpy(octets + total - 2, "\n\0", 2);
	ck_assert_int_eq(rst_policy_parse(octets, total, &req), RST_ELIMIT);
	free(octets);
}
END_TEST

/* An answer is exactly one action line and an empty line. It has no action for
   the whole message, and no word about the reason. */
START_TEST(test_answer)
{
	static const char *const want[] = {
		[RST_POLICY_DUNNO] = "action=DUNNO\n\n",
		[RST_POLICY_NO_ROOM] = "action=452 4.2.2 ",
		[RST_POLICY_TOO_LARGE] = "action=552 5.3.4 ",
		[RST_POLICY_NO_SUCH_MAILBOX] = "action=550 5.1.1 ",
	};
	static const char *const secrets[] = {"hold",     "held",   "restante",
					      "enrolled", "online", "away"};
	struct rst_str answer = rst_policy_answer((enum rst_policy_action)_i);
	char *text = rst_str_dup(answer);
	size_t i;

	ck_assert_uint_eq(strlen(text), answer.n);
	ck_assert_int_eq(strncmp(text, want[_i], strlen(want[_i])), 0);
	ck_assert_ptr_eq(strchr(text, '\n'), text + answer.n - 2);
	ck_assert_str_eq(text + answer.n - 2, "\n\n");
	for (i = 0; i < N_ELEMENTS(secrets); i++)
		ck_assert_ptr_null(strstr(text, secrets[i]));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tc = tcase_create("policy");

	tcase_add_loop_test(tc, test_request, 0, N_ELEMENTS(requests));
	tcase_add_loop_test(tc, test_cut, 0, N_ELEMENTS(requests));
	tcase_add_test(tc, test_postfix);
	tcase_add_test(tc, test_fresh);
	tcase_add_loop_test(tc, test_longest, 0, 2);
	tcase_add_loop_test(tc, test_answer, 0, RST_POLICY_NO_SUCH_MAILBOX + 1);
	suite_add_tcase(suite, tc);
	return test_run(suite);
}
