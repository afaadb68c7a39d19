/* SPDX-License-Identifier: MIT */
/**
 * Stores messages in a Maildir, durably, and each id once.
 *
 * A message that has ended waits, with its file open, for store_commit(). That
 * syncs the files of several messages in a row; they share the syncs of the
 * directory and of the seen-log.
 */
#ifndef CLIENT_STORE_H
#define CLIENT_STORE_H

#include "place.h"
#include "restante/envelope.h"
#include "restante/status.h"

struct store_settings {
	const char *maildir;
	const char *state_dir; /**< for the seen-log */
	const char *hostname;  /**< of this machine, for file names */
	const char *domain;    /**< of this machine, for Received */
	const char *server;    /**< the server's, for Received */
};

/** Its views are copied. */
struct store_envelope {
	struct rst_str id; /**< "": the server gave none, so it is new */
	struct rst_str mail_from;
	struct rst_str rcpt_to;
	uint64_t size; /**< as announced; 0: not announced */
};

struct store;
struct store_message;

/** The settings are copied. Makes what is missing.
    @return NULL: failed, which was logged */
struct store *store_open(const struct store_settings *settings);
/** On which disks it is, for place_probe(). @return 0, or -1 with errno */
int store_disks(const struct store *store, struct place_disks *disks_r);
void store_free(struct store **store);

/** Begin a message. @return never NULL; a failure shows in the verdict */
struct store_message *store_begin(struct store *store,
				  const struct store_envelope *env);
/** Is the verdict known? Then the octets are not needed: the message was stored
    before, or cannot be stored. */
bool store_decided(const struct store_message *msg);
void store_octets(struct store_message *msg, struct rst_str octets);
/** The message is whole: write it out. store_commit() then stores it. */
void store_end(struct store_message *msg);
/** Store messages that have ended, all at once. */
void store_commit(struct store *store, struct store_message *const *msgs,
		  size_t count);
/** @return OK once the message is durable where the Maildir's path leads to,
    else TEMPFAIL */
enum rst_verdict store_verdict(const struct store_message *msg);
/** Was the message stored before? */
bool store_repeated(const struct store_message *msg);
/** Free a message. One that was not committed leaves nothing behind. */
void store_message_free(struct store_message **msg);

/**
 * Has a message failed since the last call, and not only because it is larger
 * than the room that is left? Then nothing can be stored now: close the store,
 * and wait for place_probe() to succeed.
 * @return 0, or the errno of the failure
 */
int store_failed(struct store *store);
/**
 * Do the paths still lead to the directories and files that are open? If not,
 * the store fails from here on, and is to be closed and opened again.
 * @return 0, or -1, which was logged
 */
int store_in_place(struct store *store);
/** Has that failed? */
bool store_moved(const struct store *store);
/** Did a message fail because it was larger than the room that was left? */
bool store_lacks_room(const struct store *store);
/** Is there room for that message now? Then the store lacks none any more. */
bool store_has_room_again(struct store *store);

/** Forget an id: the server promises that it will not come again. */
void store_forget(struct store *store, struct rst_str id);

#endif
