/* SPDX-License-Identifier: MIT */
#include "policy-service.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/log.h"
#include "policy-conn.h"
#include "restante/clock.h"
#include "restante/full.h"
#include "restante/holder.h"

/** Debian's Postfix runs 100 smtpd processes at most; a large one some
    thousand. */
#define MAX_CONNECTIONS 4096

/** Users who are remembered for having no room. */
#define MAX_FULL 100000

/** One of Postfix's smtpd processes. */
struct smtpd {
	LIST_ENTRY(smtpd) entry;
	struct policy_service *service;
	struct policy_conn *conn;
};

struct policy_service {
	struct event_base *base;
	const struct conf *conf;
	int listen_fd;
	struct acceptor *acceptor;
	struct rst_full *full;
	LIST_HEAD(, smtpd) smtpds;
	unsigned int count;
};

/* What is known of a recipient here is in memory, so the answer comes at once.
   Nothing in it depends on who is enrolled or signed in. */
static enum rst_policy_action decide(const struct policy_service *service,
				     const struct rst_policy_request *request)
{
	uint64_t limit = service->conf->message_size_limit, size;
	bool rcpt = rst_str_eq(request->protocol_state, RST_STR("RCPT"));

	if (!rcpt &&
	    !rst_str_eq(request->protocol_state, RST_STR("END-OF-MESSAGE")))
		return RST_POLICY_DUNNO;
	if (limit != 0 && rst_str_to_u64(request->size, &size) && size > limit)
		return RST_POLICY_TOO_LARGE;
	if (rcpt && rst_full_is(service->full, request->recipient,
				service->conf->recipient_delimiter, clock_ms()))
		return RST_POLICY_NO_ROOM;
	return RST_POLICY_DUNNO;
}

static void on_decide(struct policy_conn *conn,
		      const struct rst_policy_ask *ask, void *ctx)
{
	struct smtpd *smtpd = ctx;

	policy_conn_answer(conn, ask->id, decide(smtpd->service, ask->request));
}

static void forget(struct smtpd *smtpd)
{
	LIST_REMOVE(smtpd, entry);
	smtpd->service->count--;
	free(smtpd);
}

static void on_closed(struct policy_conn *conn, void *ctx)
{
	(void)conn;
	forget(ctx);
}

static const struct policy_conn_callbacks callbacks = {on_decide, on_closed};

void policy_service_adopt(struct policy_service *service, int fd)
{
	const struct policy_conn_times times = {
		.answer_timeout_ms = (int64_t)service->conf->policy_timeout_ms,
		.idle_ms = POLICY_CONN_IDLE_MS};
	struct smtpd *smtpd;

	if (service->count == MAX_CONNECTIONS) {
		log_short(LOG_WARNING, "too many policy connections", NULL,
			  NULL);
		(void)close(fd);
		return;
	}
	smtpd = rst_calloc(1, sizeof(*smtpd));
	smtpd->service = service;
	smtpd->conn =
		policy_conn_new(service->base, fd, &times, &callbacks, smtpd);
	LIST_INSERT_HEAD(&service->smtpds, smtpd, entry);
	service->count++;
}

static void on_accepted(int fd, const struct acceptor_peer *peer, void *ctx)
{
	(void)peer;
	policy_service_adopt(ctx, fd);
}

static void start_listening(struct policy_service *service, int listen_fd)
{
	/* Postfix waits: its connections go first, at priority 0 */
	const struct acceptor_config config = {
		.failed = "policy connection not accepted", .priority = 0};

	service->listen_fd = listen_fd;
	service->acceptor = acceptor_new(service->base, &listen_fd, 1, &config,
					 on_accepted, service);
	acceptor_start(service->acceptor);
}

struct policy_service *policy_service_new(struct event_base *base,
					  int listen_fd,
					  const struct conf *conf)
{
	struct policy_service *service = rst_calloc(1, sizeof(*service));

	service->base = base;
	service->conf = conf;
	service->full = rst_full_new(MAX_FULL);
	LIST_INIT(&service->smtpds);
	start_listening(service, listen_fd);
	return service;
}

void policy_service_relisten(struct policy_service *service, int listen_fd)
{
	acceptor_free(&service->acceptor);
	(void)close(service->listen_fd);
	start_listening(service, listen_fd);
}

void policy_service_full(struct policy_service *service, struct rst_str user,
			 bool full)
{
	int64_t now_ms = clock_ms();

	rst_full_set(service->full, user,
		     full ? now_ms + RST_HOLDER_FULL_SECS * 1000 : 0, now_ms);
}

unsigned int policy_service_detach(struct policy_service **_service,
				   int **fds_r)
{
	struct policy_service *service = *_service;
	int *fds = rst_calloc(service->count + 1, sizeof(*fds));
	struct smtpd *smtpd;
	unsigned int n = 0;

	fds[n++] = service->listen_fd;
	while ((smtpd = LIST_FIRST(&service->smtpds)) != NULL) {
		fds[n] = policy_conn_detach(&smtpd->conn);
		if (fds[n] >= 0)
			n++;
		forget(smtpd);
	}
	acceptor_free(&service->acceptor);
	rst_full_free(&service->full);
	free(service);
	*_service = NULL;
	*fds_r = fds;
	return n;
}
