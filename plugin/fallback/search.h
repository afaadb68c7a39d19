/* SPDX-License-Identifier: MIT */
/**
 * Search the user's mailboxes for a message that may have been delivered
 * already.
 */
#ifndef RST_FALLBACK_SEARCH_H
#define RST_FALLBACK_SEARCH_H

struct mail_user;
struct mailbox;

/**
 * Search the headers of the messages that were saved since then, in every
 * mailbox of the user's own and public namespaces.
 *
 * @param needle octets that stand in the header of the message
 * @param since  of the message's first attempt
 * @return 1: it is there; 0: it is not; -1: error_r
 */
int rst_search(struct mail_user *user, const char *needle, time_t since,
	       const char **error_r);
/** The same in one mailbox, which is open. */
int rst_search_box(struct mailbox *box, const char *needle, time_t since,
		   const char **error_r);

#endif
