/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Cases without a socket of their own: TLS through memory, and TLS through TLS. */
#ifndef NESTED_H
#define NESTED_H

#include <stdint.h>

void memory_bio(void);
void bench_bio(uint64_t count, uint64_t size);
void tls_in_tls(void);

#endif
