/* SPDX-License-Identifier: MIT */
#include "restante-config.h"

#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/** steps of nice(2) */
#define URGENCY 10

static bool urgent;
static int ordinary;      /* the nice value before */
static bool can_read_all; /* READ_RIGHT is permitted, and can be effective */

void privileges_be_urgent(void)
{
	errno = 0;
	ordinary = getpriority(PRIO_PROCESS, 0);
	urgent = errno == 0 &&
		 setpriority(PRIO_PROCESS, 0, ordinary - URGENCY) == 0;
}

void privileges_be_ordinary(void)
{
	if (urgent)
		(void)setpriority(PRIO_PROCESS, 0, ordinary);
}

#define READ_RIGHT (1U << CAP_DAC_READ_SEARCH)

static bool set_rights(unsigned int permitted, unsigned int effective)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	memset(data, 0, sizeof(data));
	data[0].permitted = permitted;
	data[0].effective = effective;
	return syscall(SYS_capset, &header, data) == 0;
}

/** @return those of `wanted` that the process has */
static unsigned int rights_there(unsigned int wanted)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) != 0)
		return 0;
	return data[0].permitted & wanted;
}

static bool become(const struct passwd *pw)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 1) < 0 || setuid(pw->pw_uid) < 0)
		return false;
	if (pw->pw_uid == 0)
		return true;
	can_read_all = set_rights(READ_RIGHT, 0);
	/* a service manager may have taken the right away before */
	return can_read_all || set_rights(0, 0);
}

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
	/* other processes of that user, such as the workers, may not trace
	   this one */
	if (become(pw) && prctl(PR_SET_DUMPABLE, 0) == 0)
		return true;
	(void)snprintf(error, error_size, "cannot become it: %s",
		       strerror(errno));
	return false;
}

void privileges_read_begin(void)
{
	if (can_read_all)
		(void)set_rights(READ_RIGHT, READ_RIGHT);
}

void privileges_read_end(void)
{
	if (can_read_all)
		(void)set_rights(READ_RIGHT, 0);
}

void privileges_keep_files(void)
{
	/* a service manager or a container may have taken one away before, and
	   to ask for one that is not there changes nothing at all */
	unsigned int rights = rights_there(READ_RIGHT | 1U << CAP_DAC_OVERRIDE);

	if (geteuid() == 0)
		(void)set_rights(rights, rights);
	(void)prctl(PR_SET_DUMPABLE, 0);
}
