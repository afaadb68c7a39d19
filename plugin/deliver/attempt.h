/* SPDX-License-Identifier: MIT */
/**
 * Fallback delivery as lmtp-release sees it: each held message is delivered
 * once, however often restante-hold attempts it. See hold/attempts.h.
 */
#ifndef RST_DELIVER_ATTEMPT_H
#define RST_DELIVER_ATTEMPT_H

struct mail_deliver_context;
struct rst_delivery;
struct rst_settings;

enum rst_attempt_begun {
	RST_BEGIN_DELIVER, /**< go on, and say how it went */
	RST_BEGIN_KNOWN,   /**< it has been delivered */
	RST_BEGIN_LATER,   /**< not now: error_r */
};

/** Before a delivery. What restante-hold did not hand over is just delivered.
 */
enum rst_attempt_begun rst_attempt_begin(struct mail_deliver_context *ctx,
					 const struct rst_settings *settings,
					 const struct rst_delivery *delivery,
					 const char **error_r);
/** After it; nothing happens where none has begun. */
void rst_attempt_end(bool delivered);

#endif
