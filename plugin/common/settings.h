/* SPDX-License-Identifier: MIT */
/**
 * The settings of one user, from plugin {} and the userdb. They are read and
 * checked only here.
 */
#ifndef RST_COMMON_SETTINGS_H
#define RST_COMMON_SETTINGS_H

struct mail_user;

/** What becomes of a delivery when the hold cannot be written. */
enum rst_on_error {
	RST_ON_ERROR_TEMPFAIL, /**< 4xx: Postfix keeps the message */
	RST_ON_ERROR_DELIVER,  /**< to the normal mailbox */
};

/** The strings live as long as the user. */
struct rst_settings {
	bool enrolled;
	bool bypass; /**< deliver normally, whatever else is said */
	const char *hold_mailbox;
	unsigned int hold_time_secs;
	uoff_t hold_quota; /**< octets; 0: unlimited */
	uoff_t max_size;   /**< octets; 0: unlimited */
	enum rst_on_error on_error;
	/** from the due time on; after that the message goes to the overflow
	    mailbox */
	unsigned int fallback_give_up_secs;
	const char *overflow_mailbox;
	bool test_no_dedup;
	/** path of the holders directory; empty: nothing can be held */
	const char *holders;
	const char *release_socket; /**< path, made absolute by base_dir */
};

/**
 * Read the settings of user. A bad value gives one error line, with the
 * setting, the value, what was expected and what is done instead. What is done
 * then is the safe choice: mail is delivered rather than held, and kept rather
 * than lost.
 */
void rst_settings_read(struct mail_user *user, struct rst_settings *set_r);

#endif
