/* SPDX-License-Identifier: MIT */
/** A message saved into a storage like the hold's, and read back. */
#ifndef RST_DOVEADM_PROBE_H
#define RST_DOVEADM_PROBE_H

struct mail_user;
struct rst_settings;

struct rst_probe {
	const char *driver; /**< sdbox, maildir, ... */
	const char *root;   /**< of the hold's storage */
	bool exists;        /**< is that there? */
	/** what is wrong, and how to mend it; NULL: nothing */
	const char *problem, *mend;
	/** do the files have other octets than the message? */
	bool transformed;
};

/**
 * Where is the hold? Makes nothing.
 * @return 0, or -1: probe_r->problem and ->mend
 */
int rst_probe_find(struct mail_user *user, const struct rst_settings *settings,
		   struct rst_probe *probe_r);

/**
 * Try it, with the user's rights: in a directory of its own inside of the
 * hold's storage, or where that will be made, which is removed again. A
 * delivery that comes meanwhile is not concerned.
 */
void rst_probe_run(struct mail_user *user, const struct rst_settings *settings,
		   struct rst_probe *probe);

#endif
