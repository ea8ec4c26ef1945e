/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A case whose bytes are in files that are mapped and were never looked at. */
#ifndef MAPPED_H
#define MAPPED_H

void untouched(void);

#endif
