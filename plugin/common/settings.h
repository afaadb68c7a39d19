/* SPDX-License-Identifier: MIT */
/**
 * The settings of one user, from Dovecot's configuration and the userdb. They
 * are checked only here; restante_control_socket is doveadm's.
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
	/** Dovecot cannot read them, and has logged it: all are the defaults */
	bool unreadable;
	bool enrolled;
	bool bypass; /**< deliver normally, whatever else is said */
	/** where the hold's storage is, as mail_location has it */
	const char *hold_location;
	/** plugins that act on the hold, too, blank-separated: in 2.3 the
	    beginnings of their settings' names, in 2.4 their names */
	const char *hold_plugins;
	unsigned int hold_time_secs;
	uoff_t hold_quota; /**< octets; 0: unlimited */
	uoff_t max_size;   /**< octets; 0: unlimited */
	enum rst_on_error on_error;
	/** from the due time on; after that the message goes to the overflow
	    mailbox */
	unsigned int fallback_give_up_secs;
	/** one of the user's own mailboxes; empty: one beside the hold */
	const char *overflow_mailbox;
	/** for as long as Postfix may try to deliver a message again */
	unsigned int queue_lifetime_secs;
	bool test_no_dedup;
	/** path of the holders directory; empty: nothing can be held */
	const char *holders;
	const char *release_socket; /**< path, made absolute by base_dir */
};

/**
 * Is the user enrolled, or is this a service with restante_bypass? Of all
 * others' settings nothing is read, and so nothing is complained about.
 */
bool rst_settings_concern(struct mail_user *user);

/**
 * Read the settings of user. A bad value gives one error line, with the
 * setting, the value, what was expected and what is done instead. What is done
 * then is the safe choice: mail is delivered rather than held, and kept rather
 * than lost.
 */
void rst_settings_read(struct mail_user *user, struct rst_settings *set_r);

#endif
