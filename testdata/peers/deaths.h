/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Processes and images that end while calls of theirs are under way. */
#ifndef DEATHS_H
#define DEATHS_H

void die_in_read(void);  /* killed while a thread waits in SSL_read */
void die_in_write(void); /* aborts while SSL_write hands its record to the socket */
void exec_in_read(char **argv); /* executes itself, for an exchange, while a thread waits */

#endif
