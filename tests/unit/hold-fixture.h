/* SPDX-License-Identifier: MIT */
/**
 * Tests on a real mailbox of Dovecot's, in a temporary directory, without a
 * server. A suite calls hold_fixture_init() in main(), and adds hold_setup and
 * hold_teardown as checked fixture.
 */
#ifndef HOLD_FIXTURE_H
#define HOLD_FIXTURE_H

#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "master-service.h"
#include "test-mail-storage-common.h"
#include "unlink-directory.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "hold/hold.h"
#include "hold/locked.h"
#include "hold/look.h"
#include "hold/mailbox.h"
#include "hold/message.h"
#include "hold/save.h"
/* lib.h's and test-util.h's do the same */
#undef N_ELEMENTS
#include "test-util.h"

static const char *const hold_drivers[] = {"sdbox", "maildir", "mdbox"};

struct hold_fixture {
	char dir[32], holders[48];
	struct test_mail_storage_ctx *ctx;
	struct rst_settings set;
};

static struct hold_fixture hold_fixture;

static inline void hold_fixture_init(int *argc, char **argv[])
{
	master_service = master_service_init(
		"test-restante",
		MASTER_SERVICE_FLAG_STANDALONE |
			MASTER_SERVICE_FLAG_DONT_SEND_STATS |
			RST_COMPAT_NO_CONFIG | MASTER_SERVICE_FLAG_NO_SSL_INIT |
			MASTER_SERVICE_FLAG_NO_INIT_DATASTACK_FRAME,
		argc, argv, "");
	rst_compat_register_settings();
}

static inline void hold_setup(void)
{
	i_strocpy(hold_fixture.dir, "/tmp/restante-test.XXXXXX",
		  sizeof(hold_fixture.dir));
	ck_assert_ptr_nonnull(mkdtemp(hold_fixture.dir));
	ck_assert_int_eq(chdir(hold_fixture.dir), 0);
	i_snprintf(hold_fixture.holders, sizeof(hold_fixture.holders),
		   "%s/holders", hold_fixture.dir);
	ck_assert_int_eq(mkdir(hold_fixture.holders, 0700), 0);
	ck_assert_int_eq(chmod(hold_fixture.holders, 01733), 0);
	hold_fixture.ctx = test_mail_storage_init();
}

/** @param fields more userdb fields, NULL-terminated; or NULL */
static inline struct mail_user *hold_user(const char *driver,
					  const char *const *fields)
{
	static const char *const enrolled[] = {"restante=yes", NULL};
	struct test_mail_storage_settings set = {
		.driver = driver,
		.extra_input = fields == NULL ? enrolled : fields,
	};

	test_mail_storage_init_user(hold_fixture.ctx, &set);
	rst_settings_read(hold_fixture.ctx->user, &hold_fixture.set);
	hold_fixture.set.holders = hold_fixture.holders;
	hold_fixture.set.hold_location = p_strconcat(
		hold_fixture.ctx->user->pool, driver, ":~/restante", NULL);
	return hold_fixture.ctx->user;
}

static inline void hold_teardown(void)
{
	const char *error;

	if (hold_fixture.ctx->user != NULL)
		test_mail_storage_deinit_user(hold_fixture.ctx);
	test_mail_storage_deinit(&hold_fixture.ctx);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(unlink_directory(hold_fixture.dir,
					  UNLINK_DIRECTORY_FLAG_RMDIR, &error),
			 1);
}

/* ---- the mailbox */

/** @return the user's hold, not open */
static inline struct rst_hold hold_of_user(void)
{
	return (struct rst_hold){.user = hold_fixture.ctx->user,
				 .settings = &hold_fixture.set};
}

/** @return the hold, open; to be closed with rst_hold_close() */
static inline struct rst_hold hold_opened(void)
{
	struct rst_hold hold = hold_of_user();
	const char *error;

	ck_assert_int_eq(rst_hold_open(&hold, TRUE, &error), 1);
	return hold;
}

/** @param name in the hold's directory; "": that itself
    @return its path, on the data stack */
static inline const char *hold_file(const char *name)
{
	struct rst_hold hold = hold_opened();
	const char *path = t_strconcat(hold.dir, "/", name, NULL);

	rst_hold_close(&hold);
	return path;
}

static inline struct rst_hold_status hold_status(void)
{
	struct rst_hold hold = hold_of_user();
	struct rst_hold_status status;
	const char *error;

	ck_assert_int_eq(rst_look_peek(&hold, &status, &error), 0);
	return status;
}

static inline unsigned int hold_count_held(void)
{
	return hold_status().messages;
}

/** @return how many messages the mailbox has, whether they have left or not */
static inline unsigned int hold_count_stored(void)
{
	struct rst_hold hold = hold_opened();
	struct rst_hold_status status;
	const char *error;

	ck_assert_int_eq(rst_hold_size(&hold, &status, &error), 0);
	rst_hold_close(&hold);
	return status.messages;
}

/** Expunge the first message, without a tombstone. */
static inline void hold_expunge_first(void)
{
	struct mailbox_transaction_context *trans;
	struct rst_hold hold = hold_opened();
	struct mail *mail;

	ck_assert_int_eq(mailbox_sync(hold.box, 0), 0);
	trans = mailbox_transaction_begin(hold.box, 0, __func__);
	mail = mail_alloc(trans, 0, NULL);
	mail_set_seq(mail, 1);
	mail_expunge(mail);
	mail_free(&mail);
	ck_assert_int_eq(mailbox_transaction_commit(&trans), 0);
	ck_assert_int_eq(mailbox_sync(hold.box, 0), 0);
	rst_hold_close(&hold);
}

/* ---- saving */

/** @return a delivery of data, whose input hold_save() frees */
static inline struct rst_delivery
hold_delivery(const char *trace, const void *data, size_t size, time_t arrived)
{
	struct rst_delivery delivery = {
		.input = i_stream_create_from_data(data, size),
		.trace = trace,
		.mail_from = "a@example.org",
		.rcpt_to = "b+x@example.test",
		.mail_params = "",
		.rcpt_params = "",
		.arrived = {.tv_sec = arrived, .tv_usec = 5},
		.queue_lifetime_secs = hold_fixture.set.queue_lifetime_secs,
	};
	const char *error;

	ck_assert_int_eq(rst_delivery_prepare(&delivery, &error), 0);
	return delivery;
}

/** @return its id, on the data stack */
static inline const char *hold_save(struct rst_delivery *delivery)
{
	struct rst_hold hold = hold_opened();
	struct rst_saved saved;
	const char *error;

	ck_assert_msg(rst_hold_save(&hold, delivery, &saved, &error) == 0, "%s",
		      error);
	i_stream_unref(&delivery->input);
	rst_hold_close(&hold);
	return saved.id;
}

static inline const char *hold_put_message(const char *trace, const void *data,
					   size_t size, time_t arrived)
{
	struct rst_delivery delivery =
		hold_delivery(trace, data, size, arrived);

	return hold_save(&delivery);
}

/** Save a message as a crash may leave it: without its last octets. */
static inline void hold_put_part(const void *data, size_t size, uoff_t missing)
{
	struct rst_delivery delivery =
		hold_delivery("", data, size, 1700000000);
	struct istream *whole = delivery.input;

	delivery.input = i_stream_create_limit(whole, size - missing);
	i_stream_unref(&whole);
	hold_save(&delivery);
}

/** Save a message; @return its id, on the data stack */
static inline const char *hold_put(const char *trace, const void *data,
				   size_t size)
{
	return hold_put_message(trace, data, size, 1700000000);
}

static inline const char *hold_put_at(time_t arrived)
{
	return hold_put_message("", "S: x\r\n\r\n", 8, arrived);
}

/** @return the hold, locked; one at a time */
static inline struct rst_locked *hold_open(void)
{
	static struct rst_hold hold;
	struct rst_locked *locked;
	const char *error;

	hold = hold_of_user();
	ck_assert_int_eq(rst_locked_open(&hold, &locked, &error), 1);
	return locked;
}

#endif
