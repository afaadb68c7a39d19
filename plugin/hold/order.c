/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "order.h"

/* of messages that are put off; the last one has no end: from 2 GiB */
#define CLASSES 15

struct order_class {
	ARRAY(uint32_t) uids;
	unsigned int taken; /* of these, the number that was taken */
};

struct rst_order {
	struct order_class classes[CLASSES];
	unsigned int waiting; /* in all of them */

	/* a message of a higher uid than this is late, and may not pass the
	   others for ever */
	uint32_t last_uid;
	uoff_t octets; /* of the others, when the wait began */
	uoff_t passed; /* of late messages that went before any of them */
};

struct rst_order *rst_order_new(void)
{
	struct rst_order *order = i_new(struct rst_order, 1);
	unsigned int i;

	for (i = 0; i < CLASSES; i++)
		i_array_init(&order->classes[i].uids, 4);
	return order;
}

void rst_order_free(struct rst_order **_order)
{
	struct rst_order *order = *_order;
	unsigned int i;

	if (order == NULL)
		return;
	*_order = NULL;
	for (i = 0; i < CLASSES; i++)
		array_free(&order->classes[i].uids);
	i_free(order);
}

static void clear_class(struct order_class *c)
{
	array_clear(&c->uids);
	c->taken = 0;
}

static bool is_empty(const struct order_class *c)
{
	return c->taken == array_count(&c->uids);
}

void rst_order_clear(struct rst_order *order)
{
	unsigned int i;

	for (i = 0; i < CLASSES; i++)
		clear_class(&order->classes[i]);
	order->waiting = 0;
}

/* @return number of the class; -1: the message is a small one */
static int find_class(uoff_t octets)
{
	uoff_t max = RST_ORDER_SMALL_MAX;
	int i = -1;

	for (; octets > max && i < CLASSES - 1; i++)
		max *= 2;
	return i;
}

static bool any_in_time(const struct order_class *c, uint32_t last_uid)
{
	return !is_empty(c) && *array_idx(&c->uids, c->taken) <= last_uid;
}

/* Does a message that is not late wait in a class above this one? */
static bool passes_any(const struct rst_order *order, int class)
{
	int i;

	for (i = CLASSES - 1; i > class; i--)
		if (any_in_time(&order->classes[i], order->last_uid))
			return TRUE;
	return FALSE;
}

static uoff_t least_octets(int class)
{
	return (uoff_t)RST_ORDER_SMALL_MAX << class;
}

/* From here on no message that is there is late. */
static void begin_anew(struct rst_order *order, uint32_t last_uid)
{
	const struct order_class *c = order->classes;
	int i;

	order->last_uid = last_uid;
	order->octets = order->passed = 0;
	for (i = 0; i < CLASSES; i++, c++)
		order->octets +=
			least_octets(i) * (array_count(&c->uids) - c->taken);
}

bool rst_order_put_off(struct rst_order *order, uint32_t uid, uoff_t octets,
		       uint32_t last_uid)
{
	int class = find_class(octets);

	if (!passes_any(order, -1))
		begin_anew(order, last_uid);
	if (uid > order->last_uid && passes_any(order, class))
		order->passed += octets;
	if (class < 0)
		return FALSE;
	if (uid <= order->last_uid)
		order->octets += least_octets(class);
	array_push_back(&order->classes[class].uids, &uid);
	order->waiting++;
	return TRUE;
}

bool rst_order_waits(const struct rst_order *order)
{
	return order->waiting > 0;
}

bool rst_order_may_pass(const struct rst_order *order)
{
	return order->passed < order->octets || !passes_any(order, -1);
}

bool rst_order_take(struct rst_order *order, uint32_t *uid_r)
{
	struct order_class *c = order->classes;

	if (order->waiting == 0)
		return FALSE;
	while (is_empty(c))
		c++;
	*uid_r = *array_idx(&c->uids, c->taken++);
	if (is_empty(c))
		clear_class(c);
	order->waiting--;
	return TRUE;
}
