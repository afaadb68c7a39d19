// SPDX-License-Identifier: MIT
/*
 * LD_PRELOAD object for packaging/sandbox, as SANDBOX/bin/modules.so: Dovecot
 * finds its modules in SANDBOX/modules where it looks in the directory that is
 * compiled in. doveadm does so for its commands, and Dovecot 2.4 for the
 * modules that know its settings; no setting names another directory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define MODULES "/usr/lib/dovecot/modules"

struct module;

/* Of the arguments, names has another type in 2.3 than in 2.4. */
struct module *module_dir_load(const char *dir, const void *names,
			       const void *set);
struct module *module_dir_load_missing(struct module *old, const char *dir,
				       const void *names, const void *set);

/** @return the directory to read for dir, valid until the next call */
static const char *place(const char *dir)
{
	static char path[PATH_MAX];
	const size_t len = strlen(MODULES);
	const char *slash;
	Dl_info self;

	if (strncmp(dir, MODULES, len) != 0 ||
	    (dir[len] != '/' && dir[len] != '\0') || dladdr(path, &self) == 0 ||
	    (slash = strrchr(self.dli_fname, '/')) == NULL)
		return dir;
	snprintf(path, sizeof(path), "%.*s/../modules%s",
		 (int)(slash - self.dli_fname), self.dli_fname, dir + len);
	return path;
}

struct module *module_dir_load(const char *dir, const void *names,
			       const void *set)
{
	struct module *(*real)(const char *, const void *, const void *) =
		dlsym(RTLD_NEXT, "module_dir_load");

	return real(place(dir), names, set);
}

struct module *module_dir_load_missing(struct module *old, const char *dir,
				       const void *names, const void *set)
{
	struct module *(*real)(struct module *, const char *, const void *,
			       const void *) =
		dlsym(RTLD_NEXT, "module_dir_load_missing");

	return real(old, place(dir), names, set);
}
