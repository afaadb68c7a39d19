/* SPDX-License-Identifier: MIT */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool privileges_drop(const char *user, char *error, size_t error_size)
{
	const struct passwd *pw;

	if (geteuid() != 0)
		return true;
	errno = 0;
	pw = getpwnam(user);
	if (pw == NULL) {
		(void)snprintf(error, error_size, "no such account: %s",
			       errno == 0 ? "not found" : strerror(errno));
		return false;
	}
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
	    setuid(pw->pw_uid) < 0) {
		(void)snprintf(error, error_size, "cannot become it: %s",
			       strerror(errno));
		return false;
	}
	return true;
}
