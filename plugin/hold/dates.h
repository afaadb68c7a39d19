/* SPDX-License-Identifier: MIT */
/**
 * The date that counts as a held message's arrival, also where the clock was
 * wrong when it arrived.
 *
 * An arrival that lies in the future counts from when it was first seen to do
 * so, which is kept in a file: so the message is not held longer by what the
 * clock was ahead, and does not fall back at once either. An arrival before
 * that of the previous message, which has the smaller uid, counts as that
 * message's arrival.
 */
#ifndef RST_HOLD_DATES_H
#define RST_HOLD_DATES_H

struct rst_dates;

/** @param dir where the file is; it need not be there */
struct rst_dates *rst_dates_new(const char *dir);
void rst_dates_free(struct rst_dates **dates);
/** Begin again with the first message. */
void rst_dates_restart(struct rst_dates *dates);
/**
 * Messages are asked about in the order of their uids.
 *
 * @param received the mailbox's date of the message
 * @return the date that counts
 */
time_t rst_dates_arrival(struct rst_dates *dates, const char *id,
			 time_t received, time_t now);
/** The same, asked in any order: only an arrival in the future is changed. */
time_t rst_dates_seen(struct rst_dates *dates, const char *id, time_t received,
		      time_t now);
/** After all messages were asked about: remove the file where no message needs
    it. */
void rst_dates_clean(struct rst_dates *dates);

#endif
