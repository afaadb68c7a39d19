/* SPDX-License-Identifier: MIT */
#include "main.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/log.h"
#include "common/tls.h"
#include "confine.h"
#include "restante/str.h"
#include "worker.h"

/* @return -1: not a descriptor */
static int descriptor(const char *text)
{
	uint64_t value;
	int fd;

	if (!rst_str_to_u64(rst_str(text), &value) || value > 65535)
		return -1;
	fd = (int)value;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
}

int worker_main(int argc, char *argv[])
{
	unsigned int count = argc > 4 ? (unsigned int)argc - 4 : 0, i;
	int *fds, ipc_fd, ret = EX_USAGE;

	if (count == 0)
		return EX_USAGE; /* not started by the core */
	log_open("worker", strcmp(argv[2], "stderr") == 0);
	fds = rst_calloc(count, sizeof(*fds));
	ipc_fd = descriptor(argv[3]);
	for (i = 0; i < count; i++)
		fds[i] = descriptor(argv[4 + i]);
	for (i = 0; i < count && fds[i] >= 0; i++)
		;
	tls_init();
	if (!confine())
		log_errno("worker is not confined: who takes it over can open "
			  "every hold",
			  NULL, NULL);
	if (ipc_fd >= 0 && i == count)
		ret = worker_run(ipc_fd, fds, count);
	free(fds);
	return ret;
}
