/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "istream-concat.h"
#include "mail-namespace.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "hold/hold.h"
#include "hold/mailbox.h"
#include "hold/message.h"
#include "overflow.h"
#include "search.h"
#include "trace-field.h"

#define MAILBOX "Overflow"

const char *rst_overflow_name(const struct rst_hold *hold)
{
	return *hold->settings->overflow_mailbox != '\0'
		       ? hold->settings->overflow_mailbox
		       : MAILBOX;
}

bool rst_overflow_is_due(const struct rst_hold *hold,
			 const struct rst_message *message)
{
	return rst_hold_due(hold->settings, message->received) +
		       (time_t)hold->settings->fallback_give_up_secs <=
	       ioloop_time;
}

static int save(struct mail_user *user, struct mailbox *box,
		struct rst_message *message, const char **error_r)
{
	const char *field =
		rst_trace_field_format(message->id, rst_compat_hostname(user));
	struct istream *parts[3], *input;
	uint32_t uid;
	int ret;

	parts[0] = i_stream_create_from_data(field, strlen(field));
	parts[1] = message->input;
	parts[2] = NULL;
	input = i_stream_create_concat(parts);
	i_stream_unref(&parts[0]);
	ret = rst_mailbox_save(box, input, message->received, &uid, error_r);
	i_stream_unref(&input);
	return ret < 0 ? -1 : rst_mailbox_fsync(box, error_r);
}

static int open_box(const struct rst_hold *hold, enum mailbox_flags flags,
		    bool create, struct mailbox **box_r, const char **error_r)
{
	const char *name = hold->settings->overflow_mailbox;

	/* restante-hold opens no mailbox of the user but this one */
	if (*name != '\0' && hold->user->namespaces == NULL &&
	    mail_namespaces_init(hold->user, error_r) < 0)
		return -1;
	if (*name != '\0')
		return rst_mailbox_open(hold->user, name, flags, create, box_r,
					error_r);
	return rst_mailbox_open(hold->owner, MAILBOX, flags, create, box_r,
				error_r);
}

int rst_overflow_save(const struct rst_hold *hold, struct rst_message *message,
		      const char **error_r)
{
	struct mailbox *box;
	int ret;

	if (open_box(hold, 0, TRUE, &box, error_r) < 0)
		return -1;
	/* a crash may have come after a save and before its tombstone */
	ret = rst_search_box(box, rst_trace_field_needle(message->id),
			     message->received, error_r);
	if (ret > 0)
		ret = rst_mailbox_syncfs(box, error_r);
	else if (ret == 0)
		ret = save(hold->user, box, message, error_r);
	mailbox_free(&box);
	return ret;
}

int rst_overflow_count(struct rst_hold *hold, unsigned int *count_r,
		       const char **error_r)
{
	struct mailbox_status status;
	struct mailbox *box;
	int ret;

	*count_r = 0;
	if (rst_hold_own(hold, error_r) < 0)
		return -1;
	if (*hold->settings->overflow_mailbox == '\0' &&
	    !rst_hold_has_storage(hold))
		return 0;
	ret = open_box(hold, MAILBOX_FLAG_READONLY, FALSE, &box, error_r);
	if (ret <= 0)
		return ret;
	ret = mailbox_get_status(box, STATUS_MESSAGES, &status);
	if (ret < 0)
		*error_r = rst_mailbox_error(box);
	else
		*count_r = status.messages;
	mailbox_free(&box);
	return ret;
}
