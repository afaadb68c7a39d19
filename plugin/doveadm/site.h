/* SPDX-License-Identifier: MIT */
/** The configuration of Dovecot's other programs, as doveconf shows it, and one
    thing of Postfix's. */
#ifndef RST_DOVEADM_SITE_H
#define RST_DOVEADM_SITE_H

enum rst_site_protocol {
	RST_SITE_LMTP,
	RST_SITE_LDA,
	RST_SITE_RESTANTE, /**< restante-hold */
	RST_SITE_IMAP,
	RST_SITE_PROTOCOLS
};

/** Strings are empty where the configuration says nothing. */
struct rst_site {
	const char *plugins[RST_SITE_PROTOCOLS]; /**< mail_plugins */
	const char *fsync[RST_SITE_PROTOCOLS];   /**< mail_fsync */
	const char *check_quota; /**< lmtp_rcpt_check_quota, for lmtp */
	const char *release;     /**< the executable of lmtp-release */
	/** the longer of Postfix's two queue lifetimes; 0: not known */
	unsigned int queue_lifetime_secs;
};

/** The name of the protocol, as doveconf has it. */
const char *rst_site_protocol(enum rst_site_protocol protocol);

/**
 * Read by running doveconf with this program's configuration file, and
 * postconf, once; as root, before any user's rights are taken.
 * @return NULL: error_r
 */
const struct rst_site *rst_site_get(const char **error_r);

/** Does plugins, a value of mail_plugins, have this one? */
bool rst_site_has_plugin(const char *plugins, const char *name);

#endif
