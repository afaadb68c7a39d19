/* SPDX-License-Identifier: MIT */
/**
 * An entry of the holders directory: the file that stands for a user of whom
 * something may be held. Its grammar is in doc/protocol-hold.md, section 2.
 */
#ifndef RESTANTE_HOLDER_H
#define RESTANTE_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "restante/str.h"

/** Octets of a name, which file systems limit to 255. */
#define RST_HOLDER_NAME_MAX 250
/** Octets that are looked at of the content: more than any version writes. */
#define RST_HOLDER_TEXT_MAX 128
/** Octets that rst_holder_format() writes, always as many: `time' LF. */
#define RST_HOLDER_TEXT_SIZE 21
/** What takes the place of the LF while the hold and the mailbox are full. */
#define RST_HOLDER_FULL " full\n"
#define RST_HOLDER_FULL_SIZE (RST_HOLDER_TEXT_SIZE + 5)
/** For so long, from the entry's last change on. */
#define RST_HOLDER_FULL_SECS 300

/** What stands in the entry of a user of whom nothing is held any more. It
   stays for a while, as an entry that is there need not be made durable again.
 */
#define RST_HOLDER_VACANT "0\n"
/** That while, from the entry's last change on. */
#define RST_HOLDER_KEEP_SECS 600
/** After the machine's start, until clocks are right and disks are mounted: a
    time of change in there may be one of before. */
#define RST_HOLDER_START_SECS 60

/** Is this an entry of octets that says that nothing is held? That is a hint: a
    crash may have undone what was written after it. (An entry without octets
   was perhaps not made durable.) */
static inline bool rst_holder_is_vacant(int64_t octets)
{
	return octets > 0 && octets < RST_HOLDER_TEXT_SIZE;
}

/**
 * Is it certain that nothing is held? A vacancy is, when it was written after
 * the machine's last start: for mail that came later it would have been
 * overwritten first. Of an older one a crash may have lost that.
 *
 * @param octets  of the entry
 * @param changed,now wall-clock seconds: the entry's last change, and now
 * @param up_secs since the machine's start
 */
static inline bool rst_holder_is_surely_vacant(int64_t octets, int64_t changed,
					       int64_t now, int64_t up_secs)
{
	return rst_holder_is_vacant(octets) && changed <= now &&
	       changed > now - up_secs + RST_HOLDER_START_SECS;
}

struct rst_holder {
	int64_t due; /**< wall-clock second at which the oldest message falls
			  due; 0: not known */
	bool full;   /**< neither the hold nor the mailbox has had room */
};

/**
 * Name the entry of a user.
 * @param name_r terminated
 * @return octets of the name; RST_ELIMIT: the user's name is too long;
 *         RST_EPROTO: the user's name is empty
 */
ssize_t rst_holder_name(struct rst_str user,
			char name_r[RST_HOLDER_NAME_MAX + 1]);
/**
 * Whose entry is it?
 * @param user_r not terminated
 * @return octets of the user's name, at least one; RST_EPROTO: this is not what
 *         rst_holder_name() makes of any user
 */
ssize_t rst_holder_user(struct rst_str name, char user_r[RST_HOLDER_NAME_MAX]);

/** Write the content of an entry, as one that is not full. A negative `due`
    counts as 0. */
void rst_holder_format(const struct rst_holder *holder,
		       char text_r[RST_HOLDER_TEXT_SIZE]);
/** @return 0, or RST_EPROTO: torn, or not ours; then nothing is known */
int rst_holder_parse(struct rst_str text, struct rst_holder *holder_r);

#endif
