/* SPDX-License-Identifier: MIT */
/**
 * Drives a provider through one conversation and writes a log of it, for the
 * unit test and the fuzzer: the network's cuts must not change a word of the
 * log.
 */
#ifndef PROVIDER_RUN_H
#define PROVIDER_RUN_H

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "restante/provider.h"

#define PROVIDER_RUN_LIMITS                                             \
	{                                                               \
		.hostname = "mx", .mechanisms = "PLAIN CRAM-MD5",       \
		.command_timeout_ms = 1000, .session_timeout_ms = 5000, \
		.max_auth_failures = 3, .max_bad_commands = 4,          \
	}

struct provider_run {
	struct rst_provider *provider;
	/** the caller's answers to the questions in turn, the last for ever:
	    'o' OK, 't' TEMPFAIL, 'r' REFUSED, 'c' a challenge, '-' none */
	const char *answers;
	struct rst_buf input; /* not taken yet */
	struct rst_buf log;
	bool closed;
	ssize_t status;
};

static inline void provider_run_output(struct provider_run *run)
{
	size_t n;
	const char *out = rst_provider_output(run->provider, &n);

	rst_buf_append(&run->log, out, n);
	rst_provider_sent(run->provider, n);
}

static inline void provider_run_answer(struct provider_run *run,
				       const struct rst_provider_event *ev)
{
	char answer = *run->answers;
	enum rst_verdict verdict = answer == 'o'   ? RST_VERDICT_OK
				   : answer == 't' ? RST_VERDICT_TEMPFAIL
						   : RST_VERDICT_REFUSED;

	if (run->answers[0] != '\0' && run->answers[1] != '\0')
		run->answers++;
	if (answer == '-')
		return;
	if (ev->type == RST_PROVIDER_ATRN)
		rst_provider_atrn_done(run->provider, ev->id, verdict, 0);
	else if (answer == 'c')
		rst_provider_auth_continue(run->provider, ev->id,
					   RST_STR("Pz8/"), 0);
	else
		rst_provider_auth_done(run->provider, ev->id, verdict, 0);
}

static inline void provider_run_event(struct provider_run *run,
				      const struct rst_provider_event *ev)
{
	static const char *const names[] = {"AUTH", "CONTINUE", "CANCEL",
					    "ATRN", "CLOSE"};

	rst_buf_printf(&run->log, "<%s", names[ev->type]);
	if (ev->type == RST_PROVIDER_AUTH)
		rst_buf_printf(&run->log, " %.*s", (int)ev->mechanism.n,
			       ev->mechanism.p);
	if (ev->has_initial)
		rst_buf_printf(&run->log, " [%.*s]", (int)ev->initial.n,
			       ev->initial.p);
	if (ev->domains.n > 0)
		rst_buf_printf(&run->log, " %.*s", (int)ev->domains.n,
			       ev->domains.p);
	rst_buf_puts(&run->log, ">");
	if (ev->type == RST_PROVIDER_CLOSE)
		run->closed = true;
	else if (ev->type != RST_PROVIDER_AUTH_CANCEL)
		provider_run_answer(run, ev);
}

/** Do what a driver does when octets or an answer have come. */
static inline void provider_run_pump(struct provider_run *run)
{
	struct rst_provider_event ev;
	ssize_t taken;
	char *copy;

	do {
		struct rst_str input = rst_buf_view(&run->input);

		/* a copy, so that ASan sees a read beyond its end, and freed
		   afterwards, as in a driver */
		copy = rst_malloc(input.n);
		memcpy(copy, input.p, input.n);
		taken = rst_provider_recv(run->provider, copy, input.n, 0);
		free(copy);
		if (taken > 0)
			rst_buf_take(&run->input, (size_t)taken);
		else
			run->status = taken;
		provider_run_output(run);
		while (rst_provider_next(run->provider, &ev)) {
			provider_run_event(run, &ev);
			provider_run_output(run);
		}
	} while (taken > 0);
}

static inline void provider_run_start(struct provider_run *run,
				      const struct rst_provider_limits *limits,
				      const char *answers)
{
	*run = (struct provider_run){
		.provider = rst_provider_new(limits, 0),
		.answers = answers,
	};
	provider_run_output(run);
}

static inline void provider_run_feed(struct provider_run *run, const char *p,
				     size_t n)
{
	rst_buf_append(&run->input, p, n);
	provider_run_pump(run);
}

/** Log the end. @return the log; free() it */
static inline char *provider_run_end(struct provider_run *run)
{
	char *log;

	if (run->status < 0)
		rst_buf_puts(&run->log, run->status == RST_ELIMIT ? "<ELIMIT>"
								  : "<EPROTO>");
	if (rst_provider_turned(run->provider))
		rst_buf_puts(&run->log, "<TURNED>");
	if (run->input.used > 0)
		rst_buf_printf(&run->log, "<%zu left>", run->input.used);
	log = rst_str_dup(rst_buf_view(&run->log));
	rst_buf_clear(&run->log);
	rst_buf_clear(&run->input);
	rst_provider_free(&run->provider);
	return log;
}

#endif
