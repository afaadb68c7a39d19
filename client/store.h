/* SPDX-License-Identifier: MIT */
/**
 * Where messages go: a Maildir, durably, each id once.
 *
 * A message is 250 only after, in this order: its file in tmp is whole and
 * synced; it is renamed to new; the directory is synced; its id is in the
 * seen-log, which is synced. A crash in between leaves a file in tmp, which
 * is removed at the next start, or a file in new or cur that the seen-log
 * does not know, which the next start finds by its name.
 *
 * Messages that have ended wait, each with its file open, for store_commit():
 * their files are then synced in a row, and they share the two other syncs.
 */
#ifndef CLIENT_STORE_H
#define CLIENT_STORE_H

#include "restante/envelope.h"
#include "restante/status.h"

struct store_settings {
	const char *maildir;
	const char *state_dir; /**< for the seen-log */
	const char *hostname;  /**< ours, for Received */
	const char *server;    /**< theirs, for Received */
};

/** Views are copied. */
struct store_envelope {
	struct rst_str id; /**< "": the server gave none; never seen before */
	struct rst_str mail_from;
	struct rst_str rcpt_to;
	uint64_t size; /**< as announced; 0: it was not */
};

struct store;
struct store_message;

/** @return NULL when that failed, which was logged. Settings are copied. */
struct store *store_open(const struct store_settings *settings);
/**
 * For a store that was closed because of a failure: does it pay to open it?
 * The directories must be there; none is made, as they may be where a disk is
 * to be mounted again.
 * @return 0, or -1 with errno
 */
int store_probe(const struct store_settings *settings);
void store_free(struct store **store);

/** Begin a message: never NULL; a failure shows in its verdict. */
struct store_message *store_begin(struct store *store,
				  const struct store_envelope *env);
/** Is it known how it will end? Then octets are not needed: it was stored
    before, or cannot be. */
bool store_decided(const struct store_message *msg);
void store_octets(struct store_message *msg, struct rst_str octets);
/** It is whole: write it out. Only store_commit() makes it stored. */
void store_end(struct store_message *msg);
/** Store those that have ended, all at once. */
void store_commit(struct store *store, struct store_message *const *msgs,
		  size_t count);
/** OK, once it is durable; else TEMPFAIL. */
enum rst_verdict store_verdict(const struct store_message *msg);
/** Was it stored before? */
bool store_repeated(const struct store_message *msg);
/** A message that was not committed is as if it had never begun. */
void store_message_free(struct store_message **msg);

/**
 * Has a message failed since this was asked last, and not only for being
 * larger than the room that is left? Then the store is of no use now: close
 * it, and ask store_probe().
 * @return 0, or the errno of what failed
 */
int store_failed(struct store *store);
/** Has a message failed for being larger than the room that was left? */
bool store_lacks_room(const struct store *store);
/** And is there room for it now? Then it is not lacking any more. */
bool store_has_room_again(struct store *store);

/** The server promises that this id will not come again. */
void store_forget(struct store *store, struct rst_str id);

#endif
