/* SPDX-License-Identifier: MIT */
/**
 * Look for a message that may have been delivered to one of the user's
 * mailboxes.
 */
#ifndef RST_FALLBACK_SEARCH_H
#define RST_FALLBACK_SEARCH_H

struct mail_user;
struct mailbox;

/**
 * Look through the headers of what was saved since then, in every mailbox of
 * the user's own and public namespaces but one.
 *
 * @param needle  octets of the header
 * @param but     name of a mailbox that is left out
 * @return 1: it is there; 0; -1: error_r
 */
int rst_search(struct mail_user *user, const char *needle, time_t since,
	       const char *but, const char **error_r);
/** The same in one mailbox, which is open. */
int rst_search_box(struct mailbox *box, const char *needle, time_t since,
		   const char **error_r);

#endif
