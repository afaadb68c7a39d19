/* SPDX-License-Identifier: MIT */
/** Failures, named by what the caller does about them, and verdicts. */
#ifndef RESTANTE_STATUS_H
#define RESTANTE_STATUS_H

/**
 * A function that can fail returns a value >= 0 for success, or one of these.
 * Each says what the caller does next.
 */
enum rst_status {
	/** the peer broke the protocol: close the connection */
	RST_EPROTO = -1,
	/** the peer asked for more than we keep in memory: close */
	RST_ELIMIT = -2,
	/** not now: keep the mail and try again later (4xx) */
	RST_ETEMP = -3,
	/** never: give up, fall back to the mailbox (5xx) */
	RST_EPERM = -4,
};

/** The answer to a sign-in, an ATRN, or a message sent. */
enum rst_verdict {
	RST_VERDICT_OK,
	/** no, but try again later */
	RST_VERDICT_TEMPFAIL,
	/** no, and asking again will not help */
	RST_VERDICT_REFUSED,
};

#endif
