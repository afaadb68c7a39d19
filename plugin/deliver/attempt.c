/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "file-lock.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-deliver.h"
#include "mail-user.h"
#include "attempt.h"
#include "common/settings.h"
#include "fallback/search.h"
#include "fallback/trace-field.h"
#include "hold/attempts.h"
#include "hold/hold.h"
#include "hold/save.h"

/* more than the trace field has */
#define FIELD_MAX 1024
/* as long as an earlier delivery may take, with Sieve */
#define LOCK_SECS 120

/* the attempt that has begun; lmtp delivers one message at a time */
static struct {
	struct rst_hold hold; /* not open: no attempt has begun */
	struct rst_settings settings;
	time_t since;
	struct file_lock *lock;
	char *id;
} current;

static void forget(void)
{
	if (current.lock != NULL)
		file_lock_free(&current.lock);
	rst_hold_close(&current.hold);
	i_free(current.id);
}

static const char *get_id(const struct rst_delivery *delivery)
{
	struct rst_trace trace;
	const unsigned char *data;
	const char *error, *id;
	size_t size;

	if (rst_trace_find(delivery, &trace, &error) < 0)
		return NULL;
	i_stream_seek(delivery->input, trace.octets);
	if (i_stream_read_bytes(delivery->input, &data, &size, FIELD_MAX) < 0)
		data = i_stream_get_data(delivery->input, &size);
	size = I_MIN(size, FIELD_MAX);
	id = rst_trace_field_parse(data, size);
	i_stream_seek(delivery->input, 0);
	return id;
}

/* @return 1; 0 or -1: it cannot begin now: error_r */
static int enter(struct mail_user *user, const struct rst_settings *settings,
		 const char *id, const char **error_r)
{
	int ret;

	current.settings = *settings;
	current.hold.user = user;
	current.hold.settings = &current.settings;
	ret = rst_hold_open(&current.hold, FALSE, error_r);
	if (ret == 0)
		*error_r = "there is no hold";
	if (ret <= 0)
		return ret;
	*error_r = "another delivery from this hold takes too long";
	ret = rst_hold_lock(&current.hold, RST_LOCK_RELEASE, LOCK_SECS,
			    &current.lock, error_r);
	if (ret <= 0)
		return ret;
	current.id = i_strdup(id);
	return 1;
}

static int write_state(enum rst_attempt_state state, const char **error_r)
{
	static const unsigned char no_key[RST_KEY_SIZE];

	return rst_attempts_write(current.hold.dir, current.id, no_key, state,
				  state == RST_ATTEMPT_BEGUN, error_r);
}

/* Search for the message after a delivery whose end is not known. @return 1: it
   is in a mailbox; 0; -1 */
static int search(const char **error_r)
{
	int ret;

	ret = rst_search(current.hold.user, rst_trace_field_needle(current.id),
			 current.since, error_r);
	if (ret > 0)
		e_info(current.hold.user->event,
		       "already in the mailbox, not delivered again: id=%s",
		       current.id);
	return ret;
}

static enum rst_attempt_begun begin(enum rst_attempt_state state, bool tried,
				    const char **error_r)
{
	int ret = 0;

	if (state == RST_ATTEMPT_DELIVERED)
		return RST_BEGIN_KNOWN;
	if (state == RST_ATTEMPT_NONE) {
		*error_r = "it is not handed over any more";
		return RST_BEGIN_LATER;
	}
	if (tried)
		ret = search(error_r);
	if (ret < 0)
		return RST_BEGIN_LATER;
	if (ret > 0)
		return write_state(RST_ATTEMPT_DELIVERED, error_r) < 0
			       ? RST_BEGIN_LATER
			       : RST_BEGIN_KNOWN;
	return write_state(RST_ATTEMPT_BEGUN, error_r) < 0 ? RST_BEGIN_LATER
							   : RST_BEGIN_DELIVER;
}

enum rst_attempt_begun rst_attempt_begin(struct mail_deliver_context *ctx,
					 const struct rst_settings *settings,
					 const struct rst_delivery *delivery,
					 const char **error_r)
{
	const char *id = get_id(delivery);
	struct rst_attempts *attempts;
	enum rst_attempt_begun result = RST_BEGIN_LATER;
	enum rst_attempt_state state;
	bool tried;

	if (id == NULL)
		return RST_BEGIN_DELIVER;
	if (enter(ctx->rcpt_user, settings, id, error_r) > 0 &&
	    rst_attempts_read(current.hold.dir, &attempts, error_r) == 0) {
		state = rst_attempts_state(attempts, id);
		current.since = ioloop_time;
		tried = rst_attempts_tried(attempts, id, &current.since);
		rst_attempts_free(&attempts);
		result = begin(state, tried, error_r);
	}
	if (result != RST_BEGIN_DELIVER)
		forget();
	return result;
}

static int end(bool delivered, const char **error_r)
{
	/* an error may have come after the message was saved */
	int ret = delivered ? 1 : search(error_r);

	if (ret < 0)
		return -1;
	return write_state(ret > 0 ? RST_ATTEMPT_DELIVERED : RST_ATTEMPT_FAILED,
			   error_r);
}

void rst_attempt_end(bool delivered)
{
	const char *error;

	if (current.hold.box == NULL)
		return;
	if (end(delivered, &error) < 0)
		i_error("The end of a fallback delivery is not noted, it will "
			"be looked for: %s",
			error);
	forget();
}
