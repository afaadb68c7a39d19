/* SPDX-License-Identifier: MIT */
/**
 * An attempt at fallback delivery, on lmtp-release's side: each held message is
 * delivered once, however many attempts restante-hold makes. See
 * hold/attempts.h.
 */
#ifndef RST_DELIVER_ATTEMPT_H
#define RST_DELIVER_ATTEMPT_H

struct mail_deliver_context;
struct rst_delivery;
struct rst_settings;

enum rst_attempt_begun {
	RST_BEGIN_DELIVER, /**< deliver it now, then call rst_attempt_end() */
	RST_BEGIN_KNOWN,   /**< it has been delivered already */
	RST_BEGIN_LATER,   /**< it cannot be delivered now: error_r */
};

/**
 * Begin, before a message is delivered. A message that does not come from
 * restante-hold is just delivered.
 */
enum rst_attempt_begun rst_attempt_begin(struct mail_deliver_context *ctx,
					 const struct rst_settings *settings,
					 const struct rst_delivery *delivery,
					 const char **error_r);
/** Write the outcome, after the delivery; does nothing where no attempt has
    begun. */
void rst_attempt_end(bool delivered);

#endif
