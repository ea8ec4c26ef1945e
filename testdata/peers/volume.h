/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases of many bytes or many connections. */
#ifndef VOLUME_H
#define VOLUME_H

#include <stdint.h>

void flood(uint64_t count, uint64_t size);
void rush(uint64_t count, uint64_t size);
void pace(uint64_t seconds, uint64_t interval_us, uint64_t size);
void many(uint64_t count);
void sendfile_ktls(void);

#endif
