/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases over sockets whose descriptor the library never gets. */
#ifndef UNANNOUNCED_H
#define UNANNOUNCED_H

void socket_bio(void);
void fed_by_hand(void);

#endif
