/* SPDX-License-Identifier: MIT */
/** The note to policyd: something is held for this user. */
#ifndef RST_COMMON_NOTE_H
#define RST_COMMON_NOTE_H

struct rst_settings;

/**
 * Send one datagram and forget about it: without policyd the mail waits until
 * the client signs in again.
 *
 * @param id  "": somebody only asks for a push
 * @param due wall-clock second of the fallback; 0: not said
 * @return 0, or -1 with errno
 */
int rst_note_send(const struct rst_settings *set, const char *user,
		  const char *id, time_t due);

#endif
