/* SPDX-License-Identifier: MIT */
/** The lines of doveadm restante check: "STATE USER WHAT: NOTE". */
#ifndef RST_DOVEADM_REPORT_H
#define RST_DOVEADM_REPORT_H

/** Says that no user is meant. */
#define RST_REPORT_SITE "-"

/** The form of the output. */
void rst_report_init(void);
/** The columns, before the first line. */
void rst_report_headers(void);

/** @param note the value that is right, or what was seen */
void rst_report_ok(const char *user, const char *what, const char *note);
/** What only makes things worse. @param mend how to mend it */
void rst_report_warning(const char *user, const char *what, const char *problem,
			const char *mend);
/** What loses or returns mail, or keeps it from being held or delivered. */
void rst_report_error(const char *user, const char *what, const char *problem,
		      const char *mend);
/** How many errors there were. */
unsigned int rst_report_errors(void);

#endif
