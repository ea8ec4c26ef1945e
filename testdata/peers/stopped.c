/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Preloaded, it stops a program before main, when all its libraries are there: so that a recorder
 * can be attached to a process that has not begun yet.
 *
 * Build: gcc -O2 -g -shared -fPIC -o stopped.so stopped.c
 */
#include <signal.h>

__attribute__((constructor)) static void stop(void)
{
	raise(SIGSTOP);
}
