/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "root.h"

#include <unistd.h>

bool rst_root_enter(uid_t *uid_r)
{
	*uid_r = geteuid();
	return *uid_r != 0 && seteuid(0) == 0;
}

void rst_root_leave(uid_t uid)
{
	if (seteuid(uid) < 0)
		i_fatal("seteuid(%s) failed: %m", dec2str(uid));
}
