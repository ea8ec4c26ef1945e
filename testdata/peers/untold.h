/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases over sockets of which the library is never told the descriptor. */
#ifndef UNTOLD_H
#define UNTOLD_H

void socket_bio(void);
void fed_by_hand(void);

#endif
