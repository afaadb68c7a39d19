/* SPDX-License-Identifier: MIT */
/*
 * The Dovecot service restante-hold. Each of its many processes serves one
 * connection (client_limit = 1), so that a locked mailbox stalls nobody else.
 *
 * The kernel wakes all idle processes for each connection, and one of them gets
 * it. After many sign-ins at the same time a hundred processes are idle, and
 * policyd's connect(), which wakes them, takes three times as long. So a
 * process that was often woken for nothing leaves; Dovecot starts another one
 * when it is needed. Dovecot's own limit for that (idle_kill, one minute) does
 * not help where each process gets a connection now and then.
 */
#include "lib.h"
#include "ioloop.h"
#include "mail-storage-service.h"
#include "master-service.h"
#include "net.h"
#include "restrict-access.h"
#include "common/dovecot-compat.h"
#include "connection.h"

#include <sys/resource.h>
#include <unistd.h>

/* wake-ups for nothing; so many that some processes stay, for messages that
   come together */
#define WOKEN_MAX 32
#define LOOK_MSECS 1000

static struct mail_storage_service_ctx *storage_service;
static struct rst_connection *the_connection;
static struct timeout *to_look; /* NULL: not idle */
static long woken_before;

/* Most wake-ups end within epoll_wait(), as another process was faster: only
   the kernel counts them. */
static long woken(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : usage.ru_nvcsw;
}

static void look(void *context ATTR_UNUSED)
{
	if (woken() - woken_before >= WOKEN_MAX)
		master_service_stop(master_service);
}

static void idle_begin(void)
{
	woken_before = woken();
	to_look = timeout_add(LOOK_MSECS, look, (void *)NULL);
}

static void idle_end(void)
{
	timeout_remove(&to_look);
}

static void connection_ended(void)
{
	the_connection = NULL;
	master_service_client_connection_destroyed(master_service);
	idle_begin();
}

static void connected(struct master_service_connection *conn)
{
	master_service_client_connection_accept(conn);
	if (the_connection != NULL) {
		i_error("restante-hold must be configured with client_limit=1");
		i_close_fd(&conn->fd);
		master_service_client_connection_destroyed(master_service);
		return;
	}
	idle_end();
	net_set_nonblock(conn->fd, TRUE);
	the_connection = rst_connection_create(conn->fd, storage_service,
					       connection_ended);
}

/* Only root may open the config socket, so that comes first. */
static void drop_privileges(void)
{
	const char *error;

	if (rst_compat_read_configuration(master_service, &error) < 0)
		i_fatal("Error reading configuration: %s", error);
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
}

int main(int argc, char *argv[])
{
	enum mail_storage_service_flags flags =
		MAIL_STORAGE_SERVICE_FLAG_USERDB_LOOKUP |
		MAIL_STORAGE_SERVICE_FLAG_TEMP_PRIV_DROP |
		MAIL_STORAGE_SERVICE_FLAG_NO_LOG_INIT |
		MAIL_STORAGE_SERVICE_FLAG_NO_IDLE_TIMEOUT |
		MAIL_STORAGE_SERVICE_FLAG_NO_CHDIR |
		/* they may need plugins that this service does not load; see
		   rst_overflow_save() */
		MAIL_STORAGE_SERVICE_FLAG_NO_NAMESPACES;

	master_service = master_service_init(
		"restante-hold", rst_compat_master_flags, &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;
	drop_privileges();
	master_service_init_log_with_pid(master_service);
	storage_service = rst_compat_storage_init(master_service, flags);
	master_service_init_finish(master_service);
	idle_begin();
	master_service_run(master_service, connected);
	idle_end();
	if (the_connection != NULL)
		rst_connection_destroy(&the_connection);
	mail_storage_service_deinit(&storage_service);
	master_service_deinit(&master_service);
	return 0;
}
