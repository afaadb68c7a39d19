/* SPDX-License-Identifier: MIT */
/*
 * The input is requests of Postfix, answered one after the other. However it is
 * cut into pieces, the requests as parsed and the answers must be the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib
 *	tests/fuzz/fuzz-policy.c lib/policy.c lib/policy-server.c lib/buf.c
 *	lib/str.c
 */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every view of the request is read to its end, and the answer depends on it.
 */
static void decide(struct rst_policy_server *server,
		   const struct rst_policy_ask *ask, struct rst_buf *story)
{
	const struct rst_policy_request *req = ask->request;
	const struct rst_str views[] = {
		req->request,        req->protocol_state,  req->protocol_name,
		req->client_address, req->client_name,     req->helo_name,
		req->queue_id,       req->instance,        req->sender,
		req->recipient,      req->recipient_count, req->sasl_username,
		req->size,           req->policy_context,
	};
	size_t i;

	for (i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		rst_buf_str(story, views[i]);
		rst_buf_append(story, "", 1);
	}
	rst_policy_server_answer(
		server, ask->id,
		(enum rst_policy_action)(req->recipient.n %
					 (RST_POLICY_NO_SUCH_MAILBOX + 1)));
}

/* Offer the octets from start to end until no more are taken. */
static ssize_t offer(struct rst_policy_server *server, const char *input,
		     size_t *start, size_t end, struct rst_buf *story)
{
	struct rst_policy_ask ask;
	ssize_t taken;

	do {
		/* a copy, so that ASan sees a read beyond its end */
		char *copy = rst_malloc(end - *start);

		memcpy(copy, input + *start, end - *start);
		taken = rst_policy_server_recv(server, copy, end - *start, 0);
		*start += taken > 0 ? (size_t)taken : 0;
		while (rst_policy_server_next(server, &ask))
			decide(server, &ask, story);
		free(copy);
	} while (taken > 0);
	return taken;
}

/* @return the requests and the answers as octets, to be cleared */
static struct rst_buf run(const char *input, size_t size, size_t piece)
{
	static const struct rst_policy_server_limits limits = {1000};
	struct rst_policy_server *server = rst_policy_server_new(&limits);
	struct rst_buf story = {0};
	size_t start = 0, end = 0;
	ssize_t taken = 0;
	struct rst_str out;

	while (end < size && taken >= 0) {
		end = size - end < piece ? size : end + piece;
		taken = offer(server, input, &start, end, &story);
	}
	out.p = rst_policy_server_output(server, &out.n);
	rst_buf_str(&story, out);
	rst_buf_printf(&story, "%zd after %zu", taken, start);
	rst_policy_server_free(&server);
	return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rst_buf whole = run((const char *)data, size, size), cut;
	size_t piece;

	for (piece = 1; piece <= 64; piece = piece * 3 + 1) {
		cut = run((const char *)data, size, piece);
		if (!rst_str_eq(rst_buf_view(&whole), rst_buf_view(&cut)))
			abort();
		rst_buf_clear(&cut);
	}
	rst_buf_clear(&whole);
	return 0;
}
