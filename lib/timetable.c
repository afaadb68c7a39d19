/* SPDX-License-Identifier: MIT */
/*
 * An appointment is a user's entry:
 *
 *   waiting --_take--> taken --_set, _retry--> waiting
 *   _set or _seen with nothing left: it is removed
 *
 * It is always in the table, by name, and in the list of readers; in the heap,
 * by time, while it waits. The heap is binary, in an array. An appointment
 * knows its place there, so that it can be moved when its time changes.
 *
 * Two memories keep a report from hiding what another knows:
 *   noted    times noted while taken: the sweep may not have seen them, so they
 *            still count at its end
 *   unseen   times noted, or found by a sweep, since the last _watch: the
 *            drain that looks may not have seen them, so they still count at
 *            _seen
 */
#include "restante/timetable.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "table.h"

#define RETRY_MIN_SECS 60
#define RETRY_MAX_SECS 3600
#define NOTHING_DUE (-1)

struct appointment {
	struct rst_table_entry entry; /* its key is user */
	LIST_ENTRY(appointment) in_list;
	char *user;
	int64_t due;
	size_t place; /* in the heap, unless it is taken */
	bool taken;
	int64_t noted;      /* or NOTHING_DUE */
	int64_t unseen;     /* or NOTHING_DUE */
	int64_t retry_secs; /* the last delay; 0: none */
};

struct rst_timetable_reader {
	LIST_ENTRY(rst_timetable_reader) entry;
	struct appointment *next;
};

struct rst_timetable {
	struct rst_table users;
	struct appointment **heap; /* no entry is due before its parent */
	size_t heap_used;
	size_t heap_alloc;
	/* new ones are inserted at the front, where no reader comes any more */
	LIST_HEAD(, appointment) list;
	LIST_HEAD(, rst_timetable_reader) readers;
};

struct rst_timetable *rst_timetable_new(void)
{
	return rst_calloc(1, sizeof(struct rst_timetable));
}

static void appointment_free(struct rst_table_entry *entry)
{
	struct appointment *ap = (struct appointment *)entry;

	free(ap->user);
	free(ap);
}

void rst_timetable_free(struct rst_timetable **_t)
{
	struct rst_timetable *t = *_t;

	if (t == NULL)
		return;
	*_t = NULL;
	rst_table_clear(&t->users, appointment_free);
	free(t->heap);
	free(t);
}

/* ---- the heap */

static void heap_put(struct rst_timetable *t, size_t place,
		     struct appointment *ap)
{
	t->heap[place] = ap;
	ap->place = place;
}

static void heap_up(struct rst_timetable *t, struct appointment *ap)
{
	size_t place = ap->place;

	while (place > 0 && t->heap[(place - 1) / 2]->due > ap->due) {
		heap_put(t, place, t->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	heap_put(t, place, ap);
}

static void heap_down(struct rst_timetable *t, struct appointment *ap)
{
	size_t place = ap->place, child;

	while ((child = 2 * place + 1) < t->heap_used) {
		if (child + 1 < t->heap_used &&
		    t->heap[child + 1]->due < t->heap[child]->due)
			child++;
		if (t->heap[child]->due >= ap->due)
			break;
		heap_put(t, place, t->heap[child]);
		place = child;
	}
	heap_put(t, place, ap);
}

static void heap_insert(struct rst_timetable *t, struct appointment *ap)
{
	if (t->heap_used == t->heap_alloc) {
		t->heap_alloc = t->heap_alloc == 0 ? 16 : t->heap_alloc * 2;
		t->heap =
			rst_realloc(t->heap, t->heap_alloc * sizeof(*t->heap));
	}
	heap_put(t, t->heap_used++, ap);
	heap_up(t, ap);
}

static void heap_remove(struct rst_timetable *t, struct appointment *ap)
{
	struct appointment *last = t->heap[--t->heap_used];

	if (last == ap)
		return;
	heap_put(t, ap->place, last);
	heap_up(t, last);
	heap_down(t, last);
}

/* ---- appointments */

static struct appointment *find(const struct rst_timetable *t,
				struct rst_str user)
{
	return rst_table_find(&t->users, user);
}

static struct appointment *make(struct rst_timetable *t, struct rst_str user,
				int64_t due)
{
	struct appointment *ap = rst_calloc(1, sizeof(*ap));

	ap->user = rst_str_dup(user);
	ap->entry.key = (struct rst_str){ap->user, user.n};
	ap->due = due;
	ap->noted = NOTHING_DUE;
	/* a look that runs now began before this was known */
	ap->unseen = due;
	rst_table_insert(&t->users, &ap->entry);
	LIST_INSERT_HEAD(&t->list, ap, in_list);
	heap_insert(t, ap);
	return ap;
}

static void cancel(struct rst_timetable *t, struct appointment *ap)
{
	struct rst_timetable_reader *reader;

	if (!ap->taken)
		heap_remove(t, ap);
	LIST_FOREACH(reader, &t->readers, entry)
	{
		if (reader->next == ap)
			reader->next = LIST_NEXT(ap, in_list);
	}
	LIST_REMOVE(ap, in_list);
	rst_table_remove(&t->users, &ap->entry);
	appointment_free(&ap->entry);
}

static void move(struct rst_timetable *t, struct appointment *ap, int64_t due)
{
	if (!ap->taken)
		heap_remove(t, ap);
	ap->taken = false;
	ap->noted = NOTHING_DUE;
	ap->due = due;
	heap_insert(t, ap);
}

static int64_t earlier(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

void rst_timetable_note(struct rst_timetable *t, struct rst_str user,
			int64_t due)
{
	struct appointment *ap = find(t, user);

	if (due < 0)
		return;
	if (ap == NULL) {
		(void)make(t, user, due);
		return;
	}
	ap->unseen = earlier(ap->unseen, due);
	if (ap->taken)
		ap->noted = earlier(ap->noted, due);
	else if (due < ap->due)
		move(t, ap, due);
}

/* @param due the earliest of all that is known */
static void set_appointment(struct rst_timetable *t, struct appointment *ap,
			    int64_t due)
{
	ap->retry_secs = 0;
	if (due < 0)
		cancel(t, ap);
	else
		move(t, ap, due);
}

void rst_timetable_set(struct rst_timetable *t, struct rst_str user,
		       int64_t due)
{
	struct appointment *ap = find(t, user);

	if (ap == NULL) {
		rst_timetable_note(t, user, due);
		return;
	}
	/* a look that runs now may have seen the hold before this sweep */
	ap->unseen = earlier(ap->unseen, due);
	set_appointment(t, ap, earlier(due, ap->noted));
}

void rst_timetable_retry(struct rst_timetable *t, struct rst_str user,
			 int64_t now)
{
	struct appointment *ap = find(t, user);

	if (ap == NULL)
		ap = make(t, user, now);
	ap->retry_secs =
		ap->retry_secs == 0 ? RETRY_MIN_SECS : ap->retry_secs * 2;
	if (ap->retry_secs > RETRY_MAX_SECS)
		ap->retry_secs = RETRY_MAX_SECS;
	ap->unseen = earlier(ap->unseen, now + ap->retry_secs);
	move(t, ap, now + ap->retry_secs);
}

void rst_timetable_watch(struct rst_timetable *t, struct rst_str user)
{
	struct appointment *ap = find(t, user);

	if (ap != NULL)
		ap->unseen = NOTHING_DUE;
}

void rst_timetable_seen(struct rst_timetable *t, struct rst_str user,
			int64_t due)
{
	struct appointment *ap = find(t, user);

	/* a sweep that runs knows better, or will look again */
	if (ap == NULL || ap->taken)
		rst_timetable_note(t, user, due);
	else if (due < 0 || ap->retry_secs == 0)
		set_appointment(t, ap, earlier(due, ap->unseen));
}

int64_t rst_timetable_next(const struct rst_timetable *t)
{
	return t->heap_used == 0 ? NOTHING_DUE : t->heap[0]->due;
}

bool rst_timetable_take(struct rst_timetable *t, int64_t now,
			struct rst_str *user_r)
{
	struct appointment *ap;

	if (t->heap_used == 0 || t->heap[0]->due > now)
		return false;
	ap = t->heap[0];
	heap_remove(t, ap);
	ap->taken = true;
	*user_r = ap->entry.key;
	return true;
}

bool rst_timetable_has(const struct rst_timetable *t, struct rst_str user)
{
	return find(t, user) != NULL;
}

size_t rst_timetable_count(const struct rst_timetable *t)
{
	return t->users.count;
}

struct rst_timetable_reader *rst_timetable_reader_new(struct rst_timetable *t)
{
	struct rst_timetable_reader *reader = rst_calloc(1, sizeof(*reader));

	reader->next = LIST_FIRST(&t->list);
	LIST_INSERT_HEAD(&t->readers, reader, entry);
	return reader;
}

void rst_timetable_reader_free(struct rst_timetable_reader **_reader)
{
	struct rst_timetable_reader *reader = *_reader;

	*_reader = NULL;
	if (reader == NULL)
		return;
	LIST_REMOVE(reader, entry);
	free(reader);
}

bool rst_timetable_reader_next(struct rst_timetable_reader *reader,
			       struct rst_str *user_r, int64_t *due_r)
{
	const struct appointment *ap = reader->next;

	if (ap == NULL)
		return false;
	*user_r = ap->entry.key;
	*due_r = ap->due;
	reader->next = LIST_NEXT(ap, in_list);
	return true;
}
