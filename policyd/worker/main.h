/* SPDX-License-Identifier: MIT */
/** Where a worker process begins. It is confined before it hears a client. */
#ifndef POLICYD_WORKER_MAIN_H
#define POLICYD_WORKER_MAIN_H

/**
 * @param argv as core/workers.c passes them: program, WORKERS_ARGUMENT,
 * "stderr" or "syslog" for the log, the descriptor of the pair to the core, and
 *        the descriptors of the listening sockets
 * @return exit status of the process
 */
int worker_main(int argc, char *argv[]);

#endif
