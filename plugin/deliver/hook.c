/* SPDX-License-Identifier: MIT */
/*
 * The deliver hook, in lmtp and dovecot-lda. Mail for an enrolled recipient
 * goes into the hold. All other mail goes to the next hook, which is Sieve's.
 */
#include "lib.h"
#include "array.h"
#include "istream.h"
#include "lda-settings.h"
#include "lmtp-common.h"
#include "lmtp-recipient.h"
#include "mail-deliver.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "smtp-address.h"
#include "str.h"
#include "arrival.h"
#include "attempt.h"
#include "common/dovecot-compat.h"
#include "common/settings.h"
#include "hold/entry.h"
#include "hold/hold.h"
#include "hook.h"

/* lmtp defines these; dovecot-lda does not */
#pragma weak lmtp_client_created_hook_set
#pragma weak lmtp_module_register

struct restante_lmtp_client {
	union lmtp_module_context module_ctx;
};

static MODULE_CONTEXT_DEFINE_INIT(restante_lmtp_module, &lmtp_module_register);

const char *restante_plugin_version = DOVECOT_ABI_VERSION;
const char restante_plugin_binary_dependency[] = "lda lmtp";

static deliver_mail_func_t *next_deliver;
static lmtp_client_created_func_t *next_client_created;
/* the header lines that LMTP has put on top of the message that it is
   delivering; NULL: LMTP is not delivering */
static const char *current_trace;

/* ---- the envelope */

static const char *mail_params_text(const struct mail_deliver_context *ctx)
{
	string_t *text = t_str_new(64);

	smtp_params_mail_write(text,
			       SMTP_CAPABILITY_DSN | SMTP_CAPABILITY_8BITMIME |
				       SMTP_CAPABILITY_SIZE,
			       NULL, &ctx->mail_params);
	return str_c(text);
}

static const char *rcpt_params_text(const struct mail_deliver_context *ctx)
{
	string_t *text = t_str_new(64);

	smtp_params_rcpt_write(text,
			       SMTP_CAPABILITY_DSN | SMTP_CAPABILITY__ORCPT,
			       NULL, &ctx->rcpt_params);
	return str_c(text);
}

static int get_delivery(struct mail_deliver_context *ctx,
			const struct rst_settings *set,
			struct rst_delivery *delivery_r)
{
	i_zero(delivery_r);
	if (mail_get_stream(ctx->src_mail, NULL, NULL, &delivery_r->input) < 0)
		return -1;
	delivery_r->trace = current_trace;
	/* _raw: the plain encoder turns a UTF-8 sender into the null sender */
	delivery_r->mail_from = smtp_address_encode_raw(ctx->mail_from);
	delivery_r->rcpt_to = smtp_address_encode_raw(ctx->rcpt_to);
	delivery_r->mail_params = mail_params_text(ctx);
	delivery_r->rcpt_params = rcpt_params_text(ctx);
	delivery_r->arrived = ctx->delivery_time_started;
	delivery_r->queue_lifetime_secs = set->queue_lifetime_secs;
	return 0;
}

/* ---- what may be held */

static bool is_too_large(const struct rst_settings *set, struct istream *input)
{
	uoff_t size;

	return set->max_size != 0 &&
	       i_stream_get_size(input, TRUE, &size) > 0 &&
	       size > set->max_size;
}

static void warn_fsync_never(struct mail_deliver_context *ctx)
{
	static bool warned = FALSE;

	if (warned || !rst_compat_fsync_never(ctx->rcpt_user))
		return;
	warned = TRUE;
	e_error(ctx->event,
		"MAIL WILL BE LOST at the next power cut: mail_fsync=never "
		"is set for this service, but a held message must be on disk "
		"before it is accepted. Set mail_fsync=optimized");
}

/*
 * Postfix has accepted the message, so a full mailbox may not be answered 5xx:
 * the sender would get a non-delivery report for mail that Postfix can keep
 * until the hold, or the mailbox, has room.
 */
static void tempfail_when_full(struct mail_deliver_context *ctx)
{
	/* the recipient's own: mail_storage_service has made a copy */
	((struct lda_settings *)ctx->set)->quota_full_tempfail = TRUE;
}

/* ---- holding */

static int held(struct mail_deliver_context *ctx, const struct rst_saved *saved)
{
	mail_deliver_log(ctx, "held: id=%s uid=%u size=%" PRIuUOFF_T, saved->id,
			 saved->uid, saved->size);
	ctx->saved_mail = TRUE;
	return 1;
}

static int known(struct mail_deliver_context *ctx,
		 const struct rst_saved *saved)
{
	if (saved->id == NULL)
		mail_deliver_log(ctx, "already have it: it has left the hold");
	else
		mail_deliver_log(ctx, "already have it: held: id=%s",
				 saved->id);
	ctx->saved_mail = TRUE;
	return 1;
}

static int deliver_normally(struct mail_deliver_context *ctx,
			    struct mail_storage **storage_r)
{
	/* 0: not handled, so Dovecot delivers it to the default mailbox */
	return next_deliver == NULL ? 0 : next_deliver(ctx, storage_r);
}

static int try_later(struct mail_deliver_context *ctx, const char *error)
{
	e_error(ctx->event, "Hold failed, asking to try again later: %s",
		error);
	ctx->tempfail_error = "Cannot hold this message now";
	return -1;
}

static int hold_failed(struct mail_deliver_context *ctx,
		       const struct rst_settings *set, const char *error,
		       struct mail_storage **storage_r)
{
	if (set->on_error != RST_ON_ERROR_DELIVER)
		return try_later(ctx, error);
	e_error(ctx->event, "Hold failed, delivering normally: %s", error);
	return deliver_normally(ctx, storage_r);
}

static bool is_over_quota(struct mail_storage *storage)
{
	enum mail_error error = MAIL_ERROR_NONE;

	if (storage != NULL)
		(void)mail_storage_get_last_error(storage, &error);
	return error == MAIL_ERROR_NOQUOTA;
}

/* The hold is full. Where the mailbox is full, too, policyd is told, and
   refuses further mail at RCPT. */
static int deliver_beside_hold(struct mail_deliver_context *ctx,
			       const struct rst_hold *hold,
			       struct mail_storage **storage_r)
{
	int ret = deliver_normally(ctx, storage_r);

	/* what Dovecot does next, in mail_do_deliver() */
	if (ret <= 0 && !ctx->saved_mail && !ctx->tried_default_save &&
	    ctx->tempfail_error == NULL && !is_over_quota(*storage_r))
		ret = mail_deliver_save(ctx, ctx->rcpt_default_mailbox, 0, NULL,
					storage_r) < 0
			      ? -1
			      : 1;
	if (ret <= 0 && !ctx->saved_mail && is_over_quota(*storage_r))
		rst_entry_set_full(hold, TRUE);
	return ret;
}

static int hold_mail(struct mail_deliver_context *ctx,
		     const struct rst_settings *set,
		     struct rst_delivery *delivery,
		     struct mail_storage **storage_r)
{
	struct rst_hold hold = {.user = ctx->rcpt_user, .settings = set};
	struct rst_saved saved;
	const char *error;

	if (!rst_entry_has_name(&hold)) {
		mail_deliver_log(ctx, "not held: the user's name is too long "
				      "for a file in restante_holders");
		return deliver_normally(ctx, storage_r);
	}
	if (rst_delivery_prepare(delivery, &error) < 0)
		return hold_failed(ctx, set, error, storage_r);
	warn_fsync_never(ctx);
	switch (rst_arrive(&hold, delivery, &saved, &error)) {
	case RST_ARRIVAL_HELD:
		return held(ctx, &saved);
	case RST_ARRIVAL_KNOWN:
		return known(ctx, &saved);
	case RST_ARRIVAL_FULL:
		mail_deliver_log(ctx, "not held: the hold is full");
		return deliver_beside_hold(ctx, &hold, storage_r);
	case RST_ARRIVAL_OTHERS:
		mail_deliver_log(ctx, "not held: the hold is another user's");
		return deliver_normally(ctx, storage_r);
	case RST_ARRIVAL_UNSURE:
		return try_later(ctx, error);
	case RST_ARRIVAL_FAILED:
		break;
	}
	return hold_failed(ctx, set, error, storage_r);
}

/* Deliver a message that comes out of the hold. */
static int release(struct mail_deliver_context *ctx,
		   const struct rst_settings *set,
		   const struct rst_delivery *delivery,
		   struct mail_storage **storage_r)
{
	const char *error;

	switch (rst_attempt_begin(ctx, set, delivery, &error)) {
	case RST_BEGIN_KNOWN:
		ctx->saved_mail = TRUE;
		return 1;
	case RST_BEGIN_LATER:
		e_error(ctx->event, "Fallback delivery is put off: %s", error);
		ctx->tempfail_error = "Cannot deliver this message now";
		return -1;
	case RST_BEGIN_DELIVER:
		break;
	}
	return deliver_normally(ctx, storage_r);
}

static int restante_deliver(struct mail_deliver_context *ctx,
			    struct mail_storage **storage_r)
{
	struct rst_settings set;
	struct rst_delivery delivery;

	if (!rst_settings_concern(ctx->rcpt_user))
		return deliver_normally(ctx, storage_r);
	rst_settings_read(ctx->rcpt_user, &set);
	if (set.enrolled)
		tempfail_when_full(ctx);
	if (get_delivery(ctx, &set, &delivery) < 0)
		return set.bypass ? -1
				  : hold_failed(ctx, &set,
						"cannot read the message",
						storage_r);
	/* only LMTP calls us when a delivery has ended */
	if (set.bypass && current_trace != NULL)
		return release(ctx, &set, &delivery, storage_r);
	if (set.bypass)
		return deliver_normally(ctx, storage_r);
	if (is_too_large(&set, delivery.input)) {
		mail_deliver_log(ctx, "not held: larger than "
				      "restante_max_size");
		return deliver_normally(ctx, storage_r);
	}
	return hold_mail(ctx, &set, &delivery, storage_r);
}

/* ---- lmtp: which header lines are its own */

static int restante_local_deliver(struct client *client,
				  struct lmtp_recipient *lrcpt,
				  struct smtp_server_cmd_ctx *cmd,
				  struct smtp_server_transaction *trans,
				  struct lmtp_local_deliver_context *lldctx)
{
	struct restante_lmtp_client *rclient =
		MODULE_CONTEXT_REQUIRE(client, restante_lmtp_module);
	int ret;

	current_trace = client->state.added_headers_local;
	ret = rclient->module_ctx.super.local_deliver(client, lrcpt, cmd, trans,
						      lldctx);
	current_trace = NULL;
	rst_attempt_end(ret == 0);
	return ret;
}

static void restante_client_created(struct client **_client)
{
	struct client *client = *_client;
	struct restante_lmtp_client *rclient =
		p_new(client->pool, struct restante_lmtp_client, 1);

	rclient->module_ctx.super = client->v;
	client->v.local_deliver = restante_local_deliver;
	MODULE_CONTEXT_SET(client, restante_lmtp_module, rclient);
	if (next_client_created != NULL)
		next_client_created(_client);
}

void restante_plugin_init(struct module *module ATTR_UNUSED)
{
	next_deliver = mail_deliver_hook_set(restante_deliver);
	if (lmtp_client_created_hook_set != NULL)
		next_client_created =
			lmtp_client_created_hook_set(restante_client_created);
}

void restante_plugin_deinit(void)
{
	mail_deliver_hook_set(next_deliver);
	if (lmtp_client_created_hook_set != NULL)
		lmtp_client_created_hook_set(next_client_created);
}
