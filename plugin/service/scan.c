/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "mail-storage-service.h"
#include "mail-user.h"
#include "common/dovecot-compat.h"
#include "common/user.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hold/look.h"
#include "restante/hold-server.h"
#include "scan.h"

#include <time.h>

/* the walk works so long at a stretch, and then rests so many times as long */
#define WORK_USECS 10000
#define REST_TIMES 3
/* also where a stretch took longer, for a locked mailbox, say */
#define REST_MAX_MSECS 1000
/* after so many users without a line, one line says that nothing is held */
#define SILENT_MAX 1000

struct rst_scan {
	struct mail_storage_service_ctx *storage;
	pool_t pool;
	ARRAY_TYPE(const_string) users;
	unsigned int next;
	unsigned int silent; /* users since the last line */
	unsigned int failed; /* users who could not be looked at */
	bool complained;     /* that an entry could not be made */
};

int rst_scan_start(struct mail_storage_service_ctx *storage,
		   struct rst_scan **scan_r, const char **error_r)
{
	pool_t pool = pool_alloconly_create("hold scan", 4096);
	struct rst_scan *scan = p_new(pool, struct rst_scan, 1);
	const char *name;
	int ret;

	scan->pool = pool;
	scan->storage = storage;
	p_array_init(&scan->users, pool, 64);
	*scan_r = scan;
	mail_storage_service_all_init_mask(storage, RST_COMPAT_ALL_USERS);
	while ((ret = mail_storage_service_all_next(storage, &name)) > 0) {
		name = p_strdup(pool, name);
		array_push_back(&scan->users, &name);
	}
	if (ret == 0)
		return 0;
	*error_r = "the userdb cannot list its users";
	rst_scan_free(scan_r);
	return -1;
}

void rst_scan_free(struct rst_scan **scan)
{
	pool_t pool;

	if (*scan == NULL)
		return;
	pool = (*scan)->pool;
	*scan = NULL;
	pool_unref(&pool);
}

/* The directory, rather than one user's entry, is what is wrong. */
static void ensure_entry(struct rst_scan *scan, const struct rst_hold *hold,
			 time_t due)
{
	const char *error;

	if (rst_entry_ensure(hold, due, &error) == 0 || scan->complained)
		return;
	e_error(hold->user->event,
		"There is no entry for held mail, perhaps for others neither: "
		"%s",
		error);
	scan->complained = TRUE;
}

/* A user who is not enrolled any more may still have mail in the hold.
   @return whether a line was said */
static bool look_at(struct rst_scan *scan, const char *name,
		    struct rst_hold_server *server)
{
	struct rst_hold_status status;
	struct rst_hold hold;
	struct rst_user user;
	const char *error;
	bool holds = FALSE;
	int ret;

	ret = rst_user_open(scan->storage, name, &user, &error);
	if (ret < 0) {
		i_error("User %s cannot be looked up: %s", name, error);
		scan->failed++;
	}
	if (ret <= 0)
		return FALSE;
	i_zero(&hold);
	hold.user = user.user;
	hold.settings = &user.settings;
	if (rst_look_estimate(&hold, &status, &error) < 0) {
		e_error(user.user->event, "The hold cannot be read: %s", error);
		scan->failed++;
	} else if (status.messages > 0) {
		ensure_entry(scan, &hold, status.due);
		rst_hold_server_holds(server, rst_str(name), status.messages,
				      status.octets, status.due);
		holds = TRUE;
	}
	rst_user_close(&user);
	return holds;
}

static void look_at_next(struct rst_scan *scan, struct rst_hold_server *server)
{
	const char *const *name = array_idx(&scan->users, scan->next++);

	if (look_at(scan, *name, server)) {
		scan->silent = 0;
	} else if (++scan->silent == SILENT_MAX) {
		rst_hold_server_holds(server, rst_str(*name), 0, 0, 0);
		scan->silent = 0;
	}
}

static uint64_t now_usecs(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool rst_scan_some(struct rst_scan *scan, struct rst_hold_server *server,
		   unsigned int *rest_msecs_r)
{
	uint64_t start = now_usecs(), took;

	do {
		if (scan->next == array_count(&scan->users)) {
			rst_hold_server_scanned(server, scan->next,
						scan->failed);
			return FALSE;
		}
		T_BEGIN
		{
			look_at_next(scan, server);
		}
		T_END;
		took = now_usecs() - start;
	} while (took < WORK_USECS);
	*rest_msecs_r = I_MIN(took * REST_TIMES / 1000, REST_MAX_MSECS);
	return TRUE;
}
