/* SPDX-License-Identifier: MIT
 *
 * What the process holds, read from /proc without allocating.
 */
#ifndef TEST_MEASURE_H
#define TEST_MEASURE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

size_t resident_bytes(void);

/* The size of the address space in use, reservations included: what RLIMIT_AS compares. */
size_t address_space_bytes(void);

/* Lines of /proc/self/maps. */
size_t mapping_count(void);

/* MemAvailable of the machine. */
size_t available_bytes(void);

/* Fails when more than `limit` bytes became resident since `before`; passes always under a sanitizer. */
void require_growth_below(size_t before, size_t limit, const char *what);

#ifdef __cplusplus
}
#endif

#endif
