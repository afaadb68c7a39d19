/* SPDX-License-Identifier: MIT */
/**
 * When did a held message arrive, if the clock was wrong at that time?
 *
 * An arrival that lies in the future counts from when it was first seen to do
 * so, which is kept in a file: so the message is neither held longer by what
 * the clock was ahead, nor falls back at once. An arrival before that of the
 * message before it, which has the smaller uid, counts as that one's.
 */
#ifndef RST_HOLD_DATES_H
#define RST_HOLD_DATES_H

struct rst_dates;

/** @param dir where the file is, which need not be there */
struct rst_dates *rst_dates_new(const char *dir);
void rst_dates_free(struct rst_dates **clock);
/** Begin again with the first message. */
void rst_dates_restart(struct rst_dates *clock);
/**
 * @param received what the mailbox says
 * @return what counts. Messages are to be asked for in order of their uids
 */
time_t rst_dates_arrival(struct rst_dates *clock, const char *id,
			 time_t received, time_t now);
/** The same in any order: only what lies in the future is changed. */
time_t rst_dates_seen(struct rst_dates *clock, const char *id, time_t received,
		      time_t now);
/** After all messages were asked for: remove a file that nobody needs. */
void rst_dates_clean(struct rst_dates *clock);

#endif
