/* SPDX-License-Identifier: MIT */
/** What a worker gives up before it hears anything from the Internet. */
#ifndef POLICYD_WORKER_CONFINE_H
#define POLICYD_WORKER_CONFINE_H

#include <stdbool.h>

/**
 * From here on this process can neither open nor connect anything new, nor
 * start a program, nor signal another process, nor look into one; and none of
 * the same user can look into it. What it has open it keeps.
 *
 * A worker has the user's rights, and that user may open restante-hold's
 * socket, behind which is everybody's mail: what the core decides would count
 * for little if a worker that was taken over could dial there by itself.
 *
 * @return false: the kernel, or a machine that we do not know, will not have
 *         it (errno)
 */
bool confine(void);

#endif
