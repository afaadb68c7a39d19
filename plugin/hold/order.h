/* SPDX-License-Identifier: MIT */
/**
 * Which of what is held goes first: small ones, in order of arrival; then the
 * larger ones, by classes of their size, in order of arrival within a class.
 * Whoever walks through the hold in order of arrival asks about each, and
 * comes back for those that were put off: 4 octets of memory for each of these,
 * and none for the small ones.
 *
 * So that nothing waits for ever, those that come later may go before those
 * that wait until they have as many octets as these (of which the least that
 * their class has is counted). Then they wait themselves, and those that waited
 * with them are waited for next.
 */
#ifndef RST_HOLD_ORDER_H
#define RST_HOLD_ORDER_H

/** Up to here it is a small one; a class ends at twice the one before. */
#define RST_ORDER_SMALL_MAX (128 * 1024)

struct rst_order;

struct rst_order *rst_order_new(void);
void rst_order_free(struct rst_order **order);
/** Forget what waits. */
void rst_order_clear(struct rst_order *order);

/**
 * A message, with a higher uid than all before it.
 *
 * @param last_uid the highest uid there is now
 * @return whether it is put off; else its turn is now
 */
bool rst_order_put_off(struct rst_order *order, uint32_t uid, uoff_t octets,
		       uint32_t last_uid);
/** Is any put off and not yet taken? */
bool rst_order_waits(const struct rst_order *order);
/** May others be asked about before _take()? */
bool rst_order_may_pass(const struct rst_order *order);
/** The next one that was put off. @return FALSE: none waits */
bool rst_order_take(struct rst_order *order, uint32_t *uid_r);

#endif
