/* SPDX-License-Identifier: MIT */
/** The rights that a worker gives up before it reads anything from the
    Internet. */
#ifndef POLICYD_WORKER_CONFINE_H
#define POLICYD_WORKER_CONFINE_H

#include <stdbool.h>

/**
 * Confines this process: it can neither open a file nor make or connect a
 * socket, nor start a program, nor signal or trace another process; and no
 * process of the same user can trace it. Descriptors that are open stay.
 *
 * Reason: a worker runs as policyd's user, and that user may connect to
 * restante-hold's socket, behind which is every user's mail. The core's
 * decisions would count for little if a worker that was taken over could dial
 * the service by itself.
 *
 * @return false: the kernel refuses it, or the machine's calls are not known to
 *         us (errno)
 */
bool confine(void);

#endif
