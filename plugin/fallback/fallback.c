/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "fallback.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/message.h"
#include "lmtp.h"
#include "overflow.h"
#include "trace-field.h"

/* each tombstone is made durable by itself; messages are expunged in batches */
#define EXPUNGE_BATCH 100

static bool attempt(struct rst_lmtp *lmtp, struct rst_locked *locked,
		    struct rst_message *message, const char *refused,
		    const char **reply_r)
{
	const struct rst_lmtp_mail mail = {
		.mail_from = message->mail_from,
		.rcpt_to = message->rcpt_to,
		.input = message->input,
		.trace = rst_trace_field_format(
			message->id,
			rst_compat_hostname(rst_locked_hold(locked)->user)),
		.refused = refused,
	};
	const char *error;

	if (rst_locked_begin_attempt(locked, message, reply_r) < 0)
		return FALSE;
	if (rst_lmtp_deliver(lmtp, &mail, reply_r))
		return TRUE;
	/* an attempt that has not begun is closed, so that the message may go
	   another way */
	if (rst_locked_resolve(locked, &error) < 0)
		*reply_r = t_strdup_printf("%s; %s", *reply_r, error);
	return rst_locked_is_buried(locked, message->id);
}

/* Save a message whose fallback delivery has failed too long into the overflow
   mailbox; not while an attempt may have delivered it all the same. */
static bool overflow(struct rst_locked *locked, struct rst_message *message,
		     const char **reply_r)
{
	const struct rst_hold *hold = rst_locked_hold(locked);
	const char *error, *reply = *reply_r;
	time_t received = message->received;

	if (!rst_overflow_is_due(hold, message) ||
	    rst_locked_is_attempted(locked, message->id))
		return FALSE;
	/* LMTP may have read some of its input */
	if (rst_locked_get(locked, message->uid, &message, &error) <= 0)
		return FALSE;
	message->received = received;
	if (rst_overflow_save(hold, message, &error) < 0) {
		*reply_r = t_strdup_printf("%s; and not into %s: %s", reply,
					   rst_overflow_name(hold), error);
		return FALSE;
	}
	e_warning(hold->user->event,
		  "Fallback delivery failed too long, moved to %s: id=%s "
		  "uid=%u: %s",
		  rst_overflow_name(hold), message->id, message->uid, reply);
	return TRUE;
}

bool rst_fallback_one(struct rst_lmtp *lmtp, struct rst_locked *locked,
		      struct rst_message *message, const char *refused,
		      const char **reply_r)
{
	struct event *event = rst_locked_hold(locked)->user->event;
	bool delivered = attempt(lmtp, locked, message, refused, reply_r);

	if (!delivered && !overflow(locked, message, reply_r)) {
		e_error(event,
			"Fallback delivery failed, still held: id=%s uid=%u: "
			"%s",
			message->id, message->uid, *reply_r);
		return FALSE;
	}
	rst_locked_bury(locked, message->id, rst_message_key(message),
			message->uid);
	if (rst_locked_commit(locked, reply_r) < 0) {
		e_error(event,
			"Delivered to the mailbox, but still held: id=%s "
			"uid=%u: %s",
			message->id, message->uid, *reply_r);
		return FALSE;
	}
	if (delivered)
		e_info(event, "delivered to the mailbox: id=%s uid=%u",
		       message->id, message->uid);
	return TRUE;
}

static bool is_wanted(const struct rst_fallback *fallback,
		      const struct rst_hold *hold,
		      const struct rst_message *message)
{
	/* an attempted message may be in a mailbox already: any other way than
	   LMTP, which searches for it, might make a second copy */
	if (message->attempted)
		return TRUE;
	if (fallback->leased != NULL &&
	    fallback->leased(message->id, fallback->context))
		return FALSE;
	if (message->incomplete && fallback->what != RST_RELEASE_ONE)
		return FALSE;
	switch (fallback->what) {
	case RST_RELEASE_ALL:
		return TRUE;
	case RST_RELEASE_EXPIRED:
		return rst_hold_due(hold->settings, message->received) <=
		       ioloop_time;
	case RST_RELEASE_ONE:
		return strcmp(message->id, fallback->id) == 0;
	case RST_RELEASE_BEGUN:
		return FALSE;
	}
	i_unreached();
}

static int expunge_batch(struct rst_locked *locked, unsigned int *pending,
			 const char **error_r)
{
	if (++*pending < EXPUNGE_BATCH)
		return 0;
	*pending = 0;
	if (rst_locked_expunge(locked, error_r) < 0)
		return -1;
	/* drops the attempts that are buried from their log */
	return rst_locked_resolve(locked, error_r);
}

static int release_each(struct rst_fallback *fallback, struct rst_lmtp *lmtp,
			struct rst_locked *locked, const char **error_r)
{
	unsigned int pending = 0;
	struct rst_message *message;
	const char *reply;
	bool ok;
	int ret;

	while ((ret = rst_locked_next(locked, &message, error_r)) > 0) {
		if (!is_wanted(fallback, rst_locked_hold(locked), message))
			continue;
		T_BEGIN
		{
			ok = rst_fallback_one(lmtp, locked, message, NULL,
					      &reply);
		}
		T_END;
		if (!ok) {
			fallback->failed++;
			/* without LMTP the other messages would fail, too */
			if (!rst_lmtp_is_up(lmtp))
				break;
			continue;
		}
		fallback->delivered++;
		if (expunge_batch(locked, &pending, error_r) < 0)
			return -1;
	}
	if (ret < 0 || rst_locked_expunge(locked, error_r) < 0)
		return -1;
	return fallback->delivered == 0 ? 0
					: rst_locked_resolve(locked, error_r);
}

int rst_fallback_run(struct rst_fallback *fallback, struct rst_locked *locked,
		     const char **error_r)
{
	const struct rst_hold *hold = rst_locked_hold(locked);
	struct rst_lmtp *lmtp;
	int ret;

	io_loop_time_refresh();
	lmtp = rst_lmtp_new(hold->user->event, hold->settings->release_socket);
	rst_locked_rewind(locked);
	ret = release_each(fallback, lmtp, locked, error_r);
	rst_locked_go_on(locked);
	rst_lmtp_free(&lmtp);
	return ret;
}
