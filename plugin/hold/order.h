/* SPDX-License-Identifier: MIT */
/**
 * The order in which held messages go: small ones first, in order of arrival;
 * then larger ones, by classes of their size, in order of arrival within a
 * class. The caller walks through the hold in order of arrival, asks about each
 * message, and comes back for those that were put off. Each of these takes 4
 * octets of memory; small messages take none.
 *
 * So that no message waits for ever, messages that come later may go before the
 * waiting ones only until they have as many octets as these (each counted with
 * the least size of its class). Then the late messages wait themselves, and
 * those that waited with them are waited for next.
 */
#ifndef RST_HOLD_ORDER_H
#define RST_HOLD_ORDER_H

/** The largest small message; each class ends at twice the end of the one
    before. */
#define RST_ORDER_SMALL_MAX (128 * 1024)

struct rst_order;

struct rst_order *rst_order_new(void);
void rst_order_free(struct rst_order **order);
/** Forget the messages that wait. */
void rst_order_clear(struct rst_order *order);

/**
 * Ask about a message, with a higher uid than all before it.
 *
 * @param last_uid the highest uid there is now
 * @return whether it is put off; otherwise its turn is now
 */
bool rst_order_put_off(struct rst_order *order, uint32_t uid, uoff_t octets,
		       uint32_t last_uid);
/** Was any message put off and not yet taken? */
bool rst_order_waits(const struct rst_order *order);
/** May the caller ask about other messages before the next _take()? */
bool rst_order_may_pass(const struct rst_order *order);
/** Take the next message that was put off. @return FALSE: none waits */
bool rst_order_take(struct rst_order *order, uint32_t *uid_r);

#endif
