/* SPDX-License-Identifier: MIT */
/** The note to policyd that says that something is held for a user: see
    doc/protocol-hold.md, section 2. */
#ifndef RST_COMMON_NOTE_H
#define RST_COMMON_NOTE_H

struct rst_settings;

/**
 * Send one datagram, without waiting. When policyd does not get it, the mail
 * waits until the client signs in again.
 *
 * @param id  "": an operator only asks for a push
 * @param due wall-clock second of the fallback delivery; 0: not said
 * @return 0, or -1 with errno
 */
int rst_note_send(const struct rst_settings *set, const char *user,
		  const char *id, time_t due);

#endif
