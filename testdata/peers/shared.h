/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases in which several threads or processes use what one of them has set up. */
#ifndef SHARED_H
#define SHARED_H

void two_threads(void);
void fork_client(void);
void prefork(void);

#endif
