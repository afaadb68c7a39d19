/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "mail-user.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "mend.h"

/*
 * Removes messages that have left the hold and whose expunge failed. It is done
 * here, as a client that is told that nothing is held may be gone before the
 * end of the drain that would do it. The entry goes with them.
 */
static void remove_leftovers(struct rst_hold *hold)
{
	struct rst_locked *locked;
	struct rst_message *message;
	const char *error;
	int ret;

	ret = rst_locked_open(hold, &locked, &error);
	if (ret > 0 && locked != NULL) {
		/* a message that has just come is left to a drain; incomplete
		   ones are logged at the end */
		do
			ret = rst_locked_next(locked, &message, &error);
		while (ret > 0 && message->incomplete);
		if (ret == 0)
			ret = rst_locked_expunge(locked, &error);
		rst_locked_close(&locked);
	}
	if (ret < 0)
		e_error(hold->user->event,
			"What has left the hold cannot be removed: %s", error);
}

void rst_mend(struct rst_hold *hold, const struct rst_hold_status *status)
{
	const char *error;

	if (status->messages == 0) {
		if (status->leftovers > 0 || rst_entry_exists(hold))
			remove_leftovers(hold);
	} else if (rst_entry_ensure(hold, status->due, &error) < 0) {
		e_error(hold->user->event,
			"There is no entry for held mail: %s", error);
	}
}
