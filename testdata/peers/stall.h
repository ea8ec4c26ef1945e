/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Holds the recorder up, so that its ring overruns on any machine: with STALL_PARENT set, the
 * parent process is stopped for the second quarter of the work.
 */
#ifndef STALL_H
#define STALL_H

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static inline void stall_parent(uint64_t done, uint64_t count)
{
	if (!getenv("STALL_PARENT"))
		return;
	if (done == count / 4)
		kill(getppid(), SIGSTOP);
	else if (done == count / 2)
		kill(getppid(), SIGCONT);
}

#endif
